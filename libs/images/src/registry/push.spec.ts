import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { digestOf } from '../content/content-store.js';
import { buildImage, dockerArchive, ociLayout, type BuiltImage } from '../fixtures/image-builder.js';
import {
  startMemoryRegistry,
  type MemoryRegistry,
  type RegistryScript,
} from '../fixtures/memory-registry.js';
import { openStore, type OpenedStore } from '../fixtures/opened-store.js';
import type { Progress, RegistryAuth } from '../port.js';

const packed = buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: 'b', content: 'two!' }]] });
const plain = buildImage({ gzip: false, layers: [[{ name: 'c', content: 'three' }]] });
const shortId = (image: BuiltImage, layer: number): string =>
  JSON.parse(image.config.toString()).rootfs.diff_ids[layer].slice(7, 19);

describe('docker push', () => {
  let opened: OpenedStore;
  let registry: MemoryRegistry;
  let lines: Progress[];

  beforeEach(async () => {
    opened = await openStore();
    lines = [];
  });
  afterEach(async () => {
    await opened.end();
    await registry.close();
  });

  async function start(script?: RegistryScript): Promise<void> {
    registry = await startMemoryRegistry(script);
  }
  async function loadPacked(name = 'x'): Promise<void> {
    const annotations = { 'io.containerd.image.name': `${registry.host}/${name}:1` };
    await opened.store.load(Readable.from([ociLayout(packed, annotations)]), () => undefined);
  }
  const push = (name: string, auth?: RegistryAuth): Promise<void> =>
    opened.store.push(`${registry.host}/${name}`, { auth, progress: (line) => lines.push(line) });
  const linesOf = (id: string): (string | undefined)[] =>
    lines.filter((line) => line.id === id && line.status !== 'Pushing').map(({ status }) => status);

  it('sends every blob once, then the manifest as it is, and tells its digest', async () => {
    await start();
    await loadPacked();
    await push('x:1');
    for (const [digest, bytes] of packed.blobs) {
      if (digest === packed.manifestDigest) continue;
      expect(registry.blobs.get(`x@${digest}`)?.equals(bytes)).to.equal(true);
    }
    expect(registry.manifests.get('x:1')).to.deep.equal({
      bytes: packed.manifest,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
    });
    expect(linesOf(shortId(packed, 0))).to.deep.equal(['Preparing', 'Pushed']);
    const size = packed.manifest.length;
    expect(lines[0]).to.deep.equal({ status: `The push refers to repository [${registry.host}/x]` });
    expect(lines.slice(-2)).to.deep.equal([
      { status: `1: digest: ${packed.manifestDigest} size: ${size}` },
      { progressDetail: {}, aux: { Tag: '1', Digest: packed.manifestDigest, Size: size } },
    ]);
    registry.requests.length = 0;
    await push('x:1');
    expect(registry.requests.filter((line) => !line.startsWith('HEAD'))).to.deep.equal([
      'PUT /v2/x/manifests/1',
    ]);
    expect(linesOf(shortId(packed, 1)).at(-1)).to.equal('Layer already exists');
  });

  it('packs plain layers under a manifest of its own, by which the image is then known', async () => {
    await start();
    await opened.store.load(Readable.from([dockerArchive(plain, [`${registry.host}/p:1`])]), () => undefined);
    await push('p:1');
    const pushed = registry.manifests.get('p:1');
    const manifest = JSON.parse(pushed?.bytes.toString() ?? '');
    expect(manifest.layers[0].mediaType).to.equal('application/vnd.oci.image.layer.v1.tar+gzip');
    const layer = registry.blobs.get(`p@${manifest.layers[0].digest}`) ?? Buffer.alloc(0);
    expect(gunzipSync(layer).equals(plain.layers[0] ?? Buffer.alloc(0))).to.equal(true);
    const digest = digestOf(pushed?.bytes ?? Buffer.alloc(0));
    expect(opened.store.list()[0]?.repoDigests).to.include(`${registry.host}/p@${digest}`);
    expect(opened.store.resolve(`${registry.host}/p:1`)).to.deep.include({ digest, origin: 'registry' });
    const other = await openStore();
    const image = await other.store.pull(`${registry.host}/p:1`, {});
    expect(image.id).to.equal(plain.configDigest);
    await other.end();
  });

  it('pushes all tags of a repository when none is named', async () => {
    await start();
    await loadPacked();
    await opened.store.tag(`${registry.host}/x:1`, `${registry.host}/x:2`);
    await push('x');
    expect([...registry.manifests.keys()].filter((key) => !key.includes('sha256'))).to.deep.equal([
      'x:1',
      'x:2',
    ]);
  });

  it('mounts layers that another repository of the registry has', async () => {
    await start();
    await loadPacked();
    await push('x:1');
    await opened.store.tag(`${registry.host}/x:1`, `${registry.host}/team/y:1`);
    await push('team/y:1');
    expect(linesOf(shortId(packed, 0)).at(-1)).to.equal('Mounted from x');
    expect(registry.requests.filter((line) => line.startsWith('PUT /v2/team/y/blobs'))).to.deep.equal([]);
    expect(registry.blobs.has(`team/y@${digestOf(packed.layers[0] ?? Buffer.alloc(0))}`)).to.equal(true);
  });

  it('sends a big layer in pieces and goes on where a broken piece stopped', async () => {
    const content = randomBytes(40 * 1024 * 1024);
    const big = buildImage({ gzip: false, layers: [[{ name: 'big', content }]] });
    let broken = false;
    await start((request, response) => {
      if (request.method !== 'PATCH' || broken || !request.headers['content-range']?.startsWith('33554432-'))
        return false;
      broken = true;
      response.destroy();
      return true;
    });
    const annotations = { 'io.containerd.image.name': `${registry.host}/big:1` };
    const layout = ociLayout(
      {
        ...big,
        // Said to be packed, so that it is sent as it is.
        ...relabelled(big),
      },
      annotations,
    );
    await opened.store.load(Readable.from([layout]), () => undefined);
    await push('big:1');
    expect(broken).to.equal(true);
    const stored = registry.blobs.get(`big@${digestOf(big.layers[0] ?? Buffer.alloc(0))}`);
    expect(stored?.length).to.equal(big.layers[0]?.length);
    expect(registry.requests.filter((line) => line.startsWith('PATCH')).length).to.equal(3);
  });

  it('asks the token service for what a push needs', async () => {
    const scopes: string[][] = [];
    await start((request, response) => {
      const url = new URL(request.url ?? '', `http://${request.headers.host}`);
      if (url.pathname === '/token') {
        scopes.push(url.searchParams.getAll('scope'));
        response.end('{"token":"secret-token"}');
        return true;
      }
      if (request.headers.authorization === 'Bearer secret-token') return false;
      const realm = `http://${request.headers.host}/token`;
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="reg",scope="other"` })
        .end();
      return true;
    });
    await loadPacked();
    await push('x:1', { username: 'me', password: 'mine' });
    expect(scopes.every(([first]) => first === 'repository:x:pull,push')).to.equal(true);
    expect(registry.manifests.has('x:1')).to.equal(true);
  });

  const refusals: [what: string, status: number, body: string, message: RegExp][] = [
    ['401', 401, '', /^unauthorized: authentication required$/],
    ['403', 403, '{"errors":[{"code":"DENIED","message":"not yours"}]}', /^denied: not yours$/],
    ['500', 500, '', /received unexpected HTTP status: 500/],
    ['429', 429, '', /toomanyrequests/],
  ];
  for (const [what, status, body, message] of refusals) {
    it(`tells a refusal with ${what} in the registry's words and names nothing`, async () => {
      await start((request, response) => {
        if (request.method !== 'POST') return false;
        response.writeHead(status).end(body);
        return true;
      });
      await loadPacked();
      const words = await push('x:1').catch((error: Error) => error.message);
      expect(words).to.match(message);
      expect(registry.manifests.size).to.equal(0);
      expect(opened.store.resolve(`${registry.host}/x:1`)?.origin).to.equal('local');
    });
  }

  it('says which tag is not here', async () => {
    await start();
    const words = await push('nothing:1').catch((error: Error) => error.message);
    expect(words).to.equal(`An image does not exist locally with the tag: ${registry.host}/nothing`);
  });

  it("asks mirrors first for what is in Docker's own registry, and for nothing else", async () => {
    await start();
    await loadPacked('library/demo');
    await push('library/demo:1');
    const other = await openStore({
      registry: {
        mirrors: ['http://127.0.0.1:1', `http://${registry.host}/`],
        retryDelayMs: 1,
        attemptsMax: 1,
      },
    });
    try {
      const image = await other.store.pull('demo:1', {});
      expect([image.id, image.tags]).to.deep.equal([packed.configDigest, ['demo:1']]);
      registry.requests.length = 0;
      await other.store.pull('127.0.0.1:1/demo:1', {}).catch(() => undefined);
      expect(registry.requests).to.deep.equal([]);
    } finally {
      await other.end();
    }
  });

  it('lists all tags of a repository, page by page', async () => {
    const tags = Array.from({ length: 1003 }, (_none, i) => `t${String(i).padStart(4, '0')}`);
    await start((request, response) => {
      const url = new URL(request.url ?? '', 'http://registry');
      if (url.pathname !== '/v2/x/tags/list') return false;
      const last = url.searchParams.get('last');
      const rest = last === null ? tags : tags.slice(tags.indexOf(last) + 1);
      response.end(JSON.stringify({ name: 'x', tags: rest.slice(0, Number(url.searchParams.get('n'))) }));
      return true;
    });
    expect(await opened.store.remoteTags(`${registry.host}/x`, {})).to.deep.equal(tags);
    const words = await opened.store
      .remoteTags(`${registry.host}/none`, {})
      .catch((error: Error) => error.message);
    expect(words).to.match(/has no tags, or is not there/);
  });

  it('searches a registry without a search among its repositories', async () => {
    await start((request, response) => {
      if (!request.url?.startsWith('/v2/_catalog')) return false;
      response.end('{"repositories":["redis","team/redis-ui","nginx"]}');
      return true;
    });
    const found = await opened.store.search({ term: `${registry.host}/redis`, limit: 25 });
    expect(found.map(({ name }) => name)).to.deep.equal([
      `${registry.host}/redis`,
      `${registry.host}/team/redis-ui`,
    ]);
  });
});

/** The same blobs under a manifest that calls the layer packed. */
function relabelled(image: BuiltImage): Pick<BuiltImage, 'manifest' | 'manifestDigest' | 'blobs'> {
  const manifest = Buffer.from(image.manifest.toString().replace('layer.v1.tar"', 'layer.v1.tar+gzip"'));
  const manifestDigest = digestOf(manifest);
  const blobs = new Map(image.blobs);
  blobs.delete(image.manifestDigest);
  blobs.set(manifestDigest, manifest);
  return { manifest, manifestDigest, blobs };
}
