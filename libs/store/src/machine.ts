/** The tables as a Raft state machine: committed entries in, outcomes and events out. */
import type { AppliedChange, StoreEvent } from '#libs/model';
import { applyTransaction, type Outcome } from './apply.js';
import { decodeEntry } from './entry.js';
import { decodeSnapshot, encodeSnapshot } from './snapshot.js';
import { StoreState } from './state.js';

export class StoreMachine {
  private state = StoreState.empty();
  private readonly listeners = new Set<(event: StoreEvent) => void>();

  /** One outcome per transaction of the entry. */
  apply(entry: { index: number; term: number; data: Uint8Array }): Outcome[] {
    const outcomes: Outcome[] = [];
    const changes: AppliedChange[] = [];
    let atMs = 0;
    for (const transaction of decodeEntry(entry.data)) {
      const { ifTerm } = transaction;
      if (ifTerm !== undefined && ifTerm !== entry.term) {
        const message = `decided by the leader of term ${ifTerm}, which leads no more`;
        outcomes.push({ ok: false, code: 'not-manager', message });
        continue;
      }
      const result = applyTransaction(this.state, transaction, entry.index);
      this.state = result.state;
      outcomes.push(result.outcome);
      changes.push(...result.applied);
      atMs = transaction.atMs;
    }
    this.emit({ index: entry.index, atMs, changes });
    return outcomes;
  }

  advance(index: number): void {
    this.state = this.state.at(index);
  }

  snapshot(): Iterable<Uint8Array> {
    return encodeSnapshot(this.state);
  }

  /** Listeners hear nothing of this: it happens before anyone can have read an older state. */
  restore(chunks: Iterable<Uint8Array>): void {
    this.state = decodeSnapshot(chunks);
  }

  view(): StoreState {
    return this.state;
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private emit(event: StoreEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        // A listener's mistake must not look like an entry that cannot be applied; nobody here can answer for it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
