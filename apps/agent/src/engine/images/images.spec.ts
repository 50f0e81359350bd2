import { createApiServer, type ApiServer } from '#libs/docker-api';
import { createImageStore, type ImageStore, type PeerSource } from '#libs/images';
import type { ClusterId, Digest, NodeId } from '#libs/model';
import {
  checkCertificateRequest,
  createCertificateRequest,
  createRootCa,
  issueNodeCertificate,
  type RootCa,
} from '#libs/pki';
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import { createServer as createNetServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { Agent, request } from 'undici';
import { distributionRoutes } from './distribution.js';
import { imageRoutes } from './image-routes.js';

const clusterId = 'c'.repeat(25) as ClusterId;

interface Identity {
  key: string;
  cert: string;
}

/** A docker-archive with one file in one layer. */
function archive(tag: string, content: string): Readable {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-layer-'));
  const layer = join(folder, 'layer.tar');
  try {
    execFileSync('sh', ['-c', `printf %s "$1" > hello && tar -cf layer.tar hello`, 'sh', content], {
      cwd: folder,
    });
    const bytes = readFileSync(layer);
    const diffId = execFileSync('sha256sum', [layer], { encoding: 'utf8' }).slice(0, 64);
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/hello'], Labels: { kind: 'test' } },
      rootfs: { type: 'layers', diff_ids: [`sha256:${diffId}`] },
      history: [{ created_by: 'COPY hello', created: '2026-01-01T00:00:00Z' }],
    });
    const out = pack();
    out.entry({ name: 'layer.tar' }, bytes);
    out.entry({ name: 'config.json' }, config);
    out.entry(
      { name: 'manifest.json' },
      JSON.stringify([{ Config: 'config.json', RepoTags: [tag], Layers: ['layer.tar'] }]),
    );
    out.finalize();
    return Readable.from(out as AsyncIterable<Buffer>);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('images between nodes', () => {
  let folder: string;
  let ca: RootCa;
  let server: Server;
  let api: ApiServer;
  let near: ImageStore;
  let far: ImageStore;
  let farIdentity: Identity;
  let peer: PeerSource;
  let complaints: string[];

  async function issue(nodeId: string): Promise<Identity> {
    const { requestPem, keyPem } = await createCertificateRequest();
    const checked = await checkCertificateRequest(requestPem);
    const identity = { nodeId: nodeId as NodeId, clusterId, role: 'worker' as const };
    const cert = await issueNodeCertificate({ ca, request: checked, identity, nowMs: Date.now() });
    return { key: keyPem, cert };
  }

  async function openStore(name: string): Promise<ImageStore> {
    const store = createImageStore({
      dir: join(folder, name),
      clock: { nowMs: () => Date.now() },
      log: (message) => complaints.push(message),
      registry: { retryDelayMs: 2, attemptsMax: 2 },
    });
    await store.start();
    return store;
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-peers-'));
    complaints = [];
    ca = await createRootCa({ nowMs: Date.now() });
    const here = await issue('a'.repeat(25));
    farIdentity = await issue('b'.repeat(25));
    near = await openStore('near');
    far = await openStore('far');
    api = createApiServer({ routes: distributionRoutes(near) });
    server = createServer({ ...here, ca: ca.certificatePem, requestCert: true, rejectUnauthorized: true });
    api.attach(server);
    await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
    const { port } = server.address() as AddressInfo;
    const tls = { ca: ca.certificatePem, ...farIdentity, servername: 'a'.repeat(25) };
    peer = { baseUrl: `https://127.0.0.1:${port}`, tls };
    await near.load(archive('enxame/hello:1', 'hello from afar'), () => undefined);
  });
  after(async () => {
    await near.close();
    await far.close();
    await api.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('serves what it has by name and by digest, in parts, and nothing else', async () => {
    const dispatcher = new Agent({ connect: peer.tls });
    const get = async (
      path: string,
      headers: Record<string, string> = {},
      method: 'GET' | 'HEAD' = 'GET',
    ) => {
      const answer = await request(peer.baseUrl + path, { dispatcher, headers, method });
      return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() };
    };
    const digest = near.resolve('enxame/hello:1')?.digest;
    const image = near.find('enxame/hello:1');
    expect((await get('/v2/')).status).to.equal(200);
    const named = await get('/v2/enxame/hello/manifests/1?ns=docker.io');
    expect(named.headers['docker-content-digest']).to.equal(digest);
    expect(named.headers['enxame-image-origin']).to.equal('local');
    expect((await get(`/v2/enxame/hello/manifests/${digest}`)).body).to.equal(named.body);
    const head = await get(`/v2/enxame/hello/manifests/${digest}`, {}, 'HEAD');
    expect([head.status, head.headers['content-length'], head.body]).to.deep.equal([
      200,
      String(named.body.length),
      '',
    ]);
    const config = `/v2/enxame/hello/blobs/${image?.id}`;
    const whole = await get(config);
    const part = await get(config, { range: 'bytes=10-' });
    expect([part.status, part.body]).to.deep.equal([206, whole.body.slice(10)]);
    expect((await get(config, { range: 'bytes=100000-' })).status).to.equal(400);
    const missing = [
      '/v2/enxame/hello/manifests/2',
      '/v2/enxame/hello/manifests/1?ns=quay.io',
      `/v2/enxame/hello/manifests/${image?.id}`,
      '/v2/enxame/hello/blobs/sha256:00',
      `/v2/enxame/hello/blobs/sha256:${'0'.repeat(64)}`,
      '/v2/enxame/hello/blobs/..%2f..%2fnames.json',
    ];
    for (const path of missing) expect((await get(path)).status, path).to.equal(404);
    await dispatcher.close();
  });

  it('brings an image that only another node has, by name and by digest', async () => {
    const described = await far.describeRemote('enxame/hello:1', undefined, [peer]);
    const pulled = await far.pull(`enxame/hello:1@${described.digest}`, { peers: [peer] });
    expect(pulled.manifestDigest).to.equal(described.digest);
    const [layer = ''] = await far.rootLayers(pulled.id);
    expect(readFileSync(join(layer, 'hello'), 'utf8')).to.equal('hello from afar');
    await far.remove(pulled.id, { force: true, inUse: () => undefined });
    const again = await far.pull('enxame/hello:1', { peers: [peer] });
    expect(again.tags).to.deep.equal(['enxame/hello:1']);
    expect(far.resolve('enxame/hello:1')?.origin).to.equal('local');
    await far.remove('enxame/hello:1', { force: true, inUse: () => undefined });
  });

  it('takes the layers of a registry image from a node that has them', async () => {
    const [image] = near.list();
    const served: string[] = [];
    const registry = createHttpServer((incoming, response) => {
      const path = incoming.url ?? '';
      served.push(path);
      const digest = path.includes('/manifests/') ? image?.manifestDigest : path.split('/').at(-1);
      const blob = near.readBlob((digest ?? '') as Digest);
      response.writeHead(blob === undefined ? 404 : 200, { 'content-type': blob?.mediaType ?? 'text/plain' });
      if (blob === undefined) response.end();
      else blob.stream.pipe(response);
    });
    await new Promise<void>((fulfil) => registry.listen(0, '127.0.0.1', fulfil));
    const name = `127.0.0.1:${(registry.address() as AddressInfo).port}/hello:1`;
    const layer = image?.layers[0]?.digest ?? '';
    const fresh = await openStore('fresh');
    try {
      const pulled = await fresh.pull(name, { peers: [peer] });
      expect(pulled.id).to.equal(image?.id);
      expect(served.filter((path) => path.includes(layer))).to.deep.equal([]);
      // Whose image it is says the registry all the same.
      expect(fresh.resolve(name)?.origin).to.equal('registry');
      await fresh.remove(name, { force: true, inUse: () => undefined });
      const gone = { ...peer, baseUrl: 'https://127.0.0.1:1' };
      await fresh.pull(name, { peers: [gone] });
      expect(served.filter((path) => path.includes(layer)).length).to.equal(1);
    } finally {
      await fresh.close();
      registry.closeAllConnections();
      registry.close();
    }
  });

  it('goes past peers that are dead, silent, strange or without the image', async () => {
    const sockets = new Set<Socket>();
    const silent = createNetServer((socket) => sockets.add(socket));
    await new Promise<void>((fulfil) => silent.listen(0, '127.0.0.1', fulfil));
    const { port } = silent.address() as AddressInfo;
    const strangerCa = await createRootCa({ nowMs: Date.now() });
    const peers: PeerSource[] = [
      { ...peer, baseUrl: 'https://127.0.0.1:1' },
      { ...peer, baseUrl: `https://127.0.0.1:${port}` },
      { ...peer, tls: { ...peer.tls, servername: 'z'.repeat(25) } },
      { ...peer, tls: { ...peer.tls, ca: strangerCa.certificatePem } },
      peer,
    ];
    complaints = [];
    const pulled = await far.pull('enxame/hello:1', { peers });
    expect(pulled.tags).to.deep.equal(['enxame/hello:1']);
    expect(complaints.length).to.equal(4);
    for (const socket of sockets) socket.destroy();
    await new Promise((fulfil) => silent.close(fulfil));
  });
});

describe('image routes', () => {
  let folder: string;
  let store: ImageStore;
  let api: ApiServer;
  let host: string;
  const inUse = new Set<string>();

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-image-routes-'));
    store = createImageStore({ dir: join(folder, 'images'), clock: { nowMs: () => Date.now() } });
    await store.start();
    const routes = imageRoutes({
      images: store,
      inUse: (id) => (inUse.has(id) ? { container: 'c'.repeat(64), running: false } : undefined),
      peersFor: async () => [],
      nowMs: () => Date.now(),
    });
    api = createApiServer({ routes });
    const server = createHttpServer();
    api.attach(server);
    await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
    host = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    await api.close();
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function call(method: 'GET' | 'POST' | 'DELETE', path: string, headers: Record<string, string> = {}) {
    const answer = await request(host.replace('tcp:', 'http:') + path, { method, headers });
    const text = await answer.body.text();
    return { status: answer.statusCode, text, json: (): unknown => JSON.parse(text) };
  }

  it('loads, lists, shows, tags and removes', async () => {
    const loaded = await request(`${host.replace('tcp:', 'http:')}/v1.47/images/load?quiet=1`, {
      method: 'POST',
      body: archive('team/hello:1', 'hello'),
    });
    expect(await loaded.body.text()).to.equal('{"stream":"Loaded image: team/hello:1\\n"}\r\n');
    const id = store.find('team/hello:1')?.id ?? '';
    const [summary] = (await call('GET', '/images/json')).json() as Record<string, unknown>[];
    expect(summary).to.deep.include({
      Id: id,
      RepoTags: ['team/hello:1'],
      Size: 5,
      Labels: { kind: 'test' },
    });
    const filters: [filter: object, count: number][] = [
      [{ reference: ['team/*'] }, 1],
      [{ reference: ['hello'] }, 0],
      [{ reference: ['team/hel?o:[0-9]'] }, 1],
      [{ reference: ['*'] }, 0],
      [{ dangling: ['true'] }, 0],
      [{ label: ['kind=test'] }, 1],
      [{ label: ['kind=other'] }, 0],
    ];
    for (const [filter, count] of filters) {
      const list = await call('GET', `/images/json?filters=${encodeURIComponent(JSON.stringify(filter))}`);
      expect((list.json() as unknown[]).length, JSON.stringify(filter)).to.equal(count);
    }
    expect((await call('GET', '/images/json?filters={"nope":["1"]}')).status).to.equal(400);
    const inspected = (await call('GET', '/images/team/hello:1/json')).json();
    expect(inspected).to.deep.include({ Id: id, Os: 'linux', Created: '0001-01-01T00:00:00Z' });
    const [step] = (await call('GET', '/images/team/hello:1/history')).json() as Record<string, unknown>[];
    expect(step).to.deep.include({ Id: id, CreatedBy: 'COPY hello', Size: 5 });
    expect((await call('POST', '/images/team/hello:1/tag?repo=localhost:5000/x/y&tag=2')).status).to.equal(
      201,
    );
    const described = (await call('GET', '/distribution/localhost:5000/x/y:2/json')).json();
    expect(described).to.have.nested.property('Descriptor.digest', store.resolve('team/hello:1')?.digest);
    expect((await call('GET', '/images/nope/json')).json()).to.deep.equal({ message: 'No such image: nope' });

    const named = await call('GET', '/images/json?filters={"reference":["localhost:5000/*/*"]}');
    expect(named.json()).to.have.nested.property('[0].RepoTags').deep.equal(['localhost:5000/x/y:2']);
    const ambiguous = await call('POST', '/images/team/hello:1/tag?repo=sha256&tag=word');
    expect(ambiguous.status).to.equal(400);

    inUse.add(id);
    expect((await call('DELETE', '/images/localhost:5000/x/y:2')).status).to.equal(200);
    expect((await call('DELETE', '/images/team/hello:1')).status).to.equal(409);
    expect((await call('POST', '/images/prune?filters={"dangling":["false"]}')).json()).to.deep.equal({
      ImagesDeleted: [],
      SpaceReclaimed: 0,
    });
    inUse.delete(id);
    const pruned = (await call('POST', '/images/prune?filters={"dangling":["false"]}')).json();
    expect(pruned).to.have.property('SpaceReclaimed', 5);
    expect(store.list()).to.deep.equal([]);
  });

  it('tells failures by status, or in the last line when it has begun', async () => {
    const broken = await request(`${host.replace('tcp:', 'http:')}/images/load`, {
      method: 'POST',
      body: 'no archive',
    });
    expect(broken.statusCode).to.equal(400);
    expect(await broken.body.json())
      .to.have.property('message')
      .that.contains('invalid image archive');
    const pulls: [query: string, headers: Record<string, string>, status: number, words: string][] = [
      ['fromImage=127.0.0.1:1/x&tag=1', {}, 503, 'connection refused'],
      ['fromImage=Bad&tag=1', {}, 400, 'must be lowercase'],
      ['tag=1', {}, 400, 'fromImage'],
      ['fromImage=127.0.0.1:1/x', {}, 503, 'connection refused'],
      ['fromImage=demo&tag=1&platform=a%20b', {}, 400, 'invalid component'],
      ['fromImage=demo&tag=1', { 'x-registry-auth': 'bm8=' }, 400, 'X-Registry-Auth'],
    ];
    for (const [query, headers, status, words] of pulls) {
      const answer = await call('POST', `/images/create?${query}`, headers);
      expect([answer.status, answer.text.includes(words)], `${query}: ${answer.text}`).to.deep.equal([
        status,
        true,
      ]);
    }
  });
});
