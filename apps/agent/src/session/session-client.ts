/**
 * The agent's end of its session with the leader. It connects, registers, tells everything it knows, and from then
 * on only what changes; when the connection breaks it comes back and does so again. Nothing here touches a container.
 */
import {
  EnxameError,
  type AssignmentDelta,
  type AssignmentItem,
  type AssignmentKind,
  type ClusterEvent,
  type HeldTls,
  type NodeDescription,
  type StatsSample,
  type TaskId,
  type TaskStatusReport,
} from '#libs/model';
import { heldTls, managerServerName, type NodeIdentity, type NodeRole } from '#libs/pki';
import { createRpcClient, fromServiceError, session } from '#libs/rpc';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Log } from '#libs/log';
import type { KnownManagers } from '../swarm/known-managers.js';
import { assignmentKinds } from './assignment-set.js';
import { Backoff } from './backoff.js';

export interface SessionClientOptions {
  managers: KnownManagers;
  /** Read at every connection: certificates are renewed. */
  identity(): NodeIdentity;
  address: string;
  enginePort: number;
  /** Where overlay traffic to this node goes, where that is not its address. */
  dataPathAddress?: string;
  describe(): NodeDescription;
  /** Newest generation this node has applied. */
  appliedGeneration(): number;
  /** What is told anew in every session. */
  statuses(): TaskStatusReport[];
  images(): session.ImageEntry[];
  onAssignment(delta: AssignmentDelta): void;
  onUnknownTasks(taskIds: TaskId[]): void;
  /** What this node is in its cluster. The managers are known to `managers` already. */
  onStanding(standing: NodeStanding): void;
  onConnection(connected: boolean): void;
  nowMs(): number;
  /** In [0, 1). */
  fraction(): number;
  log: Log;
}

/** What this node is in its cluster. */
export interface NodeStanding {
  role: NodeRole;
  managersChanged: boolean;
  /** What it is to hold; absent where it may keep what it has. */
  wantedTls?: HeldTls;
  /** What its key is to be sealed with on disk, empty for nothing; absent where it is to stay as it is. */
  unlockKey?: string;
}

type Stream = ClientDuplexStream<session.AgentMessage, session.LeaderMessage>;
type AgentBody = NonNullable<session.AgentMessage['body']>;

const registerTimeoutMs = 5_000;
const missedPeriodsMax = 3;
/** A leader that is only busy starting is not left for another. */
const silenceMsMin = 6_000;
const reportsPerMessageMax = 500;
/** How long a step on a task's way may wait for the next one, which is told in its place. */
const stepWaitMs = 30;
const eventsKeptMax = 256;
const queryTimeoutMs = 3_000;
const backoffLimits = { firstMs: 100, maxMs: 1_000 };
const redirectSpreadMs = 100;
const farewellWaitMs = 1_000;

export class SessionClient {
  readonly #options: SessionClientOptions;
  readonly #backoff: Backoff;
  /** Newest report of each task that has not been sent in this session. */
  readonly #reports = new Map<TaskId, TaskStatusReport>();
  /** Events that happened while no leader listened: the newest few. */
  #events: ClusterEvent[] = [];
  readonly #queries = new Map<number, (locations: session.ImageLocation[]) => void>();
  #nextQuery = 1;
  #client: InstanceType<typeof session.AgentSessionClient> | undefined;
  #stream: Stream | undefined;
  /** Where the stream goes to. */
  #target = '';
  #registered = false;
  #parts: session.Item[] = [];
  #heartbeatPeriodMs = registerTimeoutMs;
  #heartbeat: NodeJS.Timeout | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #reconnect: NodeJS.Timeout | undefined;
  #flushScheduled = false;
  /** Among the reports is one that does not wait. */
  #hasNews = false;
  #stepTimer: NodeJS.Timeout | undefined;
  #started = false;

