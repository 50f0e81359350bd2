/**
 * The leader's side of every agent's session: who is connected, what each node is told and what it reports. Nothing
 * here is durable; a new leader builds all of it from the store and from the agents that register again.
 */
import {
  EnxameError,
  heartbeatPeriodDefault,
  nanosecondsPerMillisecond,
  type ClusterStore,
  type NodeConfig,
  type NodeId,
  type TaskId,
} from '#libs/model';
import type { CertifiedIdentity } from '#libs/pki';
import { RpcServer, session, toServiceError } from '#libs/rpc';
import type { Telemetry } from '#libs/telemetry';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { isIPv4 } from 'node:net';
import { certificateService, certifiedCaller } from '../membership/certificate-service.js';
import type { Membership } from '../membership/membership.js';
import type { Clock, Log } from '../membership/ports.js';
import { managersOf, roleOf, type ManagerPeer } from '../membership/role.js';
import { Dispatcher, type Feed } from './dispatcher.js';
import { ImageLocations } from './image-locations.js';
import { missedPeriodsMax, planNodeStates, type NodeObservation } from './node-states.js';
import { protocolError, SessionStream, type AgentBody } from './session-stream.js';
import { StatusWriter } from './status-writer.js';
import { decodeDescription, decodeEvent, decodeReport, decodeSample } from './wire.js';

export interface SessionServerOptions {
  store: ClusterStore;
  config: Pick<NodeConfig, 'address' | 'clusterPort'>;
  membership: Membership;
  telemetry: Telemetry;
  clock: Clock;
  log: Log;
}

/** Where a node's engine port is, while it is connected. */
export interface EngineAddress {
  host: string;
  port: number;
}

interface LiveSession {
  nodeId: NodeId;
  stream: SessionStream;
  feed: Feed;
  /** What the node was last told of its standing. */
  standing: string;
  engine: EngineAddress;
  lastHeardMs: number;
}

const registerTimeoutMs = 5_000;
const checkIntervalMsMax = 1_000;

export class SessionServer {
  readonly #options: SessionServerOptions;
  readonly #dispatcher: Dispatcher;
  readonly #statuses: StatusWriter;
  readonly #images = new ImageLocations();
  readonly #sessions = new Map<NodeId, LiveSession>();
  readonly #observations = new Map<NodeId, NodeObservation>();
  #rpc: RpcServer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe: (() => void)[] = [];
  #startedAtMs = 0;
  #lastCheckMs = 0;
  #reconciling = false;
  #reconcileAgain = false;

