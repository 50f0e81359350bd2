/**
 * The manager process, put together: the replicated store, what only its leader runs, and the API. Whatever is made
 * here is started in the order of the fields and stopped the other way round.
 */
import type { Route } from '#libs/docker-api';
import {
  EnxameError,
  isEnxameError,
  leaderOfNode,
  localCertificate,
  localUnlockKey,
  objectIdFromBytes,
  type Change,
  type IdSource,
  type NodeConfig,
} from '#libs/model';
import {
  identityFromSubject,
  managerServerName,
  readStoredIdentity,
  type NodeIdentity,
  type StoredIdentity,
} from '#libs/pki';
import {
  createGrpcTransport,
  createRaftNode,
  systemClock,
  type GrpcTransport,
  type RaftNode,
} from '#libs/raft';
import { RpcServer, type ServerTls } from '#libs/rpc';
import { createClusterStore, StoreMachine, type ReplicatedStore } from '#libs/store';
import { createTelemetry, type Telemetry } from '#libs/telemetry';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiListener } from './api/api-listener.js';
import type { EngineDirectory } from './api/edge/providers.js';
import { backupRoute } from './backup/backup-route.js';
import { EventPublisher } from './api/events/event-publisher.js';
import { enterGroup, GroupKeeper, GroupPeers, groupService, Leaders, LeaderStore } from './group/index.js';
import { LeaderLoops } from './leader/index.js';
import { KeyKeeper, type OpenedKeys } from './lock/index.js';
import { certificateService, Membership, type Clock, type Log, type Random } from './membership/index.js';
import { readOrMakeRaftId } from './raft-id.js';
import { RotationKeeper } from './rotation/index.js';
import { LeaderCall, SessionServer } from './sessions/index.js';

const clock: Clock = { nowMs: () => Date.now() };
const random: Random = { bytes: (length) => randomBytes(length), fraction: () => Math.random() };
const newId: IdSource = () => objectIdFromBytes(randomBytes(16));
const readAgainMs = 50;

export class Manager {
  readonly #config: NodeConfig;
  readonly #log: Log;
  readonly #raftId: string;
  /** This node has been in a cluster before. */
  readonly #hasBegun: boolean;
  readonly #transport: GrpcTransport;
  readonly #raft: RaftNode;
  readonly #machine: StoreMachine;
  readonly #store: ReplicatedStore;
  readonly #keys: KeyKeeper;
  readonly #leaderStore: LeaderStore;
  readonly #leaders: Leaders;
  readonly #telemetry: Telemetry;
  readonly #membership: Membership;
  readonly #peers: GroupPeers;
  readonly #keeper: GroupKeeper;
  readonly #rotation: RotationKeeper;
  readonly #sessions: SessionServer;
  readonly #call: LeaderCall;
  readonly #loops: LeaderLoops;
  readonly #events: EventPublisher;
  readonly #stopping = new AbortController();
  #rpc: RpcServer | undefined;
  #listener: ApiListener | undefined;
  /** Changes of leadership follow each other: one has ended before the next begins. */
  #turn: Promise<void> = Promise.resolve();
  #leads = false;
  #removed = false;

