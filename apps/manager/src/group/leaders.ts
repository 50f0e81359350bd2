/** Who leads, as this manager knows it, and how long a caller may wait for somebody to. */
import { EnxameError, type ClusterStore, type Node } from '#libs/model';
import type { Leadership } from '#libs/raft';

export interface LeadersOptions {
  raft: {
    status(): { id: string; leader?: string };
    readIndex(): Promise<unknown>;
    watchLeadership(listener: (leadership: Leadership) => void): () => void;
  };
  store: Pick<ClusterStore, 'view'>;
}

/** Swarm's words, which operators look for. */
export const noLeader =
  "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

/** A new leader is there within two seconds as a rule; who asks meanwhile need not hear of it. */
const waitMsMax = 4_000;
const retryMs = 50;

export class Leaders {
  readonly #options: LeadersOptions;
  readonly #listeners = new Set<() => void>();
  /** This manager leads and has taken up everything a leader does. */
  #leading = false;

  constructor(options: LeadersOptions) {
    this.#options = options;
    options.raft.watchLeadership(() => this.#changed());
  }

  get leading(): boolean {
    return this.#leading;
  }

  set leading(value: boolean) {
    this.#leading = value;
    this.#changed();
  }

  /** Raft id of the leader. */
  leaderId(): string | undefined {
    return this.#options.raft.status().leader;
  }

  leaderNode(): Readonly<Node> | undefined {
    const id = this.leaderId();
    if (id === undefined) return undefined;
    for (const node of this.#options.store.view().nodes.all()) if (node.manager?.raftId === id) return node;
    return undefined;
  }

  /** host:port of a leader that is at work, or undefined when there was none in time. */
  async whenKnown(options: { waitMs: number; signal: AbortSignal }): Promise<string | undefined> {
    const giveUpAt = performance.now() + options.waitMs;
    for (;;) {
      const node = this.leaderNode();
      const isSelf = node?.manager?.raftId === this.#options.raft.status().id;
      if (node?.manager && (!isSelf || this.#leading)) return node.manager.address;
      const leftMs = giveUpAt - performance.now();
      if (leftMs <= 0 || options.signal.aborted) return undefined;
      await this.#change(leftMs, options.signal);
    }
  }

  /** Resolves once the store shows every write acknowledged before; `not-manager` when no leader says so in time. */
  async current(waitMs = waitMsMax): Promise<void> {
    const giveUpAt = performance.now() + waitMs;
    for (;;) {
      const confirmed = await withinMs(this.#options.raft.readIndex(), giveUpAt - performance.now());
      if (confirmed === true) return;
      if (performance.now() + retryMs >= giveUpAt) {
        throw new EnxameError('not-manager', noLeader, { cause: confirmed });
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #change(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      // The leader may be known before the store names its node, which nobody calls back for.
      const timer = setTimeout(done, Math.min(waitMs, 4 * retryMs));
      this.#listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** True when it resolved; why not, else. */
async function withinMs(work: Promise<unknown>, waitMs: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<unknown>((resolve) => {
    timer = setTimeout(() => resolve(undefined), Math.max(waitMs, 0));
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}
