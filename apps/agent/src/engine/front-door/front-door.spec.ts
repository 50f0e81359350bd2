import { createApiServer, streamEvents, type Route } from '#libs/docker-api';
import { EnxameError, type ClusterId, type ClusterEvent, type NodeConfig, type NodeId } from '#libs/model';
import {
  checkCertificateRequest,
  createCertificateRequest,
  createRootCa,
  issueNodeCertificate,
} from '#libs/pki';
import type { Telemetry } from '#libs/telemetry';
import { expect } from 'chai';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeStatus } from '../system/node-status.js';
import type { ContainerNetworks } from '../networks/container-networks.js';
import { LocalNetworks } from '../networks/local-networks.js';
import { networkRoutes } from '../networks/network-routes.js';
import { createFrontDoor, type FrontDoor } from './front-door.js';

interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: unknown;
}

const routes: Route[] = [
  {
    method: 'GET',
    path: '/containers/:id/json',
    async handler(request, response) {
      if (request.params['id'] !== 'here')
        throw new EnxameError('not-found', `No such container: ${request.params['id']}`);
      response.json(200, { Id: 'here', caller: request.caller });
    },
  },
  { method: 'POST', path: '/_enxame/shutdown', handler: async (_request, response) => response.empty(200) },
];
const peerRoutes: Route[] = [
  { method: 'GET', path: '/v2/', handler: async (_request, response) => response.json(200, {}) },
];
const event: ClusterEvent = {
  Type: 'container',
  Action: 'start',
  Actor: { ID: 'c1', Attributes: {} },
  scope: 'local',
  time: 1,
  timeNano: 1e9,
};
const telemetry = {
  async *events() {
    yield event;
  },
} as unknown as Telemetry;

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('FrontDoor', () => {
  let folder: string;
  let config: NodeConfig;
  let door: FrontDoor;
  let status: NodeStatus;
  let joinedWith: string | undefined;
  let manager: Server | undefined;

  function openDoor(): FrontDoor {
    return createFrontDoor({
      config,
      routes,
      peerRoutes,
      local: { hasContainer: (id) => id === 'here', hasExec: () => false },
      swarm: {
        init: async (request) => `n1 at ${request.AdvertiseAddr}`,
        join: async ({ JoinToken }) => void (joinedWith = JoinToken),
        leave: async (force) => {
          if (!force) throw new EnxameError('not-manager', 'use --force');
        },
      },
      status: () => status,
      networkRoutes: (forward) =>
        networkRoutes({
          config,
          startedAtMs: 0,
          forward,
          network: {
            localSubnet: () => '172.17.0.0/16',
            findSubnet: async (wanted) => wanted ?? '172.18.0.0/16',
          },
          networks: new LocalNetworks(config.stateDir),
          containers: {
            usersOf: () => [],
            usersOfBridge: () => [],
            apply: async () => undefined,
          } as Partial<ContainerNetworks> as ContainerNetworks,
          notify: () => undefined,
          nowMs: () => 0,
        }),
      counts: () => ({ containers: 2, running: 1, paused: 0, stopped: 1, images: 3 }),
      telemetry,
      nowMs: () => Date.now(),
      log: () => undefined,
    });
  }

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-door-'));
    config = {
      clusterName: 'test',
      nodeName: 'node-1',
      stateDir: join(folder, 'state'),
      apiSocket: join(folder, 'node-1.sock'),
      managerSocket: join(folder, 'manager.sock'),
      address: '127.0.0.1',
      enginePort: await freePort(),
      network: { tag: 'test', linkLocalGateway: '169.254.1.1', markBase: 0x0e000000 },
      insecureRegistries: [],
      logLevel: 'error',
    } as Partial<NodeConfig> as NodeConfig;
    status = { state: 'active', role: 'worker', nodeId: 'n1', managers: [] };
    door = openDoor();
    await door.start();
  });
  afterEach(async () => {
    await door.close();
    if (manager !== undefined) {
      manager.closeAllConnections();
      await new Promise((resolve) => manager?.close(resolve));
      manager = undefined;
    }
    rmSync(folder, { recursive: true, force: true });
  });

  function call(method: string, path: string, body?: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({ socketPath: config.apiSocket, method, path, agent: false }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () =>
          resolve(answerOf(answer.statusCode, answer.headers, Buffer.concat(chunks).toString())),
        );
      });
      request.on('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  function answerOf(statusCode: number | undefined, headers: Record<string, unknown>, text: string): Answer {
    const isJson = String(headers['content-type']).includes('json') && text !== '';
    return { status: statusCode ?? 0, headers, body: isJson ? (JSON.parse(text) as unknown) : text };
  }

  async function startManager(): Promise<void> {
    status = { ...status, role: 'manager' };
    const answer = (path: string, body: unknown): Route => ({
      method: 'GET',
      path,
      handler: async (_request, response) => response.json(200, body),
    });
    manager = createServer();
    createApiServer({
      routes: [
        answer('/nodes', [{ ID: 'n1' }]),
        answer('/networks', [{ Name: 'ingress' }]),
        answer('/containers/:id/json', { Id: 'elsewhere' }),
        answer('/_enxame/info', {
          nodes: 3,
          managers: 2,
          cluster: { ID: 'k' },
          remoteManagers: [],
          error: 'no leader',
        }),
        {
          method: 'GET',
          path: '/events',
          handler: (request, response) =>
            streamEvents(
              async function* () {
                yield { ...event, Type: 'service', scope: 'swarm' };
              },
              request,
              response,
              Date.now(),
            ),
        },
      ],
    }).attach(manager);
    await new Promise<void>((resolve) => manager?.listen(config.managerSocket, resolve));
  }

  it('answers pings with what clients negotiate by', async () => {
    const answer = await call('GET', '/_ping');
    expect([answer.status, answer.body]).to.deep.equal([200, 'OK']);
    expect(answer.headers).to.deep.include({
      'api-version': '1.50',
      ostype: 'linux',
      swarm: 'active/worker',
      'builder-version': '1',
      'docker-experimental': 'false',
    });
    const head = await call('HEAD', '/_ping');
    expect([head.status, head.body, head.headers['api-version']]).to.deep.equal([200, '', '1.50']);
  });

  it('keeps its socket to root and the group, and takes over a dead one', async () => {
    expect((statSync(config.apiSocket).mode & 0o777).toString(8)).to.equal('660');
    const second = openDoor();
    const refusal = await second.start().then(
      () => 'started',
      (error: Error) => error.message,
    );
    expect(refusal).to.contain('another process is listening');
    expect(existsSync(config.apiSocket)).to.equal(true);
  });

  it('tells a worker`s client that it is not a manager', async () => {
    for (const path of [
      '/services',
      '/v1.41/tasks?filters={}',
      '/nodes/self',
      '/swarm',
      '/secrets',
      '/configs/c',
    ]) {
      const answer = await call('GET', path);
      expect(answer.status, path).to.equal(503);
      expect(answer.body)
        .to.have.property('message')
        .that.contains('This node is not a swarm manager. Worker nodes');
    }
  });

  it('brings the node to a cluster and out of it, manager or not', async () => {
    expect((await call('POST', '/swarm/init', { AdvertiseAddr: '10.0.0.1' })).body).to.equal(
      'n1 at 10.0.0.1',
    );
    expect((await call('POST', '/swarm/join', { RemoteAddrs: ['m1'], JoinToken: 't' })).status).to.equal(200);
    expect(joinedWith).to.equal('t');
    expect(await call('POST', '/swarm/leave')).to.deep.include({
      status: 503,
      body: { message: 'use --force' },
    });
    expect((await call('POST', '/swarm/leave?force=1')).status).to.equal(200);
    const bad = await call('POST', '/swarm/join', { RemoteAddrs: [], JoinToken: 't' });
    expect(bad).to.deep.include({
      status: 400,
      body: { message: 'invalid RemoteAddrs: at least 1 RemoteAddr is required to join' },
    });
  });

  it('passes to the manager what is the cluster`s, and containers that are elsewhere', async () => {
    await startManager();
    expect((await call('GET', '/v1.50/nodes')).body).to.deep.equal([{ ID: 'n1' }]);
    expect((await call('GET', '/containers/here/json')).body).to.have.property('Id', 'here');
    expect((await call('GET', '/containers/there/json')).body).to.have.property('Id', 'elsewhere');
    const networks = (await call('GET', '/networks')).body as { Name: string }[];
    expect(networks.map(({ Name }) => Name)).to.deep.equal(['ingress', 'bridge', 'host', 'none']);
    expect((await call('GET', '/networks/host')).body).to.have.property('Driver', 'host');
    const { Swarm } = (await call('GET', '/info')).body as { Swarm: Record<string, unknown> };
    expect(Swarm).to.deep.include({ Nodes: 3, Managers: 2, Cluster: { ID: 'k' }, Error: 'no leader' });
    expect(String(Swarm['Warnings'])).to.contain('two-manager configuration');
    expect((await call('GET', '/events?until=1&since=0')).body).to.deep.include({ Type: 'service' });
  });

  it('says so when its manager does not answer, and still tells of itself', async () => {
    status = { ...status, role: 'manager' };
    const answer = await call('GET', '/services');
    expect([answer.status, answer.body]).to.deep.equal([
      503,
      { message: "this node's manager is not answering; it may be starting" },
    ]);
    expect((await call('GET', '/info')).body).to.have.nested.property('Swarm.ControlAvailable', true);
    expect((await call('GET', '/events?until=1&since=0')).body).to.deep.include({ Type: 'container' });
  });

  it('answers what Docker has and this version has not with 501, and nonsense with 404', async () => {
    for (const [method, path] of [
      ['POST', '/v1.50/build?t=x'],
      ['POST', '/session'],
      ['POST', '/plugins/pull'],
      ['POST', '/images/reg:5000/a/b/push'],
      ['POST', '/plugins/create?name=x'],
    ] as const) {
      const answer = await call(method, path);
      expect(answer.status, path).to.equal(501);
      expect(answer.body).to.have.property('message').that.contains('is not implemented yet');
    }
    expect(await call('GET', '/nonsense')).to.deep.include({
      status: 404,
      body: { message: 'page not found' },
    });
  });

  describe('engine port', () => {
    const clusterId = 'cluster' as ClusterId;
    type Material = { key: string; cert: string; ca: string };

    async function authority() {
      const ca = await createRootCa({ nowMs: Date.now() });
      const certify = async (
        nodeId: string,
        role: 'manager' | 'worker',
        cluster = clusterId,
      ): Promise<Material> => {
        const { keyPem, requestPem } = await createCertificateRequest();
        const request = await checkCertificateRequest(requestPem);
        const identity = { nodeId: nodeId as NodeId, clusterId: cluster, role };
        const cert = await issueNodeCertificate({ ca, request, identity, nowMs: Date.now() });
        return { key: keyPem, cert, ca: ca.certificatePem };
      };
      return certify;
    }

    function ask(material: Partial<Material>, path: string, servername = 'n1'): Promise<Answer> {
      return new Promise((resolve, reject) => {
        const request = httpsRequest(
          { host: '127.0.0.1', port: config.enginePort, path, agent: false, servername, ...material },
          (answer) => {
            const chunks: Buffer[] = [];
            answer.on('data', (chunk: Buffer) => chunks.push(chunk));
            answer.on('end', () =>
              resolve(answerOf(answer.statusCode, answer.headers, Buffer.concat(chunks).toString())),
            );
          },
        );
        request.on('error', reject);
        request.end();
      });
    }

    it('lets managers drive the engine, workers fetch images, and nobody else in', async () => {
      const certify = await authority();
      const own = await certify('n1', 'manager');
      const identity = (material: Material) => ({
        clusterId,
        keyPem: material.key,
        certificatePem: material.cert,
        rootCertificatePem: material.ca,
        address: config.address,
        port: config.enginePort,
      });
      await door.useIdentity(identity(own));
      const fromManager = await certify('n2', 'manager');
      const fromWorker = await certify('n3', 'worker');
      expect((await ask(fromManager, '/containers/here/json')).body).to.deep.equal({
        Id: 'here',
        caller: { kind: 'node', nodeId: 'n2', role: 'manager' },
      });
      // What another node asks for is here or nowhere.
      expect((await ask(fromManager, '/containers/there/json')).status).to.equal(404);
      expect((await ask(fromManager, '/services')).status).to.equal(404);
      expect((await ask(fromManager, '/_enxame/shutdown')).status).to.equal(403);
      // The manager's API beside it, but nothing that is private to this machine.
      await startManager();
      expect((await ask(fromManager, '/_enxame/manager/v1.50/nodes')).body).to.deep.equal([{ ID: 'n1' }]);
      for (const path of ['/_enxame/info', '/v1.50/_enxame/info', '//_enxame/info']) {
        expect((await ask(fromManager, `/_enxame/manager${path}`)).status, path).to.equal(403);
      }
      expect((await ask(fromWorker, '/_enxame/manager/nodes')).status).to.equal(403);
      expect((await ask(fromWorker, '/containers/here/json')).status).to.equal(403);
      expect((await ask(fromWorker, '/v2/')).status).to.equal(200);
      expect((await ask(await certify('n4', 'manager', 'other' as ClusterId), '/v2/')).status).to.equal(401);
      const stranger = await (await authority())('n5', 'manager');
      const refused = async (material: Partial<Material>): Promise<boolean> =>
        ask(material, '/v2/').then(
          () => false,
          () => true,
        );
      expect(await refused({ ca: own.ca })).to.equal(true);
      expect(await refused({ ...stranger, ca: own.ca })).to.equal(true);
      await door.useIdentity(identity(await certify('n1', 'manager')));
      expect((await ask(fromWorker, '/v2/')).status).to.equal(200);
    });
  });
});
