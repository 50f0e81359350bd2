/**
 * Both ends of a session over real gRPC and mutual TLS on loopback: the leader's server and the agent's client, on
 * the real tables.
 */
import {
  EnxameError,
  type AssignmentDelta,
  type Change,
  type ClusterEvent,
  type NodeConfig,
  type NodeId,
  type RevisionId,
  type ServiceId,
  type Task,
  type TaskId,
  type TaskState,
} from '#libs/model';
import { createCertificateRequest, readNodeIdentity, writeNodeIdentity, type NodeIdentity } from '#libs/pki';
import { RpcServer, session } from '#libs/rpc';
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { obtainIdentity } from '../../../agent/src/node/identity.js';
import { AssignmentSet } from '../../../agent/src/session/assignment-set.js';
import { SessionClient } from '../../../agent/src/session/session-client.js';
import { KnownManagers } from '../../../agent/src/swarm/known-managers.js';
import { certificateService } from '../membership/certificate-service.js';
import { Membership } from '../membership/membership.js';
import { MemoryStore } from './memory-store.js';
import { SessionServer } from './session-server.js';

const clock = { nowMs: () => Date.now() };
const random = { bytes: (length: number) => randomBytes(length), fraction: () => 0.5 };
const log = (): void => undefined;
const deadlineMs = 5_000;

