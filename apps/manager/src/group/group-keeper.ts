/** On the leader: brings the Raft group to what the nodes say, and writes down how the managers are seen. */
import {
  describeError,
  type Change,
  type ClusterStore,
  type Node,
  type Reachability,
  type StoreEvent,
} from '#libs/model';
import type { RaftNode } from '#libs/raft';
import type { Log } from '../membership/ports.js';
import { nextGroupStep, type GroupStep } from './plan-group.js';

export interface GroupKeeperOptions {
  raft: Pick<RaftNode, 'status' | 'members' | 'changeMembership' | 'transferLeadership'>;
  store: ClusterStore;
  /** host:port of this manager. */
  address: string;
  log: Log;
}

const lookIntervalMs = 250;
const retryMs = 1_000;

export class GroupKeeper {
  readonly #options: GroupKeeperOptions;
  #timer: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;
  #working = false;
  #notBefore = 0;
  #lastError = '';

  constructor(options: GroupKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#unwatch = this.#options.store.watch((event) => {
      if (concernsGroup(event)) void this.#work();
    });
    this.#timer = setInterval(() => void this.#work(), lookIntervalMs);
    void this.#work();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  get #stopped(): boolean {
    return this.#unwatch === undefined;
  }

  async #work(): Promise<void> {
    if (this.#working || this.#stopped || performance.now() < this.#notBefore) return;
    this.#working = true;
    try {
      await this.#noteManagers();
      for (let step = this.#next(); step !== undefined && !this.#stopped; step = this.#next()) {
        this.#options.log('info', 'the group of managers changes', { step });
        await this.#take(step);
      }
      this.#lastError = '';
    } catch (error) {
      this.#notBefore = performance.now() + retryMs;
      const text = describeError(error);
      if (text !== this.#lastError) {
        this.#options.log('warn', 'changing the group of managers failed; trying again', { error });
      }
      this.#lastError = text;
    } finally {
      this.#working = false;
    }
  }

  #next(): GroupStep | undefined {
    const { raft, store } = this.#options;
    const { id, peers, lastIndex } = raft.status();
    return nextGroupStep({
      self: id,
      members: raft.members(),
      peers,
      lastIndex,
      nodes: store.view().nodes.all(),
    });
  }

  async #take(step: GroupStep): Promise<void> {
    const { raft, store } = this.#options;
    switch (step.kind) {
      case 'change':
        return raft.changeMembership([step.change]);
      case 'hand-over':
        return raft.transferLeadership();
      case 'release':
        await store.propose([
          {
            op: 'patch',
            table: 'nodes',
            id: step.nodeId,
            fields: { manager: undefined },
          } as unknown as Change,
        ]);
    }
  }

  /** How each manager is seen from here, and this manager's own address, where that has changed. */
  async #noteManagers(): Promise<void> {
    const { raft, store, address } = this.#options;
    const { id, peers } = raft.status();
    // One that only learns the log yet is no manager that anybody can count on.
    const voters = new Set(raft.members().flatMap((member) => (member.kind === 'voter' ? [member.id] : [])));
    const reachable = new Map(peers.map((peer) => [peer.id, peer.reachable]));
    const changes: Change[] = [];
    for (const node of store.view().nodes.all()) {
      const { manager } = node;
      if (manager === undefined) continue;
      const isSelf = manager.raftId === id;
      const seen = isSelf || reachable.get(manager.raftId) === true;
      const reachability: Reachability = !voters.has(manager.raftId)
        ? 'unknown'
        : seen
          ? 'reachable'
          : 'unreachable';
      const noted = { ...manager, reachability, ...(isSelf ? { address } : {}) };
      if (sameManager(noted, manager)) continue;
      changes.push({
        op: 'patch',
        table: 'nodes',
        id: node.id,
        fields: { manager: noted },
        ifVersion: node.version,
      });
    }
    if (changes.length > 0) await store.propose(changes);
  }
}

function sameManager(a: NonNullable<Node['manager']>, b: NonNullable<Node['manager']>): boolean {
  return a.raftId === b.raftId && a.address === b.address && a.reachability === b.reachability;
}

function concernsGroup(event: StoreEvent): boolean {
  return event.changes.some(
    (change) =>
      change.table === 'nodes' &&
      (change.before?.manager !== undefined ||
        change.after?.manager !== undefined ||
        change.before?.spec.Role !== change.after?.spec.Role),
  );
}