  constructor(options: SessionClientOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ ...backoffLimits, fraction: options.fraction });
  }

  get connected(): boolean {
    return this.#registered;
  }

  start(): void {
    this.#started = true;
    this.#connect();
  }

  stop(): void {
    this.#started = false;
    clearTimeout(this.#reconnect);
    this.#stream?.end();
    this.#leave();
  }

  /** Goes to a new leader at once, also from one that hangs; whoever does not lead sends it on. */
  leaderIs(address: string): void {
    if (!this.#started || (this.#registered && this.#target === address)) return;
    this.#leave();
    this.#options.managers.sendTo(address);
    this.#reconnect = setTimeout(() => this.#connect(), redirectSpreadMs * this.#options.fraction());
  }

  /** Tells the leader that this node does not come back, and waits a moment for it to have heard. */
  async farewell(): Promise<void> {
    const stream = this.#stream;
    if (!this.#registered || stream === undefined) return;
    this.#started = false;
    this.#send({ $case: 'farewell', farewell: {} });
    stream.end();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, farewellWaitMs);
      stream.once('end', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /**
   * Sent in this turn of the event loop, together with what else is reported in it; but steps that nobody waits for
   * wait a little themselves: most tasks are past them before their news would have been read.
   */
  report(report: TaskStatusReport, isStep: boolean): void {
    this.#reports.set(report.taskId, report);
    if (isStep) {
      this.#stepTimer ??= setTimeout(() => this.#flushReports(), stepWaitMs);
      return;
    }
    this.#hasNews = true;
    this.#scheduleFlush();
  }

  applied(generation: number): void {
    if (this.#registered) this.#send({ $case: 'applied', applied: { generation } });
  }

  publishEvent(event: ClusterEvent): void {
    this.#events.push(event);
    if (this.#events.length > eventsKeptMax) this.#events = this.#events.slice(-eventsKeptMax);
    this.#scheduleFlush();
  }

  publishStats(samples: readonly StatsSample[]): void {
    if (!this.#registered || samples.length === 0) return;
    this.#send({ $case: 'stats', stats: { samples: samples.map(json) } });
  }

  /** The certificate or the trusted root of this node is another one now. */
  tlsChanged(): void {
    if (this.#registered) this.#send({ $case: 'tls', tls: heldTls(this.#options.identity()) });
  }

  /** Tells the leader which images this node has now. */
  imagesChanged(): void {
    if (this.#registered) this.#send({ $case: 'images', images: { images: this.#options.images() } });
  }

  /** Where else an image is. Empty when nobody has it, or nobody answers. */
  async locateImage(reference: string): Promise<session.ImageLocation[]> {
    if (!this.#registered) return [];
    const queryId = this.#nextQuery++;
    const answer = new Promise<session.ImageLocation[]>((resolve) => {
      const timer = setTimeout(() => resolve([]), queryTimeoutMs);
      this.#queries.set(queryId, (locations) => {
        clearTimeout(timer);
        resolve(locations);
      });
    });
    this.#send({ $case: 'imageQuery', imageQuery: { queryId, reference } });
    const locations = await answer;
    this.#queries.delete(queryId);
    return locations;
  }

  #connect(): void {
    const { managers, log } = this.#options;
    const target = managers.next();
    if (target === undefined) throw new EnxameError('invalid-argument', 'no manager address is known');
    const identity = this.#options.identity();
    const client = createRpcClient(session.AgentSessionClient, target, {
      kind: 'mutual',
      keyPem: identity.keyPem,
      certificatePem: identity.certificatePem,
      rootCertificatePem: identity.rootCertificatePem,
      serverName: managerServerName,
    });
    const stream: Stream = client.connect();
    this.#target = target;
    this.#client = client;
    this.#stream = stream;
    const mine = (action: () => void) => () => {
      if (this.#stream === stream) action();
    };
    stream.on('data', (message: session.LeaderMessage) => mine(() => this.#receive(message))());
    stream.on('error', (error: Error) => {
      mine(() => {
        const { code, message } = fromServiceError(error);
        log(this.#registered ? 'warn' : 'debug', 'session broken', {
          manager: target,
          code,
          reason: message,
        });
        this.#comeBack();
      })();
    });
    stream.on(
      'end',
      mine(() => this.#comeBack()),
    );
    this.#restartWatchdog(registerTimeoutMs);
    this.#send({
      $case: 'register',
      register: {
        description: json(this.#options.describe()),
        address: this.#options.address,
        enginePort: this.#options.enginePort,
        appliedGeneration: this.#options.appliedGeneration(),
        tls: heldTls(identity),
        dataPathAddress: this.#options.dataPathAddress ?? '',
      },
    });
  }

  #comeBack(): void {
    this.#leave();
    if (!this.#started) return;
    this.#reconnect = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #leave(): void {
    const wasRegistered = this.#registered;
    this.#registered = false;
    clearTimeout(this.#heartbeat);
    clearTimeout(this.#watchdog);
    clearTimeout(this.#reconnect);
    this.#parts = [];
    for (const answer of this.#queries.values()) answer([]);
    const { stream, client } = { stream: this.#stream, client: this.#client };
    this.#stream = undefined;
    this.#client = undefined;
    stream?.cancel();
    client?.close();
    if (wasRegistered) this.#options.onConnection(false);
  }

  #receive(message: session.LeaderMessage): void {
    const { body } = message;
    if (!body) return;
    this.#restartWatchdog(this.#silenceMsMax());
    try {
      switch (body.$case) {
        case 'registered':
          this.#welcome(body.registered.heartbeatPeriodMs);
          break;
        case 'heartbeat':
          this.#heartbeatPeriodMs = body.heartbeat.periodMs || this.#heartbeatPeriodMs;
          break;
        case 'assignment':
          this.#assign(body.assignment);
          break;
        case 'unknownTasks':
          this.#options.onUnknownTasks(body.unknownTasks.taskIds as TaskId[]);
          break;
        case 'imageLocations':
          this.#queries.get(body.imageLocations.queryId)?.(body.imageLocations.locations);
          break;
        case 'standing': {
          const managersChanged = this.#options.managers.replace(body.standing.managers);
          const role = body.standing.role === 'manager' ? 'manager' : 'worker';
          const { wantedTls, unlockKey } = body.standing;
          this.#options.onStanding({
            role,
            managersChanged,
            ...(wantedTls ? { wantedTls } : {}),
            ...(unlockKey === undefined ? {} : { unlockKey }),
          });
          break;
        }
        case 'redirect':
          this.#redirected(body.redirect);
          break;
      }
    } catch (error) {
      this.#options.log('error', 'a message of the leader could not be used; connecting anew', { error });
      this.#comeBack();
    }
  }

  /** To the leader at once, each node a little apart; where there is none, back to trying one after the other. */
  #redirected({ leaderAddress, managers }: session.Redirect): void {
    this.#options.managers.replace(managers);
    this.#leave();
    if (!this.#started) return;
    if (leaderAddress !== '') this.#options.managers.sendTo(leaderAddress);
    const delayMs = leaderAddress === '' ? this.#backoff.next() : redirectSpreadMs * this.#options.fraction();
    this.#reconnect = setTimeout(() => this.#connect(), delayMs);
  }

  #welcome(heartbeatPeriodMs: number): void {
    this.#heartbeatPeriodMs = heartbeatPeriodMs;
    this.#registered = true;
    this.#backoff.reset();
    this.#restartWatchdog(this.#silenceMsMax());
    this.#scheduleHeartbeat();
    for (const report of this.#options.statuses()) this.#reports.set(report.taskId, report);
    this.imagesChanged();
    this.#flushReports();
    this.#flushEvents();
    this.#options.onConnection(true);
  }

  #assign(part: session.Assignment): void {
    this.#parts.push(...part.put);
    if (part.more) return;
    const put = this.#parts.map((item) => JSON.parse(item.body.toString('utf8')) as AssignmentItem);
    this.#parts = [];
    this.#options.onAssignment({
      generation: part.generation,
      complete: part.complete,
      put: put.filter(({ kind }) => isKnownKind(kind)),
      remove: part.remove.flatMap(({ kind, id }) => (isKnownKind(kind) ? [{ kind, id }] : [])),
    });
  }

  /** Every 0.9 to 1 periods: nodes that came together drift apart, and none is late. */
  #scheduleHeartbeat(): void {
    const delayMs = this.#heartbeatPeriodMs * (0.9 + 0.1 * this.#options.fraction());
    this.#heartbeat = setTimeout(() => {
      this.#send({ $case: 'heartbeat', heartbeat: { periodMs: 0 } });
      this.#scheduleHeartbeat();
    }, delayMs);
  }

  #silenceMsMax(): number {
    return Math.max(this.#heartbeatPeriodMs * missedPeriodsMax, silenceMsMin);
  }

  #restartWatchdog(silenceMsMax: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#options.log('warn', 'the leader is silent; connecting anew', { silenceMsMax });
      this.#comeBack();
    }, silenceMsMax);
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled || !this.#registered) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      // An event takes no steps along that may still wait.
      if (this.#hasNews) this.#flushReports();
      this.#flushEvents();
    });
  }

  #flushReports(): void {
    clearTimeout(this.#stepTimer);
    this.#stepTimer = undefined;
    if (!this.#registered) return;
    this.#hasNews = false;
    const reports = [...this.#reports.values()].map(json);
    this.#reports.clear();
    for (let at = 0; at < reports.length; at += reportsPerMessageMax) {
      this.#send({ $case: 'statuses', statuses: { reports: reports.slice(at, at + reportsPerMessageMax) } });
    }
  }

  #flushEvents(): void {
    if (!this.#registered) return;
    const events = this.#events.splice(0);
    if (events.length > 0) this.#send({ $case: 'events', events: { events: events.map(json) } });
  }

  #send(body: AgentBody): void {
    this.#stream?.write({ body });
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** A newer leader may know kinds that this agent does not. */
function isKnownKind(kind: string): kind is AssignmentKind {
  return (assignmentKinds as readonly string[]).includes(kind);
}
