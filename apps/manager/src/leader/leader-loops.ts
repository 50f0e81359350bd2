/**
 * Runs the leader's loops: after every change of the store that concerns them and at the times they ask for, one pass
 * at a time, until a pass has nothing more to do. A pass is idempotent, so an error costs a retry and nothing else.
 */
import {
  compareTaskStates,
  describeError,
  isEnxameError,
  type ClusterStore,
  type ClusterView,
  type IdSource,
  type StoreEvent,
} from '#libs/model';
import type { Clock, Log } from '../membership/ports.js';
import { leaderLoops, type LeaderLoop } from './loops.js';
import { planPass, type PassPlan } from './pass.js';

const changesPerProposalMax = 2000;
const retryDelayMsMin = 20;
const retryDelayMsMax = 2_000;
/** Refusals of plans made on an old picture are normal; this many in a row are not, and slow the loops down. */
const staleInRowMax = 10;
/** setTimeout's own limit; a later wake-up is asked for again on the way. */
const sleepMsMax = 2 ** 31 - 1;

export interface LeaderLoopsOptions {
  store: ClusterStore;
  clock: Clock;
  newId: IdSource;
  log: Log;
  loops?: readonly LeaderLoop[];
}

export class LeaderLoops {
  readonly #options: LeaderLoopsOptions;
  readonly #loops: readonly LeaderLoop[];
  #unwatch: (() => void) | undefined;
  #running = false;
  #kicked = false;
  #wakeTimer: NodeJS.Timeout | undefined;
  #retryDelayMs = retryDelayMsMin;
  #staleInRow = 0;
  #loggedErrors = new Set<string>();
  #idle: (() => void)[] = [];

  constructor(options: LeaderLoopsOptions) {
    this.#options = options;
    this.#loops = options.loops ?? leaderLoops;
  }

  /** Call when this manager has become the leader and its store has caught up. */
  start(): void {
    if (this.#unwatch !== undefined) return;
    this.#unwatch = this.#options.store.watch((event) => {
      if (concernsLoops(event)) this.kick();
    });
    this.kick();
  }

  /** Call when it no longer leads. Resolves when no pass is under way. */
  async stop(): Promise<void> {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#wakeTimer);
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Asks for a pass soon. Kicks of one turn of the event loop become one pass. */
  kick(): void {
    this.#kicked = true;
    if (!this.#running) void this.#run();
  }

  get #stopped(): boolean {
    return this.#unwatch === undefined;
  }

  async #run(): Promise<void> {
    this.#running = true;
    let pauseMs = 0;
    while (this.#kicked && !this.#stopped) {
      await pause(pauseMs);
      this.#kicked = false;
      if (this.#stopped) break;
      pauseMs = await this.#pass();
    }
    this.#running = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** One pass. Returns how long to wait at least before the next. */
  async #pass(): Promise<number> {
    const { store, clock } = this.#options;
    const startedAtMs = clock.nowMs();
    const view = store.view();
    const plan = this.#plan(view, startedAtMs);
    // Planning a large cluster takes a while: as much time goes to everybody else on this event loop.
    const planningMs = clock.nowMs() - startedAtMs;
    this.#setWakeTimer(plan.wakeAtMs);
    if (plan.failedLoop) this.#retrySoon();
    if (plan.changes.length === 0) return planningMs;
    try {
      for (let at = 0; at < plan.changes.length; at += changesPerProposalMax) {
        await store.propose(plan.changes.slice(at, at + changesPerProposalMax));
      }
      this.#staleInRow = 0;
      if (!plan.failedLoop) {
        this.#retryDelayMs = retryDelayMsMin;
        this.#loggedErrors.clear();
      }
      // What was just written may call for more, as a task's place does; an empty plan ends it.
      this.#kicked = true;
    } catch (error) {
      this.#proposalFailed(error);
    }
    return planningMs;
  }

  #plan(view: ClusterView, nowMs: number): PassPlan {
    const { newId } = this.#options;
    try {
      return planPass(this.#loops, { view, nowMs, newId }, (loop, error) => {
        this.#logOnce(`the ${loop.name} could not make a plan`, error);
      });
    } catch (error) {
      this.#logOnce('the plans of the leader loops do not fit together', error);
      return { changes: [], failedLoop: true };
    }
  }

  #proposalFailed(error: unknown): void {
    const stale =
      isEnxameError(error) &&
      (error.code === 'version-mismatch' || error.code === 'not-found' || error.code === 'conflict');
    if (stale && this.#staleInRow++ < staleInRowMax) {
      this.#kicked = true;
      return;
    }
    this.#logOnce('writing the plan of the leader loops failed', error);
    this.#retrySoon();
  }

  #retrySoon(): void {
    this.#setWakeTimer(this.#options.clock.nowMs() + this.#retryDelayMs);
    this.#retryDelayMs = Math.min(this.#retryDelayMs * 2, retryDelayMsMax);
  }

  #setWakeTimer(atMs: number | undefined): void {
    clearTimeout(this.#wakeTimer);
    if (atMs === undefined || this.#stopped) return;
    const delayMs = Math.min(Math.max(0, atMs - this.#options.clock.nowMs()), sleepMsMax);
    this.#wakeTimer = setTimeout(() => this.kick(), Math.ceil(delayMs));
  }

  #logOnce(message: string, error: unknown): void {
    const text = `${message}: ${describeError(error)}`;
    if (this.#loggedErrors.has(text)) return;
    this.#loggedErrors.add(text);
    this.#options.log('error', message, { error });
  }
}

/** Steps on a task's way that change nothing for the loops: half of all events. */
export function concernsLoops(event: StoreEvent): boolean {
  return event.changes.some((change) => {
    if (change.table !== 'tasks') return true;
    const { before, after } = change;
    if (before === undefined || after === undefined) return true;
    if (before.desiredState !== after.desiredState || before.nodeId !== after.nodeId) return true;
    const { state } = after.status;
    const uneventful = state === 'accepted' || state === 'preparing' || state === 'starting';
    return compareTaskStates(before.status.state, state) !== 0 && !uneventful;
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    // Even without a wait, everything that has already arrived comes first.
    if (ms < 2) setImmediate(resolve);
    else setTimeout(resolve, ms);
  });
}
