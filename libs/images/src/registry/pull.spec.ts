import type { ImageId } from '#libs/model';
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { mediaTypes } from '../content/manifest.js';
import { digestOf } from '../content/content-store.js';
import { buildImage, ociLayout } from '../fixtures/image-builder.js';
import {
  hasDockerRegistry,
  pushImage,
  startDockerRegistry,
  startScriptedRegistry,
  type RunningRegistry,
  type ScriptedServer,
} from '../fixtures/registry-server.js';
import { testFolder } from '../fixtures/test-folder.js';
import { createImageStore } from '../image-store.js';
import type { ImageStore, Progress } from '../port.js';

const skopeo = '/usr/bin/skopeo';
const image = buildImage({
  layers: [
    [{ name: 'a', content: 'one' }],
    [{ name: 'noise', content: randomBytes(300_000) }],
    [{ name: 'c', content: 'three' }],
  ],
});
const largest = [...image.layers].sort((a, b) => b.length - a.length)[0] ?? Buffer.alloc(0);

let folder: ReturnType<typeof testFolder>;
let store: ImageStore;
let complaints: string[];

async function openStore(idleTimeoutMs = 300): Promise<ImageStore> {
  const opened = createImageStore({
    dir: join(folder.path, 'images'),
    clock: { nowMs: () => Date.now() },
    log: (message, error) => complaints.push(`${message}: ${String(error)}`),
    registry: { retryDelayMs: 2, attemptsMax: 3, idleTimeoutMs, connectTimeoutMs: 1000 },
  });
  await opened.start();
  return opened;
}

async function refusal(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Error && 'code' in error)
      return { code: String(error.code), message: error.message };
    throw error;
  }
  throw new Error('it was not refused');
}

function expectNothingStored(): void {
  const names = (part: string): string[] => readdirSync(join(folder.path, 'images', part));
  expect(store.list()).to.deep.equal([]);
  expect([names('images'), names('blobs/sha256'), names('layers'), names('tmp')]).to.deep.equal([
    [],
    [],
    [],
    [],
  ]);
}

function useStore(): void {
  beforeEach(async () => {
    folder = testFolder();
    complaints = [];
    store = await openStore();
  });
  afterEach(async () => {
    await store.close();
    folder.remove();
  });
}

