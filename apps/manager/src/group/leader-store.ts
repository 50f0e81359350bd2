/**
 * The store for what only a leader decides. A proposal may come into the log long after it was made, by another
 * leader that it was sent on to: what was decided from an older picture must not count then.
 */
import { EnxameError, type Change, type ClusterStore, type ClusterView, type StoreEvent } from '#libs/model';

export class LeaderStore implements ClusterStore {
  readonly #store: ClusterStore;
  #term: number | undefined;

  constructor(store: ClusterStore) {
    this.#store = store;
  }

  /** The term this manager leads in; undefined when it does not. */
  leadIn(term: number | undefined): void {
    this.#term = term;
  }

  view(): ClusterView {
    return this.#store.view();
  }

  propose(changes: Change[]): Promise<{ index: number }> {
    if (this.#term === undefined) {
      return Promise.reject(new EnxameError('not-manager', 'this manager does not lead the cluster'));
    }
    return this.#store.propose(changes, { ifTerm: this.#term });
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    return this.#store.watch(listener);
  }
}