  /** `fail` is called when the process can do nothing but end and start again. */
  constructor(config: NodeConfig, opened: OpenedKeys, log: Log, fail: (error: unknown) => void) {
    this.#config = config;
    this.#log = log;
    this.#raftId = readOrMakeRaftId(config.stateDir, random);
    const address = `${config.address}:${config.clusterPort}`;
    const machine = new StoreMachine();
    this.#machine = machine;
    this.#transport = createGrpcTransport({
      id: this.#raftId,
      address: () => address,
      identify: (subject) => identityFromSubject(subject),
      holderOf: (member) => this.#peers.holderOf(member),
      random: () => random.fraction(),
      log: (message) => log('info', message),
    });
    const stored = readStoredIdentity(config.stateDir);
    this.#hasBegun = stored !== undefined;
    const nodeIdentity = openedIdentity(stored, opened.unlockKey);
    this.#raft = createRaftNode({
      id: this.#raftId,
      keys: opened.keys,
      ...(stored === undefined ? {} : { clusterId: stored.facts.identity.clusterId }),
      origin:
        config.membership.kind === 'init' ? { kind: 'bootstrap', members: [this.#raftId] } : { kind: 'join' },
      dir: join(config.stateDir, 'raft'),
      ...(config.forceNewCluster === true ? { forceNewCluster: true } : {}),
      stateMachine: machine,
      transport: this.#transport,
      clock: systemClock,
      random: () => random.fraction(),
      onFailure: fail,
      onRemoved: () => this.#leaveGroup(),
    });
    const store = createClusterStore({ raft: this.#raft, machine, clock });
    this.#store = store;
    this.#leaderStore = new LeaderStore(store);
    this.#leaders = new Leaders({ raft: this.#raft, store });
    this.#telemetry = createTelemetry({
      // Clusters may share one Redis.
      keyPrefix: `enxame:${config.clusterName}`,
      ...(config.telemetryUrl === undefined ? {} : { url: config.telemetryUrl }),
    });
    this.#keys = new KeyKeeper({ stateDir: config.stateDir, opened, raft: this.#raft, store, log });
    this.#membership = new Membership({
      store,
      config,
      raftId: this.#raftId,
      ...(nodeIdentity === undefined ? {} : { nodeIdentity }),
      current: () => this.#leaders.current(),
      clock,
      random,
      log,
    });
    this.#peers = new GroupPeers({
      stateDir: config.stateDir,
      self: this.#raftId,
      store,
      setPeers: (addresses) => this.#transport.setPeers(addresses),
      log,
    });
    this.#keeper = new GroupKeeper({ raft: this.#raft, store: this.#leaderStore, address, log });
    this.#rotation = new RotationKeeper({ store: this.#leaderStore, random, log });
    this.#sessions = new SessionServer({
      store: this.#leaderStore,
      membership: this.#membership,
      leaders: this.#leaders,
      telemetry: this.#telemetry,
      clock,
      log,
    });
    this.#call = new LeaderCall({
      store,
      connected: () => this.#sessions.connectedNodes(),
      call: async (nodeId, signal) => {
        const { EngineClient } = await import('./api/engine/engine-client.js');
        await new EngineClient(this.#engines()).call(nodeId, 'POST', leaderOfNode, { address }, signal);
      },
      log,
    });
    this.#loops = new LeaderLoops({ store: this.#leaderStore, clock, newId, log });
    this.#events = new EventPublisher(store, this.#telemetry);
    this.#raft.watchLeadership(({ isLeader }) => {
      this.#turn = this.#turn.then(() => this.#take(isLeader)).catch(fail);
    });
    this.#membership.onCredentials((tls) => this.#useCredentials(tls));
  }

  /** Resolves when the API answers. */
  async start(): Promise<void> {
    await this.#telemetry.start();
    this.#membership.start();
    const begun = this.#hasBegun;
    // One that has been in a cluster is reached by the others while it reads its log.
    const reachedEarly = begun && this.#membership.isCertified;
    if (reachedEarly) {
      this.#useCredentials(this.#membership.tls());
      await this.#openClusterPort();
    }
    await this.#raft.start();
    await this.#keys.start();
    if (begun && !reachedEarly) {
      this.#log('warn', "this node's key is sealed with another unlock key; making another certificate");
      await this.#membership.certify();
      await this.#openClusterPort();
    }
    const { torn } = this.#raft.status();
    if (torn !== undefined) this.#log('warn', 'an unfinished write was cut off the log', { ...torn });
    this.#peers.start({ alone: this.#config.forceNewCluster === true });
    if (begun) this.#enterGroup();
    else {
      // Nothing can be answered before there is a cluster, and a lone member is its leader at once.
      await this.#raft.readIndex();
      await this.#turn;
      await this.#openClusterPort();
    }
    await this.#openApi();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#listener?.close();
    this.#peers.stop();
    // A leader that ends in good order leaves no gap: another one leads before it goes.
    if (this.#leads && this.#raft.members().length > 1) {
      await this.#raft.transferLeadership().catch((error: unknown) => {
        this.#log('info', 'nobody took over the leadership', { error });
      });
    }
    await this.#turn;
    await this.#take(false);
    await this.#rpc?.close();
    this.#membership.stop();
    this.#keys.stop();
    await this.#raft.stop();
    this.#transport.close();
    await this.#telemetry.close();
  }

  async #openClusterPort(): Promise<void> {
    const { address, clusterPort } = this.#config;
    const current = (): Promise<void> => this.#leaders.current();
    this.#rpc = new RpcServer({
      tls: this.#membership.tls(),
      services: [
        certificateService(this.#membership),
        groupService({ store: this.#store, membership: this.#membership, current }),
        this.#sessions.service(),
        this.#transport.service,
      ],
      log: (message) => this.#log('warn', message),
    });
    const port = await this.#rpc.listen({ host: address, port: clusterPort });
    this.#log('info', 'cluster port open', { address, port });
  }

  async #openApi(): Promise<void> {
    // Loading the framework takes longer than all before it: the nodes have their sessions back by then.
    const { createApiListener } = await import('./api/api-listener.js');
    this.#listener = await createApiListener(
      {
        store: this.#store,
        config: this.#config,
        clock,
        newId,
        randomBytes: (length) => random.bytes(length),
        leadership: this.#leaders,
        telemetry: this.#telemetry,
        engines: this.#engines(),
        log: this.#log,
      },
      [this.#localCertificateRoute(), this.#localUnlockKeyRoute(), this.#backupRoute()],
    );
    await this.#listener.listen(this.#config.managerSocket);
    this.#log('info', 'manager started', { socket: this.#config.managerSocket });
  }

  #backupRoute(): Route {
    return backupRoute({
      current: () => this.#leaders.current(),
      store: this.#store,
      machine: this.#machine,
      nodeId: () => this.#membership.identity().nodeId,
      term: () => this.#raft.status().term,
      nowMs: clock.nowMs,
    });
  }

  #engines(): EngineDirectory {
    return {
      engineAddress: (nodeId) => engineAddress(this.#store, nodeId),
      tls: () => this.#membership.tls(),
    };
  }

  #useCredentials(tls: ServerTls): void {
    this.#rpc?.replaceCredentials(tls);
    this.#transport.setCredentials({
      clusterId: this.#membership.identity().clusterId,
      tls: { kind: 'mutual', ...tls, serverName: managerServerName },
    });
  }

  #enterGroup(): void {
    const { config, raftId } = { config: this.#config, raftId: this.#raftId };
    const { membership } = config;
    enterGroup(
      {
        raftId,
        address: `${config.address}:${config.clusterPort}`,
        remoteAddresses: membership.kind === 'join' ? membership.remoteAddresses : [],
        peers: this.#peers,
        tls: () => this.#membership.tls(),
        leads: () => this.#raft.status().role === 'leader',
        log: this.#log,
      },
      this.#stopping.signal,
    ).catch((error: unknown) => {
      if (!this.#stopping.signal.aborted)
        this.#log('error', 'the managers do not take this one in', { error });
    });
  }

  /** The agent hears of it from the leader, gets a worker's certificate and ends this process. */
  #leaveGroup(): void {
    this.#removed = true;
    this.#log('info', 'this manager was removed from the group');
    this.#turn = this.#turn.then(() => this.#take(false));
  }

  async #take(leads: boolean): Promise<void> {
    if (leads === this.#leads) return;
    if (!leads) {
      this.#leads = false;
      this.#leaderStore.leadIn(undefined);
      this.#leaders.leading = false;
      this.#events.stop();
      this.#keeper.stop();
      this.#rotation.stop();
      this.#call.stop();
      this.#sessions.stop();
      await this.#loops.stop();
      return;
    }
    if (!(await this.#caughtUp())) return;
    this.#leads = true;
    const { term } = this.#raft.status();
    this.#leaderStore.leadIn(term);
    await this.#membership.lead();
    if (this.#config.forceNewCluster === true) await this.#forgetOtherManagers();
    this.#sessions.start(term);
    this.#call.start();
    this.#loops.start();
    this.#keeper.start();
    this.#rotation.start();
    this.#events.start();
    this.#leaders.leading = true;
    this.#log('info', 'this manager leads the cluster', { term });
  }

  /** The store must show all that earlier leaders wrote before anything is decided from it. False: it leads no more. */
  async #caughtUp(): Promise<boolean> {
    while (!this.#removed && !this.#stopping.signal.aborted && this.#raft.status().role === 'leader') {
      try {
        await this.#raft.readIndex();
        return this.#raft.status().role === 'leader';
      } catch (error) {
        this.#log('info', 'a new leader cannot read yet', { error });
        await sleep(readAgainMs);
      }
    }
    return false;
  }

  /** They are lost for good; whoever comes back has to join anew. */
  async #forgetOtherManagers(): Promise<void> {
    const changes: Change[] = [];
    for (const { id, manager, spec } of this.#store.view().nodes.all()) {
      if (manager?.raftId === this.#raftId || (manager === undefined && spec.Role === 'worker')) continue;
      changes.push({
        op: 'patch',
        table: 'nodes',
        id,
        fields: { manager: undefined, spec: { ...spec, Role: 'worker' } },
      } as unknown as Change);
    }
    if (changes.length > 0) await this.#store.propose(changes);
  }

  /** The agent beside this manager comes through the private socket: only this machine's root can. */
  #localCertificateRoute(): Route {
    return {
      method: 'POST',
      path: localCertificate,
      handler: async (request, response) => {
        const body = (await request.json()) as { requestPem?: unknown } | undefined;
        if (typeof body?.requestPem !== 'string') {
          throw new EnxameError(
            'invalid-argument',
            'invalid requestPem: must be a certificate request in PEM form',
          );
        }
        // An old picture may hold a root that nobody trusts any more.
        await this.#leaders.current();
        response.json(200, await this.#membership.issueLocal(body.requestPem));
      },
    };
  }

  #localUnlockKeyRoute(): Route {
    return {
      method: 'GET',
      path: localUnlockKey,
      handler: async (_request, response) => {
        response.json(200, { unlockKey: this.#keys.unlockKey ?? '' });
      },
    };
  }
}

/** Undefined where it is sealed with another key than this manager's own ones. */
function openedIdentity(
  stored: StoredIdentity | undefined,
  unlockKey: string | undefined,
): NodeIdentity | undefined {
  if (stored?.kind !== 'sealed') return stored?.identity;
  try {
    return unlockKey === undefined ? undefined : stored.open(unlockKey);
  } catch (error) {
    if (isEnxameError(error) && error.code === 'unauthorized') return undefined;
    throw error;
  }
}

/** Where the store says a node is; its session need not be with this manager. */
function engineAddress(
  store: Pick<ReplicatedStore, 'view'>,
  nodeId: string,
): { host: string; port: number } | undefined {
  const status = store.view().nodes.get(nodeId)?.status;
  if (status?.enginePort === undefined || status.state === 'down') return undefined;
  return { host: status.address, port: status.enginePort };
}