async function until(what: string, predicate: () => boolean): Promise<void> {
  const endMs = Date.now() + deadlineMs;
  while (!predicate()) {
    if (Date.now() > endMs) throw new Error(`timed out: ${what}`);
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** An agent's end: the set it was told, and what it does when told. */
class TestAgent {
  readonly set = new AssignmentSet();
  readonly told: AssignmentDelta[] = [];
  readonly client: SessionClient;
  readonly statuses = new Map<TaskId, TaskState>();
  unknown: string[] = [];
  role: string | undefined;
  images: session.ImageEntry[] = [];
  /** False: the node's kernel never takes a program. */
  applies = true;

  constructor(identity: NodeIdentity, port: number, address: string) {
    this.client = new SessionClient({
      managers: new KnownManagers([{ nodeId: '', address: `127.0.0.1:${port}` }], 0),
      identity: () => identity,
      address,
      enginePort: 2378,
      describe: () => ({
        hostname: `host-${address}`,
        platform: { os: 'linux', architecture: 'x86_64' },
        resources: { nanoCpus: 1, memoryBytes: 1 },
        engine: { version: '1', labels: {} },
      }),
      appliedGeneration: () => this.set.generation,
      statuses: () => [...this.statuses].map(([taskId, state]) => this.reportOf(taskId, state)),
      images: () => this.images,
      onAssignment: (delta) => {
        this.told.push(delta);
        this.set.apply(delta);
        if (this.applies) this.client.applied(delta.generation);
      },
      onStanding: ({ role }) => (this.role = role),
      onUnknownTasks: (taskIds) => this.unknown.push(...taskIds),
      onConnection: () => undefined,
      nowMs: () => Date.now(),
      fraction: () => 0.5,
      log,
    });
  }

  reportOf(taskId: TaskId, state: TaskState) {
    return { taskId, status: { state, atMs: Date.now(), message: state } };
  }

  report(taskId: string, state: TaskState): void {
    this.statuses.set(taskId as TaskId, state);
    this.client.report(this.reportOf(taskId as TaskId, state), false);
  }

  desired(taskId: string): string | undefined {
    return this.set.tables.task.get(taskId)?.desiredState;
  }

  endpoints(): string[] {
    return [...this.set.tables.balance.values()].flatMap(({ endpoints }) =>
      endpoints.map(({ taskId }) => taskId),
    );
  }
}

describe('sessions', () => {
  let folder: string;
  let store: MemoryStore;
  let membership: Membership;
  let server: SessionServer;
  let port: number;
  let rpc: RpcServer;
  let term: number;
  /** Where a manager that does not lead sends agents. */
  let elsewhere: string | undefined;
  let events: ClusterEvent[];
  const agents: TestAgent[] = [];

  const config = (kind: 'init' | 'join', more: Partial<NodeConfig> = {}): NodeConfig => ({
    clusterName: 'test',
    nodeName: 'node-1',
    stateDir: join(folder, kind),
    runDir: folder,
    apiSocket: join(folder, 'api.sock'),
    managerSocket: join(folder, 'manager.sock'),
    address: '127.0.0.1',
    clusterPort: port,
    enginePort: 2378,
    membership:
      kind === 'init'
        ? { kind, addressPools: ['10.64.0.0/10'], subnetSize: 16, dataPathPort: 4789, heartbeatPeriodMs: 200 }
        : {
            kind,
            token: store.view().cluster?.joinTokens.worker ?? '',
            remoteAddresses: [`127.0.0.1:${port}`],
          },
    cgroupParent: '/test',
    network: { tag: 't', linkLocalGateway: '169.254.1.1', markBase: 0x0e000000 },
    insecureRegistries: [],
    logLevel: 'info',
    ...more,
  });

  async function startManager(): Promise<void> {
    membership = newMembership();
    await membership.lead();
    server = new SessionServer({
      store,
      membership,
      leaders: { whenKnown: async () => elsewhere },
      telemetry: {
        start: () => Promise.resolve(),
        close: () => Promise.resolve(),
        publishEvent: (event) => events.push(event),
        publishStats: () => undefined,
        // oxlint-disable-next-line require-yield
        events: async function* () {
          return;
        },
        stats: () => Promise.resolve([]),
        health: () => ({ kind: 'memory', connected: true, dropped: 0 }),
      },
      clock,
      log,
    });
    server.start(++term);
    rpc = new RpcServer({
      tls: membership.tls(),
      services: [certificateService(membership), server.service()],
    });
    await rpc.listen({ host: '127.0.0.1', port });
  }

  function newMembership(): Membership {
    return new Membership({
      store,
      config: config('init'),
      raftId: '1',
      current: () => Promise.resolve(),
      clock,
      random,
      log,
    });
  }

  async function stopManager(): Promise<void> {
    server.stop();
    await rpc.close();
    membership.stop();
  }

  async function localIdentity(): Promise<NodeIdentity> {
    const stateDir = join(folder, 'init');
    const present = readNodeIdentity(stateDir);
    if (present) return present;
    const { keyPem, requestPem } = await createCertificateRequest();
    return writeNodeIdentity(stateDir, { keyPem, ...(await membership.issueLocal(requestPem)) });
  }

  function joinAs(name: string): Promise<NodeIdentity> {
    const stateDir = join(folder, name);
    return obtainIdentity(
      {
        config: config('join', { stateDir, nodeName: name, address: '10.9.9.9' }),
        managers: () => [`127.0.0.1:${port}`],
        nowMs: clock.nowMs,
        fraction: random.fraction,
        log,
      },
      AbortSignal.timeout(deadlineMs),
    );
  }

  function connect(identity: NodeIdentity, address: string): TestAgent {
    const agent = new TestAgent(identity, port, address);
    agents.push(agent);
    agent.client.start();
    return agent;
  }

  const stateOf = (nodeId: NodeId): string | undefined => store.view().nodes.get(nodeId)?.status.state;
  const taskState = (id: string): string | undefined => store.view().tasks.get(id)?.status.state;

  async function putService(tasks: { id: string; nodeId: NodeId }[]): Promise<void> {
    const [service, revision] = ['svc' as ServiceId, 'rev' as RevisionId];
    const changes: Change[] = [
      {
        op: 'put',
        table: 'services',
        object: {
          id: service,
          spec: { Name: 'web', TaskTemplate: {} },
          revisionId: revision,
          endpoint: { mode: 'vip', virtualIps: [], ports: [] },
        },
      },
      {
        op: 'put',
        table: 'revisions',
        object: { id: revision, serviceId: service, serviceName: 'web', serviceLabels: {}, taskTemplate: {} },
      },
      ...tasks.map(
        ({ id, nodeId }): Change => ({
          op: 'put',
          table: 'tasks',
          object: {
            id: id as TaskId,
            serviceId: service,
            revisionId: revision,
            slot: 1,
            nodeId,
            networks: [],
            desiredState: 'running',
            cause: 'create',
            status: { state: 'assigned', atMs: 1, message: '' },
          },
        }),
      ),
    ];
    await store.propose(changes);
  }

  const want = (id: string, desiredState: Task['desiredState']): Promise<unknown> =>
    store.propose([{ op: 'patch', table: 'tasks', id: id as TaskId, fields: { desiredState } }]);

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-sessions-'));
    store = new MemoryStore(clock.nowMs);
    events = [];
    port = await freePort();
    term = 0;
    elsewhere = undefined;
    await startManager();
  });

  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.client.stop();
    await stopManager();
    rmSync(folder, { recursive: true });
  });

  it('makes the cluster once, with its first node, tokens and the ingress network', async () => {
    const { cluster, nodes, networks } = store.view();
    expect(cluster?.joinTokens.worker).to.match(/^SWMTKN-1-/);
    expect(
      [...nodes.all()].map(({ index, spec, manager }) => ({ index, role: spec.Role, manager })),
    ).to.deep.equal([
      {
        index: 1,
        role: 'manager',
        manager: { raftId: '1', address: `127.0.0.1:${port}`, reachability: 'reachable' },
      },
    ]);
    expect([...networks.all()].map(({ spec }) => spec.Name)).to.deep.equal(['ingress']);
    const again = newMembership();
    await again.lead();
    again.stop();
    expect(again.identity()).to.deep.equal(membership.identity());
    expect(store.view().cluster?.id).to.equal(cluster?.id);
  });

  it('tells a node what it is, and marks one that leaves for good as down at once', async () => {
    const identity = await joinAs('worker');
    const agent = connect(identity, '10.9.9.9');
    const { nodeId } = identity.identity;
    await until('standing', () => agent.role === 'worker');
    const node = store.view().nodes.get(nodeId);
    await store.propose([
      { op: 'patch', table: 'nodes', id: nodeId, fields: { spec: { ...node!.spec, Role: 'manager' } } },
    ]);
    await until('new standing', () => agent.role === 'manager');
    await agent.client.farewell();
    agent.client.stop();
    await until('down', () => stateOf(nodeId) === 'down');
    expect(store.view().nodes.get(nodeId)?.status.message).to.equal('the node has left the cluster');
  });

  it('lets a node in by token, the same one again, and refuses wrong tokens', async () => {
    const identity = await joinAs('worker');
    const node = store.view().nodes.get(identity.identity.nodeId);
    expect(node).to.include({ index: 2 });
    expect(node?.spec.Role).to.equal('worker');
    const { requestPem } = await createCertificateRequest(identity.keyPem);
    const token = store.view().cluster?.joinTokens.worker ?? '';
    const again = await membership.join({
      requestPem,
      token,
      hostname: 'worker',
      address: '10.9.9.9',
      availability: '',
    });
    expect(again.nodeId).to.equal(identity.identity.nodeId);
    expect(store.view().nodes.size).to.equal(2);
    const other = await createCertificateRequest();
    const refused = await membership
      .join({
        requestPem: other.requestPem,
        token: `${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`,
        hostname: 'x',
        address: '10.9.9.9',
        availability: '',
      })
      .catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(EnxameError).with.property('code', 'unauthorized');
    expect(store.view().nodes.size).to.equal(2);
  });

  it('registers nodes, hands out tasks and writes their statuses', async () => {
    const manager = connect(await localIdentity(), '127.0.0.1');
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    const nodeId = identity.identity.nodeId;
    await until(
      'both ready',
      () => stateOf(nodeId) === 'ready' && stateOf(membership.identity().nodeId) === 'ready',
    );
    expect(store.view().nodes.get(nodeId)?.description.hostname).to.equal('host-10.9.9.9');
    await putService([{ id: 't1', nodeId }]);
    await until('task told', () => worker.desired('t1') === 'running');
    expect(manager.desired('t1')).to.equal(undefined);
    worker.report('t1', 'accepted');
    worker.report('t1', 'running');
    await until('task running', () => taskState('t1') === 'running');
    await until('all balance to it', () =>
      [manager, worker].every((agent) => agent.endpoints().includes('t1')),
    );
    worker.report('gone', 'running');
    await until('unknown task told', () => worker.unknown.includes('gone'));
    expect(worker.told.filter(({ complete }) => complete)).to.have.length(1);
  });

  it('tells a task to stop only after every node has taken it out of its balancer', async () => {
    const manager = connect(await localIdentity(), '127.0.0.1');
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    await putService([{ id: 't1', nodeId: identity.identity.nodeId }]);
    await until('task told', () => worker.desired('t1') === 'running');
    worker.report('t1', 'running');
    await until('balanced', () => manager.endpoints().includes('t1'));
    manager.applies = false;
    await want('t1', 'shutdown');
    await until('out of both sets', () =>
      [manager, worker].every((agent) => !agent.endpoints().includes('t1')),
    );
    // The manager's node has been told but has not acknowledged: the worker still hears "running".
    expect(worker.desired('t1')).to.equal('running');
    manager.applies = true;
    manager.client.applied(manager.set.generation);
    await until('stop allowed', () => worker.desired('t1') === 'shutdown');
    worker.report('t1', 'shutdown');
    await until('stopped', () => taskState('t1') === 'shutdown');
  });

  it('waits for a silent node no longer than its heartbeat timeout', async () => {
    const manager = connect(await localIdentity(), '127.0.0.1');
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    await putService([{ id: 't1', nodeId: membership.identity().nodeId }]);
    await until('task told', () => manager.desired('t1') === 'running');
    manager.report('t1', 'running');
    await until('balanced', () => worker.endpoints().includes('t1'));
    worker.client.stop();
    await until('disconnected', () => stateOf(identity.identity.nodeId) === 'disconnected');
    await want('t1', 'shutdown');
    await until('stop allowed', () => manager.desired('t1') === 'shutdown');
    expect(stateOf(identity.identity.nodeId)).to.equal('disconnected');
  });

  it('builds everything anew after a restart, from the store and from what agents report', async () => {
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    await putService([{ id: 't1', nodeId: identity.identity.nodeId }]);
    await until('task told', () => worker.desired('t1') === 'running');
    worker.report('t1', 'starting');
    await until('starting', () => taskState('t1') === 'starting');
    const before = worker.set.generation;
    await stopManager();
    // It goes on while nobody listens; the leader hears of it later.
    worker.report('t1', 'running');
    await startManager();
    await until('told again', () => worker.told.filter(({ complete }) => complete).length === 2);
    expect(worker.set.generation).to.be.greaterThan(before);
    await until('running', () => taskState('t1') === 'running');
    await until('ready', () => stateOf(identity.identity.nodeId) === 'ready');
    await until('balanced', () => worker.endpoints().includes('t1'));
  });

  it('sends agents to the leader when it does not lead, and takes them again when it does', async () => {
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    await until('connected', () => worker.client.connected);
    const before = worker.set.generation;
    // Stands for the leader's address: the same server, reached another way.
    elsewhere = `localhost:${port}`;
    server.stop();
    await until('left', () => !worker.client.connected);
    server.start(++term);
    await until('back', () => worker.client.connected);
    await until('told again', () => worker.set.generation > before);
    expect(worker.set.generation).to.be.at.least(term * 2 ** 32);
    expect(stateOf(identity.identity.nodeId)).to.equal('ready');
  });

  it('leaves a leader that hangs when another one calls', async () => {
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    const complete = (): number => worker.told.filter((delta) => delta.complete).length;
    await until('connected', () => worker.client.connected && complete() === 1);
    // From where it is already, the call changes nothing.
    worker.client.leaderIs(`127.0.0.1:${port}`);
    expect(worker.client.connected).to.equal(true);
    worker.client.leaderIs(`localhost:${port}`);
    expect(worker.client.connected).to.equal(false);
    await until('connected anew', () => worker.client.connected && complete() === 2);
  });

  it('replaces a session by a newer one of the same node', async () => {
    const identity = await joinAs('worker');
    const first = connect(identity, '10.9.9.9');
    await until('first', () => first.client.connected);
    first.client.stop();
    const second = connect(identity, '10.9.9.8');
    await until(
      'second',
      () => store.view().nodes.get(identity.identity.nodeId)?.status.address === '10.9.9.8',
    );
    await until('ready', () => stateOf(identity.identity.nodeId) === 'ready');
    await until('second connected', () => second.client.connected);
    expect(store.view().nodes.get(identity.identity.nodeId)?.status.enginePort).to.equal(2378);
  });

  it('says where else an image is, and passes events on with the name of their node', async () => {
    const manager = connect(await localIdentity(), '127.0.0.1');
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    manager.images = [{ id: 'sha256:1', references: ['demo:1'] }];
    await until('both', () => manager.client.connected && worker.client.connected);
    manager.client.imagesChanged();
    let found: session.ImageLocation[] = [];
    for (let attempt = 0; attempt < 100 && found.length === 0; attempt++) {
      found = await worker.client.locateImage('demo:1');
    }
    expect(found).to.deep.equal([
      { nodeId: membership.identity().nodeId, address: '127.0.0.1', enginePort: 2378 },
    ]);
    expect(await worker.client.locateImage('demo:2')).to.deep.equal([]);
    worker.client.publishEvent({
      Type: 'container',
      Action: 'die',
      Actor: { ID: 'c1', Attributes: {} },
      scope: 'local',
      time: 1,
      timeNano: 1e9,
      nodeId: 'pretended' as NodeId,
    });
    await until('event', () => events.length === 1);
    expect(events[0]).to.include({ Action: 'die', nodeId: identity.identity.nodeId });
  });

  it('ends the session of a node that was removed, and lets it in no more', async () => {
    const identity = await joinAs('worker');
    const worker = connect(identity, '10.9.9.9');
    await until('connected', () => worker.client.connected);
    await store.propose([{ op: 'delete', table: 'nodes', id: identity.identity.nodeId }]);
    await until('ended', () => !worker.client.connected);
    expect(server.connectedNodes()).to.deep.equal([]);
  });
});
