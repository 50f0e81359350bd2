/** Layers from other places than the registry, images for other machines, and registries that ask for patience. */
import { expect } from 'chai';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { digestOf } from '../content/content-store.js';
import { choosePlatform, fitsPlatform } from '../content/platform.js';
import { platformOf } from '../content/platform-words.js';
import { composeManifest, mediaTypes, parseManifest, type Manifest } from '../content/manifest.js';
import { buildImage, type BuiltImage } from '../fixtures/image-builder.js';
import { startMemoryRegistry } from '../fixtures/memory-registry.js';
import { openStore, type OpenedStore } from '../fixtures/opened-store.js';
import { startScriptedRegistry, type ScriptedServer } from '../fixtures/registry-server.js';
import { tar } from '../fixtures/tar-builder.js';
import { retryAfterMsOf } from './errors.js';

type Script = (request: IncomingMessage, response: ServerResponse) => boolean;

const image = buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: 'b', content: 'two' }]] });
const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = image.layers;

/** The same image, but with other descriptors of its layers. */
function redescribed(change: (layer: Manifest['layers'][number], i: number) => object): BuiltImage {
  const { config, layers } = parseManifest(image.manifest) as Manifest;
  const manifest = composeManifest(
    config,
    layers.map((layer, i) => ({ ...layer, ...change(layer, i) })),
  );
  return { ...image, manifest, manifestDigest: digestOf(manifest) };
}

let opened: OpenedStore;
let servers: { close(): Promise<void> }[];

beforeEach(async () => {
  servers = [];
  opened = await openStore({ registry: { retryDelayMs: 1, attemptsMax: 3, idleTimeoutMs: 5000 } });
});
afterEach(async () => {
  for (const server of servers) await server.close();
  await opened.end();
});

async function registryOf(built: BuiltImage, script?: Script): Promise<ScriptedServer> {
  const server = await startScriptedRegistry(built, script);
  servers.push(server);
  return server;
}

async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'it was not refused',
    (error: Error) => error.message,
  );
}

describe('foreign layers', () => {
  const foreignType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

  it('come from where their manifest says, without credentials, and are not pushed', async () => {
    const asked: string[] = [];
    const owner = createServer((request, response) => {
      asked.push(`${request.url} ${request.headers.authorization ?? 'nobody'}`);
      response.end(second);
    });
    await new Promise<void>((fulfil) => owner.listen(0, '127.0.0.1', fulfil));
    servers.push({ close: async () => void owner.close() });
    const url = `http://127.0.0.1:${(owner.address() as AddressInfo).port}/owned`;
    const urls = ['ftp://127.0.0.1/no', 'no url', url];
    const built = redescribed((_layer, i) => (i === 1 ? { mediaType: foreignType, urls } : {}));
    const registry = await registryOf(built, (request, response) => {
      if (request.headers.authorization !== undefined) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return true;
    });
    const auth = { username: 'me', password: 'mine' };
    const pulled = await opened.store.pull(`${registry.host}/x:1`, { auth });
    expect([pulled.id, asked]).to.deep.equal([image.configDigest, ['/owned nobody']]);
    expect(registry.requests.some((line) => line.includes(digestOf(second)))).to.equal(false);

    const target = await startMemoryRegistry();
    servers.push(target);
    await opened.store.tag(pulled.id, `${target.host}/y:1`);
    const lines: (string | undefined)[] = [];
    await opened.store.push(`${target.host}/y:1`, { progress: ({ status }) => lines.push(status) });
    expect(target.manifests.get('y:1')?.bytes.equals(built.manifest)).to.equal(true);
    expect([...target.blobs.keys()].toSorted()).to.deep.equal(
      [`y@${digestOf(first)}`, `y@${image.configDigest}`].toSorted(),
    );
    expect(lines).to.include('Skipped foreign layer');
  });

  it('come from the registry when their owner is not there or has another file', async () => {
    const liar = await registryOf(image, (_request, response) => {
      response.end(Buffer.alloc(second.length));
      return true;
    });
    const urls = ['http://127.0.0.1:1/gone', `${liar.url}/other`];
    const registry = await registryOf(redescribed(() => ({ mediaType: foreignType, urls })));
    expect((await opened.store.pull(`${registry.host}/x:1`, {})).id).to.equal(image.configDigest);
  });

  it('are an affair of such layers only: no other is asked for at a place that a manifest names', async () => {
    const elsewhere = await registryOf(image);
    const registry = await registryOf(redescribed(() => ({ urls: [`${elsewhere.url}/x`] })));
    await opened.store.pull(`${registry.host}/x:1`, {});
    expect(elsewhere.requests).to.deep.equal([]);
  });
});