  constructor(options: SessionServerOptions) {
    this.#options = options;
    const { store, clock, log } = options;
    this.#dispatcher = new Dispatcher({
      store,
      clock,
      log,
      gateWaitMsMax: () => missedPeriodsMax * this.heartbeatPeriodMs(),
    });
    this.#statuses = new StatusWriter({
      store,
      log,
      onUnknown: (nodeId, taskId) => this.#forget(nodeId, taskId),
    });
  }

  /** Listens on the cluster port. Membership must have started. Resolves with the port. */
  async start(): Promise<number> {
    const { membership, config, clock, log, store } = this.#options;
    this.#startedAtMs = clock.nowMs();
    this.#lastCheckMs = this.#startedAtMs;
    this.#dispatcher.start();
    const rpc = new RpcServer({
      tls: membership.tls(),
      services: [
        certificateService(membership),
        {
          definition: session.AgentSessionService,
          implementation: {
            connect: (call: ServerDuplexStream<session.AgentMessage, session.LeaderMessage>) =>
              this.#connect(call),
          },
        },
      ],
      log: (message) => log('warn', message),
    });
    this.#unsubscribe.push(
      membership.onCredentials((tls) => rpc.replaceCredentials(tls)),
      store.watch((event) => {
        if (!event.changes.some((change) => change.table === 'nodes')) return;
        this.#endRemoved();
        this.#tellStandings();
        this.#dispatcher.checkGates();
      }),
    );
    this.#rpc = rpc;
    this.#scheduleCheck();
    const port = await rpc.listen({ host: config.address, port: config.clusterPort });
    log('info', 'sessions served', { address: config.address, port });
    return port;
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#dispatcher.stop();
    this.#statuses.stop();
    this.#sessions.clear();
    const rpc = this.#rpc;
    this.#rpc = undefined;
    await rpc?.close();
  }

  /** The node's engine port, to proxy to. Undefined when the node is not connected. */
  engineAddress(nodeId: NodeId): EngineAddress | undefined {
    return this.#sessions.get(nodeId)?.engine;
  }

  connectedNodes(): NodeId[] {
    return [...this.#sessions.keys()].sort();
  }

  heartbeatPeriodMs(): number {
    const period = this.#options.store.view().cluster?.spec.Dispatcher?.HeartbeatPeriod;
    return (period || heartbeatPeriodDefault) / nanosecondsPerMillisecond;
  }

  #connect(call: ServerDuplexStream<session.AgentMessage, session.LeaderMessage>): void {
    let caller: CertifiedIdentity;
    try {
      const certified = certifiedCaller(call);
      if (!certified) throw new EnxameError('unauthorized', 'a session needs a node certificate');
      caller = certified;
      this.#options.membership.admit(caller);
    } catch (error) {
      call.emit('error', toServiceError(error));
      return;
    }
    const stream = new SessionStream(call);
    let live: LiveSession | undefined;
    const waiting = setTimeout(() => stream.end(protocolError('nothing was registered')), registerTimeoutMs);
    stream.open({
      message: (body) => {
        if (live) {
          this.#receive(live, body);
          return;
        }
        if (body.$case !== 'register') throw protocolError(`expected register, got ${body.$case}`);
        clearTimeout(waiting);
        live = this.#register(caller.nodeId, stream, body.register);
      },
      drained: () => live && this.#dispatcher.drained(live.feed),
      ended: (reason, by) => {
        clearTimeout(waiting);
        if (live) this.#ended(live, reason, by);
      },
    });
  }

  #register(nodeId: NodeId, stream: SessionStream, register: session.Register): LiveSession {
    const { clock, log } = this.#options;
    const description = decodeDescription(register.description);
    if (!isIPv4(register.address)) throw protocolError('address: must be an IPv4 address');
    const previous = this.#sessions.get(nodeId);
    if (previous) {
      this.#sessions.delete(nodeId);
      previous.stream.end(new EnxameError('unavailable', 'a newer session of this node has begun'));
    }
    const nowMs = clock.nowMs();
    this.#observations.set(nodeId, {
      connected: true,
      hungUp: false,
      lastHeardMs: nowMs,
      registration: { description, address: register.address },
    });
    stream.send({ $case: 'registered', registered: { heartbeatPeriodMs: this.heartbeatPeriodMs() } });
    const feed = this.#dispatcher.attach(nodeId, {
      appliedGeneration: register.appliedGeneration,
      send: (assignment) => stream.send({ $case: 'assignment', assignment }),
    });
    const live: LiveSession = {
      nodeId,
      stream,
      feed,
      standing: '',
      engine: { host: register.address, port: register.enginePort },
      lastHeardMs: nowMs,
    };
    this.#sessions.set(nodeId, live);
    this.#tellStanding(live, managersOf(this.#options.store.view()));
    log('info', 'node registered', { node: nodeId, address: register.address });
    void this.#reconcileNodes();
    return live;
  }

  #receive(live: LiveSession, body: AgentBody): void {
    const { clock, telemetry } = this.#options;
    live.lastHeardMs = clock.nowMs();
    const observation = this.#observations.get(live.nodeId);
    if (observation) observation.lastHeardMs = live.lastHeardMs;
    switch (body.$case) {
      case 'register':
        throw protocolError('registered twice');
      case 'heartbeat':
        live.stream.send({ $case: 'heartbeat', heartbeat: { periodMs: this.heartbeatPeriodMs() } });
        return;
      case 'statuses':
        for (const report of body.statuses.reports) {
          this.#statuses.add({ ...decodeReport(report), nodeId: live.nodeId });
        }
        return;
      case 'applied':
        this.#dispatcher.acknowledge(live.feed, body.applied.generation);
        return;
      case 'images':
        this.#images.set(live.nodeId, body.images.images);
        return;
      case 'events':
        for (const event of body.events.events) {
          telemetry.publishEvent({ ...decodeEvent(event), nodeId: live.nodeId });
        }
        return;
      case 'stats':
        for (const sample of body.stats.samples) {
          telemetry.publishStats({ ...decodeSample(sample), nodeId: live.nodeId });
        }
        return;
      case 'farewell':
        if (observation) observation.left = true;
        return;
      case 'imageQuery':
        this.#answerImageQuery(live, body.imageQuery);
        return;
    }
  }

  #answerImageQuery(live: LiveSession, query: session.ImageQuery): void {
    const locations: session.ImageLocation[] = [];
    for (const nodeId of this.#images.holders(query.reference)) {
      const engine = this.#sessions.get(nodeId)?.engine;
      if (!engine || nodeId === live.nodeId) continue;
      locations.push({ nodeId, address: engine.host, enginePort: engine.port });
    }
    live.stream.send({
      $case: 'imageLocations',
      imageLocations: { queryId: query.queryId, locations },
    });
  }

  #forget(nodeId: NodeId, taskId: TaskId): void {
    this.#sessions.get(nodeId)?.stream.send({
      $case: 'unknownTasks',
      unknownTasks: { taskIds: [taskId] },
    });
  }

  #ended(live: LiveSession, reason: string, by: 'agent' | 'manager'): void {
    this.#dispatcher.detach(live.feed);
    // A session that was replaced says nothing about its node.
    if (this.#sessions.get(live.nodeId) !== live) return;
    this.#sessions.delete(live.nodeId);
    this.#images.delete(live.nodeId);
    const observation = this.#observations.get(live.nodeId);
    if (observation) {
      observation.connected = false;
      observation.hungUp = by === 'agent';
    }
    this.#options.log('warn', 'session ended', { node: live.nodeId, reason });
    void this.#reconcileNodes();
  }

  /** What each node is, and who the managers are, where that has changed. */
  #tellStandings(): void {
    const managers = managersOf(this.#options.store.view());
    for (const live of this.#sessions.values()) this.#tellStanding(live, managers);
  }

  #tellStanding(live: LiveSession, managers: ManagerPeer[]): void {
    const node = this.#options.store.view().nodes.get(live.nodeId);
    if (!node) return;
    const standing = { role: roleOf(node), managers };
    const text = JSON.stringify(standing);
    if (text === live.standing) return;
    live.standing = text;
    live.stream.send({ $case: 'standing', standing });
  }

  #endRemoved(): void {
    const { nodes } = this.#options.store.view();
    for (const live of this.#sessions.values()) {
      if (nodes.get(live.nodeId)) continue;
      live.stream.end(new EnxameError('forbidden', `node ${live.nodeId} is not part of this cluster`));
    }
    for (const nodeId of this.#observations.keys()) if (!nodes.get(nodeId)) this.#observations.delete(nodeId);
  }

  #scheduleCheck(): void {
    const intervalMs = Math.min(this.heartbeatPeriodMs() / 4, checkIntervalMsMax);
    this.#timer = setTimeout(() => {
      this.#check(intervalMs);
      this.#scheduleCheck();
    }, intervalMs);
  }

  #check(intervalMs: number): void {
    const nowMs = this.#options.clock.nowMs();
    const lateMs = nowMs - this.#lastCheckMs - intervalMs;
    this.#lastCheckMs = nowMs;
    // When this process itself was held up, heartbeats wait unread: silence proves nothing yet.
    if (lateMs > this.heartbeatPeriodMs()) return;
    for (const live of this.#sessions.values()) {
      if (nowMs - live.lastHeardMs < missedPeriodsMax * this.heartbeatPeriodMs()) continue;
      live.stream.end(new EnxameError('unavailable', 'heartbeat failure'));
    }
    this.#dispatcher.checkGates();
    void this.#reconcileNodes();
  }

  /** Writes what the sessions show of the nodes to the store. One at a time; a failed write is tried at the next check. */
  async #reconcileNodes(): Promise<void> {
    if (this.#reconciling) {
      this.#reconcileAgain = true;
      return;
    }
    const { store, clock, log } = this.#options;
    this.#reconciling = true;
    try {
      do {
        this.#reconcileAgain = false;
        const changes = planNodeStates(store.view(), this.#observations, {
          nowMs: clock.nowMs(),
          startedAtMs: this.#startedAtMs,
          heartbeatPeriodMs: this.heartbeatPeriodMs(),
        });
        if (changes.length > 0) await store.propose(changes);
      } while (this.#reconcileAgain && this.#rpc);
    } catch (error) {
      log('warn', 'writing node states failed; trying again', { error });
    } finally {
      this.#reconciling = false;
    }
  }
}