describe('pull from docker-registry', () => {
  let registry: RunningRegistry;
  let registryFolder: ReturnType<typeof testFolder>;
  useStore();

  before(async function () {
    if (!hasDockerRegistry) {
      console.log('      skipped: /usr/bin/docker-registry is not installed (Debian: docker-registry)');
      this.skip();
    }
    registryFolder = testFolder();
    registry = await startDockerRegistry(registryFolder.path);
    await pushImage(registry.host, 'a/b', '1', image);
  });
  after(async () => {
    await registry?.stop();
    registryFolder?.remove();
  });

  it('brings an image and says so as Docker does', async () => {
    const lines: Progress[] = [];
    const name = `${registry.host}/a/b:1`;
    const pulled = await store.pull(name, { progress: (line) => lines.push(line) });
    expect(pulled.id).to.equal(image.configDigest);
    expect(pulled.tags).to.deep.equal([name]);
    expect(pulled.repoDigests).to.deep.equal([`${registry.host}/a/b@${image.manifestDigest}`]);
    const layers = await store.rootLayers(pulled.id);
    expect(readFileSync(join(layers[0] ?? '', 'c'), 'utf8')).to.equal('three');
    expect(lines[0]).to.deep.equal({ status: 'Pulling from a/b', id: '1' });
    expect(lines.slice(-2)).to.deep.equal([
      { status: `Digest: ${image.manifestDigest}` },
      { status: `Status: Downloaded newer image for ${name}` },
    ]);
    const first = image.layers[0] ?? Buffer.alloc(0);
    const ofFirst = lines.filter(({ id }) => id === digestOf(first).slice(7, 19)).map(({ status }) => status);
    expect(ofFirst).to.include.members([
      'Pulling fs layer',
      'Download complete',
      'Extracting',
      'Pull complete',
    ]);

    lines.length = 0;
    await store.pull(name, { progress: (line) => lines.push(line) });
    expect(lines.filter(({ status }) => status === 'Already exists').length).to.equal(3);
    expect(lines.at(-1)).to.deep.equal({ status: `Status: Image is up to date for ${name}` });
  });

  it('pulls by digest, and needs no registry for a digest it has', async () => {
    const pulled = await store.pull(`${registry.host}/a/b@${image.manifestDigest}`, {});
    expect(pulled.tags).to.deep.equal([]);
    const again = await store.pull(`${registry.host}/a/b:1@${image.manifestDigest}`, {
      signal: AbortSignal.timeout(2000),
    });
    expect(again.id).to.equal(pulled.id);
  });

  it('chooses the platform from an index, keeps the index digest, and describes it', async () => {
    const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
    const foreign = buildImage({ layers: [[{ name: 'foreign' }]], config: { User: 'x' } });
    await pushImage(registry.host, 'multi', foreign.manifestDigest, foreign);
    await pushImage(registry.host, 'multi', image.manifestDigest, image);
    const entry = (built: typeof image, platform: object): object => ({
      mediaType: mediaTypes.ociManifest,
      digest: built.manifestDigest,
      size: built.manifest.length,
      platform,
    });
    const manifests = [
      entry(foreign, { os: 'linux', architecture: 'mips64le' }),
      entry(image, { os: 'linux', architecture }),
    ];
    const index = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }),
    );
    await pushImage(
      registry.host,
      'multi',
      'latest',
      { blobs: new Map(), manifest: index, manifestDigest: digestOf(index) },
      mediaTypes.ociIndex,
    );
    const name = `${registry.host}/multi`;
    const described = await store.describeRemote(name);
    expect(described).to.deep.equal({
      mediaType: mediaTypes.ociIndex,
      digest: digestOf(index),
      size: index.length,
      platforms: [
        { os: 'linux', architecture: 'mips64le' },
        { os: 'linux', architecture },
      ],
    });
    const pulled = await store.pull(name, {});
    expect([pulled.id, pulled.repoDigests]).to.deep.equal([
      image.configDigest,
      [`${name}@${digestOf(index)}`],
    ]);
    expect(store.find(`${name}:latest@${digestOf(index)}`)?.id).to.equal(image.configDigest);
    expect(store.readBlob(digestOf(index))?.mediaType).to.equal(mediaTypes.ociIndex);
  });

  it('says what is missing in the registry words', async () => {
    expect(await refusal(store.pull(`${registry.host}/a/b:2`, {}))).to.deep.equal({
      code: 'not-found',
      message: `manifest for ${registry.host}/a/b:2 not found: manifest unknown: manifest unknown`,
    });
    expect((await refusal(store.pull(`${registry.host}/nothing`, {}))).code).to.equal('not-found');
    expectNothingStored();
  });

  it('pulls what skopeo pushes, schema 2 included', async function () {
    if (!existsSync(skopeo)) {
      console.log('      skipped: /usr/bin/skopeo is not installed (Debian: skopeo)');
      this.skip();
    }
    const archive = join(folder.path, 'oci.tar');
    writeFileSync(archive, ociLayout(image, { 'org.opencontainers.image.ref.name': 'x:1' }));
    const options = ['--quiet', '--insecure-policy', '--dest-tls-verify=false', '--format=v2s2'];
    const from = `oci-archive:${archive}:x:1`;
    execFileSync(skopeo, ['copy', ...options, from, `docker://${registry.host}/from/skopeo:1`]);
    const pulled = await store.pull(`${registry.host}/from/skopeo:1`, {});
    expect(pulled.layers.length).to.equal(3);
    const layers = await store.rootLayers(pulled.id);
    expect(readFileSync(join(layers.at(-1) ?? '', 'a'), 'utf8')).to.equal('one');
  });

  it('works once for two callers, and for one when the other leaves', async () => {
    const name = `${registry.host}/a/b:1`;
    const leaver = new AbortController();
    const leaving = store.pull(name, { signal: leaver.signal }).catch((error: unknown) => error);
    const staying = store.pull(name, {});
    leaver.abort(new Error('gone'));
    expect(await leaving).to.have.property('message', 'gone');
    expect((await staying).id).to.equal(image.configDigest);
  });
});

describe('pull from a registry that asks for a password', () => {
  useStore();
  it('refuses without, answers with it', async function () {
    if (!hasDockerRegistry) this.skip();
    const registryFolder = testFolder();
    // testuser:testpassword in bcrypt, the one format the registry reads.
    const line = 'testuser:$2b$04$yzDHAGjrei9iJS5iUct9kOxV1AEP9FpEKEJuPar0B0gs1DdetsWXK\n';
    const registry = await startDockerRegistry(join(registryFolder.path, 'r'), line);
    try {
      const name = `${registry.host}/secret:1`;
      expect((await refusal(store.pull(name, {}))).message).to.contain(
        `pull access denied for ${registry.host}/secret, repository does not exist or may require 'docker login'`,
      );
      const wrong = { username: 'testuser', password: 'wrong' };
      expect((await refusal(store.pull(name, { auth: wrong }))).message).to.contain('pull access denied');
      expectNothingStored();
      const auth = { username: 'testuser', password: 'testpassword' };
      await pushImage(registry.host, 'secret', '1', image, mediaTypes.ociManifest, auth);
      expect((await store.pull(name, { auth })).id).to.equal(image.configDigest);
    } finally {
      await registry.stop();
      registryFolder.remove();
    }
  });
});

