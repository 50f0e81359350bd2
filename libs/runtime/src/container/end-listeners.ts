/** Who waits for the end of a container, or wants to hear of each. */
import type { ContainerExit } from '../port.js';

export class EndListeners {
  #waiters: ((exit: ContainerExit) => void)[] = [];
  readonly #listeners = new Set<() => void>();

  /** The next end, for one caller. */
  next(): Promise<ContainerExit> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Every end, until the returned function is called. */
  each(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(exit: ContainerExit): void {
    for (const waiter of this.#waiters.splice(0)) waiter(exit);
    for (const listener of this.#listeners) listener();
  }
}
