/**
 * The leader's side of every agent's session: who is connected, what each node is told and what it reports. Nothing
 * here is durable; a new leader builds all of it from the store and from the agents that register again.
 */
import {
  EnxameError,
  heartbeatPeriodDefault,
  nanosecondsPerMillisecond,
  type ClusterStore,
  type NodeId,
  type TaskId,
} from '#libs/model';
import type { CertifiedIdentity } from '#libs/pki';
import { session, toServiceError, type RpcService } from '#libs/rpc';
import type { Telemetry } from '#libs/telemetry';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { isIPv4 } from 'node:net';
import type { Leaders } from '../group/leaders.js';
import { certifiedCaller } from '../membership/certificate-service.js';
import type { Membership } from '../membership/membership.js';
import type { Clock, Log } from '../membership/ports.js';
import { managersOf, roleOf } from '../membership/role.js';
import { Dispatcher, type Feed } from './dispatcher.js';
import { ImageLocations } from './image-locations.js';
import { missedPeriodsMax, planNodeStates, type NodeObservation } from './node-states.js';
import { protocolError, SessionStream, type AgentBody } from './session-stream.js';
import { commonStanding, unlockKeyFor, type CommonStanding } from './standing.js';
import { StatusWriter } from './status-writer.js';
import { decodeDescription, decodeEvent, decodeReport, decodeSample, decodeTls } from './wire.js';

export interface SessionServerOptions {
  store: ClusterStore;
  membership: Pick<Membership, 'admit'>;
  leaders: Pick<Leaders, 'whenKnown'>;
  telemetry: Telemetry;
  clock: Clock;
  log: Log;
}

interface LiveSession {
  nodeId: NodeId;
  stream: SessionStream;
  feed: Feed;
  /** What the node was last told of its standing. */
  standing: string;
  /** Where its engine port is. */
  engine: { host: string; port: number };
  lastHeardMs: number;
}

type Call = ServerDuplexStream<session.AgentMessage, session.LeaderMessage>;

const registerTimeoutMs = 5_000;
/** Shorter than an agent waits for a first word. */
const redirectWaitMsMax = 3_000;
const checkIntervalMsMax = 1_000;

export class SessionServer {
  readonly #options: SessionServerOptions;
  readonly #dispatcher: Dispatcher;
  readonly #statuses: StatusWriter;
  readonly #images = new ImageLocations();
  readonly #sessions = new Map<NodeId, LiveSession>();
  readonly #observations = new Map<NodeId, NodeObservation>();
  #leading = false;
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

  /** To be served on the cluster port of every manager: one that does not lead sends agents to the one that does. */
  service(): RpcService {
    return {
      definition: session.AgentSessionService,
      implementation: {
        connect: (call: Call) => {
          if (this.#leading) this.#connect(call);
          else void this.#redirect(call);
        },
      },
    };
  }

  /** Begins to lead in this term; the store has caught up. */
  start(term: number): void {
    const { clock, store } = this.#options;
    this.#startedAtMs = clock.nowMs();
    this.#lastCheckMs = this.#startedAtMs;
    this.#dispatcher.start(term);
    this.#statuses.start();
    this.#unsubscribe.push(
      store.watch((event) => {
        if (!event.changes.some(({ table }) => table === 'nodes' || table === 'clusters')) return;
        this.#endRemoved();
        this.#tellStandings();
        this.#dispatcher.checkGates();
      }),
    );
    this.#leading = true;
    this.#scheduleCheck();
  }

  /** Leads no more: every agent is to look for the next leader. */
  stop(): void {
    this.#leading = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#dispatcher.stop();
    this.#statuses.stop();
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    this.#observations.clear();
    for (const { stream } of sessions) stream.end(notLeading());
  }

  connectedNodes(): NodeId[] {
    return [...this.#sessions.keys()].sort();
  }

  heartbeatPeriodMs(): number {
    const period = this.#options.store.view().cluster?.spec.Dispatcher?.HeartbeatPeriod;
    return (period || heartbeatPeriodDefault) / nanosecondsPerMillisecond;
  }

  /** Holds the agent for a moment where there is no leader: an election is shorter than a search. */
  async #redirect(call: Call): Promise<void> {
    const gone = new AbortController();
    call.once('close', () => gone.abort());
    call.on('error', () => gone.abort());
    call.on('data', () => undefined);
    const { leaders, store } = this.#options;
    const leaderAddress = await leaders.whenKnown({ waitMs: redirectWaitMsMax, signal: gone.signal });
    if (gone.signal.aborted) return;
    const redirect = { leaderAddress: leaderAddress ?? '', managers: managersOf(store.view()) };
    call.write({ body: { $case: 'redirect', redirect } });
    call.end();
  }

  #connect(call: Call): void {
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
    const tls = decodeTls(register.tls);
    if (!isIPv4(register.address)) throw protocolError('address: must be an IPv4 address');
    const { dataPathAddress } = register;
    if (dataPathAddress !== '' && !isIPv4(dataPathAddress)) {
      throw protocolError('data_path_address: must be an IPv4 address');
    }
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
      registration: {
        description,
        address: register.address,
        enginePort: register.enginePort,
        ...(tls === undefined ? {} : { tls }),
        ...(dataPathAddress === '' ? {} : { dataPathAddress }),
      },
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
    this.#tellStanding(live, commonStanding(this.#options.store.view(), new Set(this.#sessions.keys())));
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
      case 'tls': {
        const tls = decodeTls(body.tls);
        if (observation && tls) observation.registration = { ...observation.registration, tls };
        void this.#reconcileNodes();
        return;
      }
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

  /** What each node is and is to hold, and who the managers are, where that has changed. */
  #tellStandings(): void {
    const common = commonStanding(this.#options.store.view(), new Set(this.#sessions.keys()));
    for (const live of this.#sessions.values()) this.#tellStanding(live, common);
  }

  #tellStanding(live: LiveSession, common: CommonStanding): void {
    const node = this.#options.store.view().nodes.get(live.nodeId);
    if (!node) return;
    const role = roleOf(node);
    const { managers, managersText, wanted, wantedText } = common;
    const isToHold = wanted !== undefined && !common.isToWait(node);
    const unlockKey = unlockKeyFor(node, this.#options.store.view());
    const text = `${role} ${isToHold ? wantedText : ''} ${String(unlockKey)} ${managersText}`;
    if (text === live.standing) return;
    live.standing = text;
    const standing = {
      role,
      managers,
      ...(unlockKey === undefined ? {} : { unlockKey }),
      ...(isToHold ? { wantedTls: wanted } : {}),
    };
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
    if (!this.#leading) return;
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
      } while (this.#reconcileAgain && this.#leading);
    } catch (error) {
      log('warn', 'writing node states failed; trying again', { error });
    } finally {
      this.#reconciling = false;
    }
  }
}

function notLeading(): EnxameError {
  return new EnxameError('not-manager', 'this manager does not lead the cluster');
}