describe('pull from a registry that misbehaves', () => {
  let server: ScriptedServer | undefined;
  useStore();
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });

  type Script = (request: IncomingMessage, response: ServerResponse) => boolean;
  const pullFrom = async (
    script: Script,
    auth?: { username: string; password: string },
  ): Promise<ImageId> => {
    server = await startScriptedRegistry(image, script);
    return (await store.pull(`${server.host}/x:1`, { auth })).id;
  };
  const isBlob = (request: IncomingMessage, bytes: Buffer): boolean =>
    request.url?.endsWith(digestOf(bytes)) === true;

  it('goes on where a body was cut', async () => {
    let cuts = 0;
    const ranges: (string | undefined)[] = [];
    const id = await pullFrom((request, response) => {
      if (!isBlob(request, largest)) return false;
      ranges.push(request.headers.range);
      if (++cuts > 2) return false;
      const from = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      const range = { 'content-range': `bytes ${from}-${largest.length - 1}/${largest.length}` };
      response.writeHead(from > 0 ? 206 : 200, {
        'content-length': largest.length - from,
        ...(from > 0 ? range : {}),
      });
      response.write(largest.subarray(from, from + 100_000), () => response.destroy());
      return true;
    });
    expect(id).to.equal(image.configDigest);
    expect(ranges.length).to.equal(3);
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ''))).to.equal(true);
  });

  it('unpacks a layer while it still comes in, and shows none before it is whole', async () => {
    await store.close();
    store = await openStore(60_000);
    let finish = (): void => undefined;
    const pulling = pullFrom((request, response) => {
      if (!isBlob(request, largest)) return false;
      const half = largest.length >> 1;
      response.writeHead(200, { 'content-length': largest.length });
      response.write(largest.subarray(0, half));
      finish = () => response.end(largest.subarray(half));
      return true;
    });
    const dir = join(folder.path, 'images');
    const isUnpacking = (): boolean =>
      readdirSync(join(dir, 'tmp')).some((name) => existsSync(join(dir, 'tmp', name, 'fs', 'noise')));
    const deadlineMs = Date.now() + 10_000;
    while (!isUnpacking()) {
      expect(Date.now(), 'nothing was unpacked meanwhile').to.be.below(deadlineMs);
      await new Promise((fulfil) => setTimeout(fulfil, 2));
    }
    const { rootfs } = JSON.parse(image.config.toString()) as { rootfs: { diff_ids: string[] } };
    const noise = rootfs.diff_ids[1]?.slice(7);
    expect(readdirSync(join(dir, 'layers'))).not.to.include(noise);
    expect(store.list()).to.deep.equal([]);
    finish();
    expect(await pulling).to.equal(image.configDigest);
    expect(readdirSync(join(dir, 'layers'))).to.include(noise);
  });

  it('begins again where ranges are not known', async () => {
    let cuts = 0;
    const id = await pullFrom((request, response) => {
      if (!isBlob(request, largest)) return false;
      response.writeHead(200, { 'content-length': largest.length });
      if (++cuts === 1) response.write(largest.subarray(0, 100_000), () => response.destroy());
      else response.end(largest);
      return true;
    });
    expect(id).to.equal(image.configDigest);
  });

  it('tries again after 5xx, and not for ever', async () => {
    let failures = 0;
    const busy: Script = (_request, response) => {
      if (++failures > 2) return false;
      response.writeHead(503).end('busy');
      return true;
    };
    expect(await pullFrom(busy)).to.equal(image.configDigest);
    await server?.close();
    await store.remove(image.configDigest, { force: true, inUse: () => undefined });
    const refused = await refusal(
      pullFrom((_request, response) => {
        response.writeHead(500).end();
        return true;
      }),
    );
    expect(refused).to.deep.equal({ code: 'unavailable', message: 'received unexpected HTTP status: 500' });
    expect(server?.requests.length).to.equal(3);
  });

  const refusals: [what: string, script: Script, code: string, words: string | RegExp][] = [
    [
      'a layer with another content',
      (request, response) => {
        if (!isBlob(request, largest)) return false;
        response.end(Buffer.alloc(largest.length));
        return true;
      },
      'data-damaged',
      `filesystem layer verification failed for digest ${digestOf(largest)}`,
    ],
    [
      'a layer with another end',
      (request, response) => {
        if (!isBlob(request, largest)) return false;
        response.end(Buffer.concat([largest.subarray(0, -1), Buffer.from([(largest.at(-1) ?? 0) ^ 1])]));
        return true;
      },
      'data-damaged',
      `filesystem layer verification failed for digest ${digestOf(largest)}`,
    ],
    [
      'a layer that does not end',
      (request, response) => {
        if (!isBlob(request, largest)) return false;
        response.writeHead(200);
        const more = (): void => {
          if (!response.destroyed) response.write(Buffer.alloc(65_536), more);
        };
        more();
        return true;
      },
      'data-damaged',
      'more than',
    ],
    [
      'a server that sends nothing',
      (request, response) => {
        if (!isBlob(request, largest)) return false;
        response.writeHead(200, { 'content-length': largest.length });
        response.flushHeaders();
        return true;
      },
      'unavailable',
      'timeout awaiting response body',
    ],
    ['a server that does not answer', () => true, 'unavailable', 'timeout awaiting response headers'],
    [
      'an endless manifest',
      (request, response) => {
        if (!request.url?.includes('/manifests/')) return false;
        const more = (): void => {
          if (!response.destroyed) response.write(Buffer.alloc(1_000_000, 'x'), more);
        };
        more();
        return true;
      },
      'unavailable',
      'over 4194304 bytes',
    ],
    [
      'a manifest of schema 1',
      (_request, response) => {
        response.end('{"schemaVersion":1}');
        return true;
      },
      'invalid-argument',
      'schema version 1',
    ],
    [
      'a manifest that is no JSON',
      (_request, response) => {
        response.end('<html>');
        return true;
      },
      'invalid-argument',
      'not JSON',
    ],
    [
      'a redirect in circles',
      (_request, response) => {
        response.writeHead(302, { location: '/v2/again' }).end();
        return true;
      },
      'unavailable',
      'redirects to nowhere or in circles',
    ],
    [
      'too many requests',
      (_request, response) => {
        response.writeHead(429).end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
        return true;
      },
      'unavailable',
      'toomanyrequests: slow down',
    ],
  ];
  for (const [what, script, code, words] of refusals) {
    it(`refuses ${what} and keeps nothing`, async () => {
      const refused = await refusal(pullFrom(script));
      expect(refused.message).to.match(
        words instanceof RegExp ? words : new RegExp(words.replace(/[()[\]]/g, '\\$&')),
      );
      expect(refused.code).to.equal(code);
      expectNothingStored();
    });
  }

  it('names the server that is not there', async () => {
    server = await startScriptedRegistry(image);
    await server.close();
    const { host } = server;
    server = undefined;
    expect(await refusal(store.pull(`${host}/x`, {}))).to.deep.equal({
      code: 'unavailable',
      message: `Get "http://${host}/v2/": dial tcp ${host}: connect: connection refused`,
    });
    const unknown = await refusal(store.pull('registry.invalid/x', {}));
    expect(unknown.code).to.equal('unavailable');
    expect(unknown.message).to.match(
      /^Get "https:\/\/registry\.invalid\/v2\/": dial tcp: lookup registry\.invalid: /,
    );
  });

  it('gets a token with the credentials, and sends neither to where blobs are redirected', async () => {
    const elsewhere: (string | undefined)[] = [];
    const cdn = await startScriptedRegistry(image, (request) => {
      elsewhere.push(request.headers.authorization);
      return false;
    });
    const tokenRequests: string[] = [];
    const id = await pullFrom(
      (request, response) => {
        const url = request.url ?? '';
        if (url.startsWith('/token')) {
          tokenRequests.push(`${url} ${request.headers.authorization}`);
          response.end('{"token":"secret-token"}');
          return true;
        }
        if (request.headers.authorization !== 'Bearer secret-token') {
          const realm = `http://${request.headers.host}/token`;
          response.writeHead(401, {
            'www-authenticate': `Bearer realm="${realm}",service="reg",scope="repository:x:pull"`,
          });
          response.end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
          return true;
        }
        if (!url.includes('/blobs/')) return false;
        response.writeHead(307, { location: `${cdn.url}${url}?signature=1` }).end();
        return true;
      },
      { username: 'me', password: 'mine' },
    );
    await cdn.close();
    expect(id).to.equal(image.configDigest);
    const basic = Buffer.from('me:mine').toString('base64');
    expect(tokenRequests).to.deep.equal([`/token?service=reg&scope=repository%3Ax%3Apull Basic ${basic}`]);
    expect(elsewhere).to.deep.equal([undefined, undefined, undefined, undefined]);
  });

  it('ends when its caller leaves', async () => {
    const leaver = new AbortController();
    server = await startScriptedRegistry(image, (request) => {
      if (!isBlob(request, largest)) return false;
      leaver.abort(new Error('gone'));
      return true;
    });
    const work = store.pull(`${server.host}/x`, { signal: leaver.signal });
    expect(await work.catch((error: Error) => error.message)).to.equal('gone');
    const deadlineMs = Date.now() + 5000;
    const dir = join(folder.path, 'images');
    const left = (): number =>
      readdirSync(join(dir, 'tmp')).length + readdirSync(join(dir, 'blobs/sha256')).length;
    while (left() > 0 && Date.now() < deadlineMs) await new Promise((fulfil) => setTimeout(fulfil, 5));
    expectNothingStored();
  });
});
