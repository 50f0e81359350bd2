/**
 * The replicated store. Transactions that are proposed while others are on their way to the disk travel together in
 * one log entry; each keeps an outcome of its own.
 */
import { type Change, type ClusterStore, EnxameError, type StoreEvent } from '#libs/model';
import { type Outcome, outcomeError } from './apply.js';
import { encodeChanges, encodeEntry } from './entry.js';
import type { StoreMachine } from './machine.js';
import type { StoreState } from './state.js';

/** The part of a Raft node that the store uses. */
export interface ReplicatedLog {
  propose(data: Uint8Array): Promise<{ index: number; result: unknown }>;
  readIndex(): Promise<number>;
}

export interface ClusterStoreOptions {
  raft: ReplicatedLog;
  /** The state machine that `raft` feeds. */
  machine: StoreMachine;
  clock: { nowMs(): number };
  limits?: Partial<ClusterStoreLimits>;
}

export interface ClusterStoreLimits {
  transactionBytesMax: number;
  /** A log entry takes no further transaction once it is larger. */
  entryBytesMax: number;
  /** While this many entries are under way, transactions wait and gather. */
  entriesInFlightMax: number;
  waitingMax: number;
}

const defaultLimits: ClusterStoreLimits = {
  transactionBytesMax: 24 * 1024 * 1024,
  entryBytesMax: 1024 * 1024,
  entriesInFlightMax: 2,
  waitingMax: 8192,
};

export interface ReplicatedStore extends ClusterStore {
  view(): StoreState;
  /** A view that shows every write acknowledged, by any manager, before the call. */
  currentView(): Promise<StoreState>;
}

interface Waiting {
  encoded: string;
  ifTerm: number | undefined;
  resolve: (value: { index: number }) => void;
  reject: (error: unknown) => void;
}

export function createClusterStore(options: ClusterStoreOptions): ReplicatedStore {
  return new LogBackedStore(options, { ...defaultLimits, ...options.limits });
}

class LogBackedStore implements ReplicatedStore {
  private waiting: Waiting[] = [];
  private inFlight = 0;
  private isFlushScheduled = false;

  constructor(
    private readonly options: ClusterStoreOptions,
    private readonly limits: ClusterStoreLimits,
  ) {}

  view(): StoreState {
    return this.options.machine.view();
  }

  async currentView(): Promise<StoreState> {
    await this.options.raft.readIndex();
    return this.view();
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    return this.options.machine.watch(listener);
  }

  propose(changes: Change[], options: { ifTerm?: number } = {}): Promise<{ index: number }> {
    const encoded = encodeChanges(changes);
    const bytes = Buffer.byteLength(encoded, 'utf8');
    if (bytes > this.limits.transactionBytesMax) {
      return Promise.reject(
        new EnxameError(
          'invalid-argument',
          `a transaction of ${bytes} bytes is over the limit of ${this.limits.transactionBytesMax}`,
        ),
      );
    }
    if (this.waiting.length >= this.limits.waitingMax) {
      return Promise.reject(
        new EnxameError('resource-exhausted', `${this.waiting.length} transactions are waiting, try again`),
      );
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ encoded, ifTerm: options.ifTerm, resolve, reject });
      this.scheduleFlush();
    });
  }

  private scheduleFlush(): void {
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    queueMicrotask(() => {
      this.isFlushScheduled = false;
      this.flush();
    });
  }

  private flush(): void {
    while (this.waiting.length > 0 && this.inFlight < this.limits.entriesInFlightMax) {
      const batch = this.takeBatch();
      this.inFlight++;
      void this.commit(batch).finally(() => {
        this.inFlight--;
        this.flush();
      });
    }
  }

  private takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.waiting.length && (count === 0 || bytes < this.limits.entryBytesMax)) {
      bytes += this.waiting[count]?.encoded.length ?? 0;
      count++;
    }
    return this.waiting.splice(0, count);
  }

  /** Settles every transaction of the batch; never rejects itself. */
  private async commit(batch: Waiting[]): Promise<void> {
    try {
      const { raft, clock } = this.options;
      const entry = encodeEntry(
        batch.map((waiting) => waiting.encoded),
        clock.nowMs(),
        batch.map(({ ifTerm }) => ifTerm),
      );
      const { index, result } = await raft.propose(entry);
      const outcomes = result as Outcome[];
      for (const [position, waiting] of batch.entries()) {
        const outcome = outcomes[position];
        if (outcome === undefined)
          waiting.reject(new EnxameError('internal', 'a transaction has no outcome'));
        else if (outcome.ok) waiting.resolve({ index });
        else waiting.reject(outcomeError(outcome));
      }
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
  }
}
