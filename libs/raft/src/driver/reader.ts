/**
 * Linearizable reads on any member. All that are asked in one turn share one round of the core; while as many rounds
 * as may be are under way, further reads gather for the next. A round whose answer is lost is asked again under a new
 * number, so that an old answer is never taken for a new question's.
 */
import { EnxameError } from '#libs/model';
import type { Input } from '../core/types.js';
import type { RaftLimits } from '../port.js';

interface Waiter {
  resolve: (index: number) => void;
  reject: (error: EnxameError) => void;
  expiresAtTick: number;
}

interface Round {
  waiters: Waiter[];
  retryAtTick: number;
}

export interface ReaderHost {
  limits: RaftLimits;
  soon(callback: () => void): void;
  step(input: Input): void;
  appliedIndex(): number;
  failure(): EnxameError | undefined;
}

export class Reader {
  private gathering: Waiter[] = [];
  private isFlushScheduled = false;
  private readonly rounds = new Map<number, Round>();
  private nextRef = 1;
  /** Confirmed; each waits for the state machine. */
  private confirmed: { index: number; waiters: Waiter[] }[] = [];
  private waiting = 0;
  private tickCount = 0;

  constructor(private readonly host: ReaderHost) {}

  read(): Promise<number> {
    const failure = this.host.failure();
    if (failure !== undefined) return Promise.reject(failure);
    const { pendingReadsMax, readTimeoutTicks } = this.host.limits;
    if (this.waiting >= pendingReadsMax) {
      return Promise.reject(
        new EnxameError('resource-exhausted', `raft: ${this.waiting} reads are waiting, try again`),
      );
    }
    this.waiting++;
    return new Promise((resolve, reject) => {
      this.gathering.push({ resolve, reject, expiresAtTick: this.tickCount + readTimeoutTicks });
      this.schedule();
    });
  }

  private schedule(): void {
    if (this.isFlushScheduled || this.gathering.length === 0) return;
    if (this.rounds.size >= this.host.limits.readRoundsMax) return;
    this.isFlushScheduled = true;
    this.host.soon(() => {
      this.isFlushScheduled = false;
      const waiters = this.gathering;
      this.gathering = [];
      if (waiters.length > 0) this.ask(waiters);
    });
  }

  private ask(waiters: Waiter[]): void {
    const ref = this.nextRef++;
    this.rounds.set(ref, { waiters, retryAtTick: this.tickCount + this.host.limits.readRetryTicks });
    this.host.step({ kind: 'read', refs: [ref] });
  }

  confirm(ref: number, index: number): void {
    const round = this.rounds.get(ref);
    if (round === undefined) return;
    this.rounds.delete(ref);
    this.confirmed.push({ index, waiters: round.waiters });
    this.applied(this.host.appliedIndex());
    this.schedule();
  }

  /** There is no leader, or it cannot answer now: the round is asked again. */
  refused(ref: number): void {
    const round = this.rounds.get(ref);
    if (round !== undefined) round.retryAtTick = this.tickCount + 1;
  }

  /** A question to the leader of before is not answered any more. */
  leaderChanged(): void {
    this.askAgain([...this.rounds.keys()]);
  }

  applied(index: number): void {
    if (this.confirmed.length === 0) return;
    const ready = this.confirmed.filter((read) => read.index <= index);
    if (ready.length === 0) return;
    this.confirmed = this.confirmed.filter((read) => read.index > index);
    for (const read of ready) {
      this.waiting -= read.waiters.length;
      for (const waiter of read.waiters) waiter.resolve(read.index);
    }
  }

  tick(): void {
    this.tickCount++;
    this.gathering = this.unexpired(this.gathering);
    for (const read of this.confirmed) read.waiters = this.unexpired(read.waiters);
    const late: number[] = [];
    for (const [ref, round] of this.rounds) {
      round.waiters = this.unexpired(round.waiters);
      if (round.retryAtTick <= this.tickCount) late.push(ref);
    }
    this.askAgain(late);
  }

  private askAgain(refs: readonly number[]): void {
    if (refs.length === 0) return;
    const waiters: Waiter[] = [];
    for (const ref of refs) {
      waiters.push(...(this.rounds.get(ref)?.waiters ?? []));
      this.rounds.delete(ref);
    }
    this.host.step({ kind: 'forget-reads', refs });
    if (waiters.length > 0) this.ask(waiters);
    this.schedule();
  }

  private unexpired(waiters: Waiter[]): Waiter[] {
    if (waiters.every((waiter) => waiter.expiresAtTick > this.tickCount)) return waiters;
    const error = new EnxameError('unavailable', 'raft: no leader confirmed the read in time');
    return waiters.filter((waiter) => {
      if (waiter.expiresAtTick > this.tickCount) return true;
      this.waiting--;
      waiter.reject(error);
      return false;
    });
  }

  rejectAll(error: EnxameError): void {
    const all = [
      ...this.gathering,
      ...[...this.rounds.values()].flatMap((round) => round.waiters),
      ...this.confirmed.flatMap((read) => read.waiters),
    ];
    this.gathering = [];
    this.rounds.clear();
    this.confirmed = [];
    this.waiting = 0;
    for (const waiter of all) waiter.reject(error);
  }
}
