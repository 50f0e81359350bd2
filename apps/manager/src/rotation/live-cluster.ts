/**
 * For tests: managers and agents of one cluster over real gRPC and mutual TLS on loopback, as far as certificates go.
 * The store is one for all, the clock is the test's.
 */
import type { ClusterEvent, NodeConfig, NodeId } from '#libs/model';
import { createCertificateRequest, readNodeIdentity, writeNodeIdentity, type NodeIdentity } from '#libs/pki';
import { RpcServer, type ServerTls } from '#libs/rpc';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IdentityKeeper, obtainIdentity, type IdentityOptions } from '../../../agent/src/node/identity.js';
import { SessionClient } from '../../../agent/src/session/session-client.js';
import { KnownManagers } from '../../../agent/src/swarm/known-managers.js';
import { certificateService } from '../membership/certificate-service.js';
import { Membership } from '../membership/membership.js';
import { MemoryStore } from '../sessions/memory-store.js';
import { SessionServer } from '../sessions/session-server.js';
import { RotationKeeper } from './rotation-keeper.js';

export const lookIntervalMs = 5;
const deadlineMs = 10_000;
const log = (): void => undefined;
const random = { bytes: (length: number) => randomBytes(length), fraction: () => 0.5 };

export async function until(what: string, predicate: () => boolean): Promise<void> {
  const endMs = Date.now() + deadlineMs;
  while (!predicate()) {
    if (Date.now() > endMs) throw new Error(`timed out: ${what}`);
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
}

export class LiveAgent {
  readonly keeper: IdentityKeeper;
  readonly #client: SessionClient;
  /** How often a session has begun, and ended. */
  begun = 0;
  ended = 0;
  renewals = 0;

  constructor(options: IdentityOptions, identity: NodeIdentity, port: number) {
    this.keeper = new IdentityKeeper(options, identity, () => {
      this.renewals += 1;
      this.#client.tlsChanged();
    });
    this.#client = new SessionClient({
      managers: new KnownManagers([{ nodeId: '', address: `127.0.0.1:${port}` }], 0),
      identity: () => this.keeper.identity,
      address: '127.0.0.1',
      enginePort: 2378,
      describe: () => ({
        hostname: 'host',
        platform: { os: 'linux', architecture: 'x86_64' },
        resources: { nanoCpus: 1, memoryBytes: 1 },
        engine: { version: '1', labels: {} },
      }),
      appliedGeneration: () => 0,
      statuses: () => [],
      images: () => [],
      onAssignment: () => undefined,
      onStanding: ({ wantedTls, unlockKey }) => {
        if (unlockKey !== undefined) this.keeper.seal(unlockKey || undefined);
        if (wantedTls !== undefined) this.keeper.follow(wantedTls);
      },
      onUnknownTasks: () => undefined,
      onConnection: (connected) => (connected ? this.begun++ : this.ended++),
      nowMs: () => options.nowMs(),
      fraction: () => 0.5,
      log,
    });
  }

  get id(): NodeId {
    return this.keeper.identity.identity.nodeId;
  }

  start(): void {
    this.keeper.start();
    this.#client.start();
  }

  stop(): void {
    this.keeper.stop();
    this.#client.stop();
  }
}