describe('layers packed by zstd', () => {
  /** A frame of one raw block (RFC 8878, 3.1.1): all that is needed of the format here. */
  function zstdOf(bytes: Buffer): Buffer {
    const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
    head.writeUInt32LE(bytes.length, 5);
    head.writeUIntLE((bytes.length << 3) | 1, 9, 3);
    return Buffer.concat([head, bytes]);
  }

  it('are pulled like others', async () => {
    const plain = tar([{ name: 'z', content: 'packed' }]);
    const layer = { packed: zstdOf(plain), diffId: digestOf(plain) };
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [layer.diffId] },
      }),
    );
    const manifest = composeManifest({ digest: digestOf(config), size: config.length }, [
      { digest: digestOf(layer.packed), size: layer.packed.length, mediaType: `${mediaTypes.ociLayer}+zstd` },
    ]);
    const built = {
      config,
      manifest,
      layers: [layer.packed],
      manifestDigest: digestOf(manifest),
      configDigest: digestOf(config),
      blobs: new Map([config, manifest, layer.packed].map((bytes) => [digestOf(bytes), bytes])),
    };
    const registry = await registryOf(built);
    const pulled = await opened.store.pull(`${registry.host}/x:1`, {});
    expect(pulled.layers.map(({ diffId }) => diffId)).to.deep.equal([layer.diffId]);
  });
});

describe('images for other machines', () => {
  const other = buildImage({ layers: [[{ name: 'other' }]], config: { User: 'other' } });
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: [
        { built: image, platform: { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : 'arm64' } },
        { built: other, platform: { os: 'linux', architecture: 's390x' } },
      ].map(({ built, platform }) => ({
        mediaType: mediaTypes.ociManifest,
        digest: built.manifestDigest,
        size: built.manifest.length,
        platform,
      })),
    }),
  );
  const both = { ...image, blobs: new Map([...image.blobs, ...other.blobs]) };
  const serving: Script = (request, response) => {
    const bytes = request.url?.endsWith('/manifests/1')
      ? index
      : request.url?.endsWith(`/manifests/${other.manifestDigest}`)
        ? other.manifest
        : undefined;
    if (bytes !== undefined) response.end(bytes);
    return bytes !== undefined;
  };

  it("are pulled when they are asked for, and told apart from this machine's", async () => {
    const registry = await registryOf(both, serving);
    const name = `${registry.host}/x:1`;
    const platform = platformOf('linux/s390x');
    expect((await opened.store.pull(name, { platform })).id).to.equal(other.configDigest);
    expect((await opened.store.pull(name, {})).id).to.equal(image.configDigest);
    const digest = `${registry.host}/x@${digestOf(index)}`;
    expect(await refusal(opened.store.pull(name, { platform: platformOf('linux/mips64le') }))).to.equal(
      'no matching manifest for linux/mips64le in the manifest list entries',
    );
    expect(opened.store.find(digest)?.id).to.equal(image.configDigest);
  });

  it('have variants, of which the one that was asked for is taken', () => {
    const arm = (variant?: string) => ({ os: 'linux', architecture: 'arm', ...(variant && { variant }) });
    expect(fitsPlatform(arm('v6'), arm('v7'))).to.equal(false);
    expect(fitsPlatform(arm('v7'), arm('v7'))).to.equal(true);
    expect(fitsPlatform(arm('v7'), arm())).to.equal(true);
    const candidates = [arm('v5'), arm('v7'), arm('v6')].map((platform) => ({ platform }));
    expect(choosePlatform(candidates, arm('v6'))?.platform).to.deep.equal(arm('v6'));
  });
});

describe('a registry that asks for patience', () => {
  const busy = (status: number, after: string, times: number): Script => {
    let count = 0;
    return (_request, response) => {
      if (++count > times) return false;
      response.writeHead(status, { 'retry-after': after }).end();
      return true;
    };
  };

  it('is left alone for as long as it said', async () => {
    const answeredAtMs: number[] = [];
    const script = busy(429, '1', 1);
    const registry = await registryOf(image, (request, response) => {
      answeredAtMs.push(performance.now());
      return script(request, response);
    });
    await opened.store.pull(`${registry.host}/x:1`, {});
    // Timers may be a little early; never is it our own first pause of 1 ms.
    expect((answeredAtMs[1] ?? 0) - (answeredAtMs[0] ?? 0)).to.be.above(900);
  });

  it('is asked again at once when it says so, for layers, too', async () => {
    const script = busy(503, '0', 2);
    const registry = await registryOf(
      image,
      (request, response) => request.url?.endsWith(digestOf(first)) === true && script(request, response),
    );
    expect((await opened.store.pull(`${registry.host}/x:1`, {})).id).to.equal(image.configDigest);
  });

  it('is not waited for when that would take too long', async () => {
    const registry = await registryOf(image, busy(429, '3600', 1));
    expect(await refusal(opened.store.pull(`${registry.host}/x:1`, {}))).to.equal(
      'toomanyrequests: too many requests',
    );
    expect(registry.requests.length).to.equal(1);
  });

  it('may name seconds or a date', () => {
    const nowMs = Date.UTC(2026, 0, 1);
    expect(retryAfterMsOf('120', nowMs)).to.equal(120_000);
    expect(retryAfterMsOf('Thu, 01 Jan 2026 00:00:05 GMT', nowMs)).to.equal(5000);
    expect(retryAfterMsOf('Thu, 01 Jan 2025 00:00:05 GMT', nowMs)).to.equal(0);
    for (const nothing of [undefined, '', 'soon', '-5'])
      expect(retryAfterMsOf(nothing, nowMs)).to.equal(undefined);
  });
});
