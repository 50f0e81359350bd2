/** A cluster store without a log, for tests: the real tables and the real `apply`, on this process's memory. */
import type { Change, ClusterStore, ClusterView, StoreEvent } from '#libs/model';
import { applyTransaction, decodeEntry, encodeChanges, encodeEntry, StoreState } from '#libs/store';
import { EnxameError } from '#libs/model';

export class MemoryStore implements ClusterStore {
  #state = StoreState.empty();
  #index = 0;
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  readonly #nowMs: () => number;
  /** Proposals so far. */
  proposals = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  view(): ClusterView {
    return this.#state;
  }

  async propose(changes: Change[]): Promise<{ index: number }> {
    // As with a real log, the answer comes in a later turn.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.proposals += 1;
    const atMs = this.#nowMs();
    for (const transaction of decodeEntry(encodeEntry([encodeChanges(changes)], atMs))) {
      this.#index += 1;
      const { state, outcome, applied } = applyTransaction(this.#state, transaction, this.#index);
      if (!outcome.ok) throw new EnxameError(outcome.code, outcome.message);
      this.#state = state;
      for (const listener of this.#listeners) listener({ index: this.#index, atMs, changes: applied });
    }
    return { index: this.#index };
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