export class LiveCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'enxame-live-'));
  readonly store: MemoryStore;
  readonly agents: LiveAgent[] = [];
  readonly managers: Membership[] = [];
  /** Moves on with the real one, from where it is set. */
  aheadMs = 0;
  port = 0;
  #rpc: RpcServer | undefined;
  #sessions: SessionServer | undefined;
  #keeper: RotationKeeper | undefined;
  #term = 0;

  constructor() {
    this.store = new MemoryStore(() => this.nowMs());
  }

  readonly nowMs = (): number => Date.now() + this.aheadMs;

  /** With its first manager, which leads and serves. */
  async start(): Promise<void> {
    this.port = await freePort();
    const first = this.#membership('r1', undefined);
    await first.lead();
    first.start();
    await first.lead();
    this.#rpc = new RpcServer({ tls: first.tls(), services: [certificateService(first), this.#service()] });
    first.onCredentials((tls) => this.#rpc?.replaceCredentials(tls));
    await this.#rpc.listen({ host: '127.0.0.1', port: this.port });
    this.lead();
  }

  /** Another leader takes over, with nothing but the store. */
  lead(): void {
    this.#keeper?.stop();
    this.#sessions?.stop();
    const membership = this.managers[0];
    if (membership === undefined) throw new Error('no manager');
    const { store } = this;
    const clock = { nowMs: this.nowMs };
    this.#sessions = new SessionServer({
      store,
      membership,
      leaders: { whenKnown: async () => undefined },
      telemetry: silentTelemetry,
      clock,
      log,
    });
    this.#keeper = new RotationKeeper({ store, random, log });
    this.#sessions.start(++this.#term);
    this.#keeper.start();
  }

  /** The server stays when its leader changes. */
  #service() {
    const current = (): SessionServer => {
      if (this.#sessions === undefined) throw new Error('nobody leads');
      return this.#sessions;
    };
    const { definition } = new SessionServer({
      store: this.store,
      membership: this.managers[0]!,
      leaders: { whenKnown: async () => undefined },
      telemetry: silentTelemetry,
      clock: { nowMs: this.nowMs },
      log,
    }).service();
    const connect = (call: unknown): unknown => {
      const { implementation } = current().service();
      return (implementation['connect'] as (call: unknown) => unknown)(call);
    };
    return { definition, implementation: { connect } as never };
  }

  #membership(raftId: string, nodeIdentity: NodeIdentity | undefined): Membership {
    const membership = new Membership({
      store: this.store,
      config: this.#config('init'),
      raftId,
      ...(nodeIdentity === undefined ? {} : { nodeIdentity }),
      current: () => Promise.resolve(),
      clock: { nowMs: this.nowMs },
      random,
      log,
      renewalLookIntervalMs: lookIntervalMs,
    });
    this.managers.push(membership);
    return membership;
  }

  async addAgent(name: string, role: 'worker' | 'manager' = 'worker'): Promise<LiveAgent> {
    const options = this.#identityOptions(name, role);
    const agent = new LiveAgent(
      options,
      await obtainIdentity(options, AbortSignal.timeout(deadlineMs)),
      this.port,
    );
    this.agents.push(agent);
    agent.start();
    await until(`${name} registers`, () => agent.begun === 1);
    return agent;
  }

  /** The agent of the first manager's node. */
  async addFirstAgent(): Promise<LiveAgent> {
    const [membership] = this.managers;
    const options = this.#identityOptions('first', 'manager');
    const { keyPem, requestPem } = await createCertificateRequest();
    const issued = await membership!.issueLocal(requestPem);
    const agent = new LiveAgent(
      options,
      writeNodeIdentity(options.config.stateDir, { keyPem, ...issued }),
      this.port,
    );
    this.agents.push(agent);
    agent.start();
    await until('the first agent registers', () => agent.begun === 1);
    return agent;
  }

  /** The manager process of a node whose agent is there. */
  async addManager(agent: LiveAgent, raftId: string): Promise<Membership> {
    await this.store.propose([
      {
        op: 'patch',
        table: 'nodes',
        id: agent.id,
        fields: { manager: { raftId, address: '127.0.0.1:1', reachability: 'reachable' } },
      },
    ]);
    const membership = this.#membership(raftId, agent.keeper.identity);
    membership.start();
    return membership;
  }

  /** The leader's cluster port shows a certificate that was issued just now. */
  async reissue(): Promise<void> {
    const { keyPem, requestPem } = await createCertificateRequest();
    this.#rpc?.replaceCredentials({ keyPem, ...(await this.managers[0]!.issueLocal(requestPem)) });
  }

  tlsOf(manager: number): ServerTls {
    return this.managers[manager]!.tls();
  }

  /** What an agent that starts again finds. */
  identityOnDisk(name: string): NodeIdentity | undefined {
    return readNodeIdentity(join(this.folder, name));
  }

  #identityOptions(name: string, role: 'worker' | 'manager'): IdentityOptions {
    return {
      config: this.#config('join', { stateDir: join(this.folder, name), nodeName: name }, role),
      managers: () => [`127.0.0.1:${this.port}`],
      nowMs: this.nowMs,
      fraction: () => 0.5,
      log,
      renewalLookIntervalMs: lookIntervalMs,
    };
  }

  identityOptions(name: string): IdentityOptions {
    return this.#identityOptions(name, 'worker');
  }

  #config(kind: 'init' | 'join', more: Partial<NodeConfig> = {}, role: 'worker' | 'manager' = 'worker') {
    const membership =
      kind === 'init'
        ? { kind, addressPools: ['10.64.0.0/10'], subnetSize: 16, dataPathPort: 4789 }
        : {
            kind,
            token: this.store.view().cluster?.joinTokens[role] ?? '',
            remoteAddresses: [`127.0.0.1:${this.port}`],
          };
    const config = { nodeName: 'n1', address: '127.0.0.1', clusterPort: this.port, membership, ...more };
    return config as NodeConfig;
  }

  async stop(): Promise<void> {
    for (const agent of this.agents) agent.stop();
    this.#keeper?.stop();
    this.#sessions?.stop();
    for (const manager of this.managers) manager.stop();
    await this.#rpc?.close();
    rmSync(this.folder, { recursive: true });
  }
}

const silentTelemetry = {
  start: () => Promise.resolve(),
  close: () => Promise.resolve(),
  publishEvent: (_event: ClusterEvent) => undefined,
  publishStats: () => undefined,
  // oxlint-disable-next-line require-yield
  events: async function* () {
    return;
  },
  stats: () => Promise.resolve([]),
  health: () => ({ kind: 'memory' as const, connected: true, dropped: 0 }),
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
