import { type ApiServer, createApiServer, Demultiplexer, multiplexFrame, type Route } from '#libs/docker-api';
import { EnxameError, type Change, type ClusterId, type NodeId, type ServiceId } from '#libs/model';
import {
  checkCertificateRequest,
  createCertificateRequest,
  createRootCa,
  issueNodeCertificate,
} from '#libs/pki';
import { expect } from 'chai';
import { createServer } from 'node:https';
import { createConnection, type AddressInfo } from 'node:net';
import type { EngineDirectory } from '../edge/providers.js';
import { managerId, openTestApi, smallCluster, testTimeMs, workerId, type TestApi } from '../test-api.js';

const containerOf = (name: string): string => name.padEnd(64, '0');
const serviceId = 'svc'.padEnd(25, '0') as ServiceId;

/** The engine of one node, as far as these tests go: one container, whose log and execs tell where they ran. */
function engineRoutes(node: string, containerId: string): Route[] {
  const execId = `exec-${node}`;
  return [
    {
      method: 'GET',
      path: '/containers/:id/json',
      handler: async (request, response) => response.json(200, { Id: request.params['id'], Node: node }),
    },
    {
      method: 'GET',
      path: '/containers/:id/logs',
      async handler(request, response) {
        if (request.params['id'] !== containerId) throw new EnxameError('not-found', 'No such container');
        const output = response.stream(200, { 'Content-Type': 'application/vnd.docker.multiplexed-stream' });
        // Both nodes' first lines were written before both nodes' second ones.
        const stamp = (second: number): string =>
          request.query.get('timestamps') === '1'
            ? `1970-01-01T00:00:0${second}.00000000${node.slice(-1)}Z `
            : '';
        output.write(multiplexFrame(1, Buffer.from(`${stamp(1)}out of ${node}\n`)));
        output.write(multiplexFrame(2, Buffer.from(`${stamp(2)}err of ${node}\n`)));
        if (request.query.get('follow') !== '1') output.end();
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/exec',
      handler: async (_request, response) => response.json(201, { Id: execId }),
    },
    {
      method: 'GET',
      path: '/exec/:id/json',
      async handler(request, response) {
        if (request.params['id'] !== execId) throw new EnxameError('not-found', 'No such exec instance');
        response.json(200, { ID: execId, ExitCode: 0 });
      },
    },
    {
      method: 'POST',
      path: '/exec/:id/start',
      async handler(request, response) {
        const body = await request.json();
        const connection = response.hijack('application/vnd.docker.raw-stream');
        connection.write(`${node} ${JSON.stringify(body)} `);
        connection.on('data', (chunk: Buffer) => connection.write(chunk));
        connection.on('end', () => connection.end('.'));
      },
    },
  ];
}

describe('engines of other nodes', () => {
  const engines: ApiServer[] = [];
  const addresses = new Map<NodeId, { host: string; port: number }>();
  let api: TestApi;

  beforeEach(async () => {
    const ca = await createRootCa({ nowMs: Date.now() });
    const certify = async (nodeId: NodeId) => {
      const { keyPem, requestPem } = await createCertificateRequest();
      const request = await checkCertificateRequest(requestPem);
      const identity = { nodeId, clusterId: 'k' as ClusterId, role: 'manager' as const };
      const certificatePem = await issueNodeCertificate({ ca, request, identity, nowMs: Date.now() });
      return { keyPem, certificatePem, rootCertificatePem: ca.certificatePem };
    };
    for (const [nodeId, name] of [
      [managerId, 'node-1'],
      [workerId, 'node-2'],
    ] as const) {
      const own = await certify(nodeId);
      const server = createServer({
        key: own.keyPem,
        cert: own.certificatePem,
        ca: ca.certificatePem,
        requestCert: true,
        rejectUnauthorized: true,
        allowHalfOpen: true,
      } as Parameters<typeof createServer>[0]);
      const engine = createApiServer({ routes: engineRoutes(name, containerOf(name)) });
      engine.attach(server);
      engines.push(engine);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      addresses.set(nodeId, { host: '127.0.0.1', port: (server.address() as AddressInfo).port });
    }
    const tls = await certify(managerId);
    const directory: EngineDirectory = { engineAddress: (id) => addresses.get(id), tls: () => tls };
    api = await openTestApi(await smallCluster(), directory);
    await api.store.propose([
      {
        op: 'put',
        table: 'services',
        object: {
          id: serviceId,
          spec: { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'demo:1' } } },
          revisionId: 'r' as never,
        },
      },
      task('t1', 1, managerId, containerOf('node-1')),
      task('t2', 2, workerId, containerOf('node-2')),
    ]);
  });

  afterEach(async () => {
    await api.close();
    addresses.clear();
    for (const engine of engines.splice(0)) await engine.close();
  });

  function task(id: string, slot: number, nodeId: NodeId, containerId: string): Change {
    return {
      op: 'put',
      table: 'tasks',
      object: {
        id: id as never,
        serviceId,
        revisionId: 'r' as never,
        slot,
        nodeId,
        networks: [],
        desiredState: 'running',
        cause: 'create',
        status: {
          state: 'running',
          atMs: testTimeMs,
          message: 'started',
          container: { id: containerId as never, pid: 1 },
        },
      },
    };
  }

  /** Sends a request that asks to upgrade and reads until the other side ends. */
  function upgrade(path: string, body: string, input: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path: api.socketPath, allowHalfOpen: true });
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('error', reject);
      socket.on('end', () => {
        socket.end();
        resolve(text);
      });
      socket.end(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: ${body.length}\r\n\r\n${body}${input}`,
      );
    });
  }

  const references: [string, string][] = [
    [containerOf('node-2'), 'node-2'],
    ['node-2000', 'node-2'],
    ['web.2.t2', 'node-2'],
  ];
  for (const [reference, node] of references) {
    it(`finds the node of ${reference.slice(0, 12)}`, async () => {
      const { body } = await api.call('GET', `/containers/${reference}/json`);
      expect(body).to.deep.equal({ Id: containerOf(node), Node: node });
    });
  }

  it('says when there is no such container, or several', async () => {
    // A task's id alone is none: `docker inspect` would never come to the task.
    expect((await api.call('GET', '/containers/t1/json')).status).to.equal(404);
    expect(await api.call('GET', '/containers/none/json')).to.deep.equal({
      status: 404,
      body: { message: 'No such container: none' },
    });
    expect((await api.call('GET', '/containers/node/json')).body)
      .to.have.property('message')
      .that.contains('Multiple IDs');
  });

  it('runs an exec where its container is, input and half-closed connection included', async () => {
    const { body } = await api.call('POST', '/containers/web.2.t2/exec', { Cmd: ['sh'] });
    expect(body).to.deep.equal({ Id: 'exec-node-2' });
    const text = await upgrade('/v1.50/exec/exec-node-2/start', '{"Tty":false}', 'hello');
    expect(text).to.match(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    expect(text.split('\r\n\r\n')[1]).to.equal('node-2 {"Tty":false} hello.');
  });

  it('finds an exec that was made before this manager started', async () => {
    expect((await api.call('GET', '/exec/exec-node-1/json')).body).to.deep.include({ ID: 'exec-node-1' });
    expect((await api.call('GET', '/exec/exec-none/json')).status).to.equal(404);
  });

  it('answers for a node that is not connected', async () => {
    addresses.delete(workerId);
    const answer = await api.call('GET', `/containers/${containerOf('node-2')}/json`);
    expect(answer.status).to.equal(503);
    expect(answer.body).to.have.property('message').that.contains('is not connected');
  });

  it('trusts only the node it meant to reach', async () => {
    const other = addresses.get(managerId);
    if (other !== undefined) addresses.set(workerId, other);
    expect((await api.call('GET', `/containers/${containerOf('node-2')}/json`)).status).to.equal(503);
  });

  async function logLines(query: string): Promise<string[]> {
    const { body, status } = await api.call('GET', `/services/web/logs?${query}`);
    expect(status).to.equal(200);
    return new Demultiplexer()
      .push(Buffer.from(body as string, 'latin1'))
      .map(({ stream, data }) => `${stream} ${data.toString()}`);
  }

  it('merges the logs of all tasks in the order of their times, with details in front when asked', async () => {
    expect(await logLines('stdout=1&stderr=1')).to.deep.equal([
      '1 out of node-1\n',
      '1 out of node-2\n',
      '2 err of node-1\n',
      '2 err of node-2\n',
    ]);
    const [first] = await logLines('stdout=1&stderr=1&details=1');
    expect(first).to.equal(
      `1 com.docker.swarm.node.id=${managerId},com.docker.swarm.service.id=${serviceId},com.docker.swarm.task.id=t1 out of node-1\n`,
    );
    expect((await api.call('GET', '/tasks/t2/logs?stdout=1')).body).to.contain('out of node-2');
    expect((await api.call('GET', '/services/web/logs')).status).to.equal(400);
    expect((await api.call('GET', '/services/none/logs?stdout=1')).status).to.equal(404);
  });

  it('gives the logs there are when a node is away, and says which are not', async () => {
    addresses.delete(workerId);
    const lines = await logLines('stdout=1&stderr=1');
    expect(lines).to.deep.equal([
      '1 out of node-1\n',
      '2 err of node-1\n',
      '2 enxame: the log of web.2.t2 is not available: node node200000000000000000000 is not connected\n',
    ]);
  });

  it('follows: tasks that come later join the stream', async () => {
    const socket = createConnection({ path: api.socketPath });
    let text = '';
    const seen = (what: string): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!text.includes(what)) return;
          socket.off('data', look);
          resolve();
        };
        socket.on('data', look);
        look();
      });
    socket.on('data', (chunk) => (text += chunk.toString()));
    await api.store.propose([{ op: 'delete', table: 'tasks', id: 't2' as never }]);
    socket.write('GET /services/web/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await seen('out of node-1');
    expect(text).not.to.contain('out of node-2');
    await api.store.propose([task('t3', 2, workerId, containerOf('node-2'))]);
    await seen('out of node-2');
    socket.destroy();
  });
});
