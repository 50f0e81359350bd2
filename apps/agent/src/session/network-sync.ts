/** Brings the kernel's network to each assignment and says which generation it has. */
import type { AssignmentKind, NodeId } from '#libs/model';
import type { NetworkProgram, NodeNetwork } from '#libs/network';
import type { Log } from '#libs/log';
import type { AssignmentSet } from './assignment-set.js';

const networkKinds: ReadonlySet<AssignmentKind> = new Set(['network', 'peer', 'balance', 'settings']);
const retryDelayMs = 1000;

export interface NetworkSyncOptions {
  network: Pick<NodeNetwork, 'apply'>;
  self: NodeId;
  /** The kernel has this generation. */
  applied(generation: number): void;
  log: Log;
}

/** Undefined until the cluster's settings are known. */
export function networkProgramOf(set: AssignmentSet, self: NodeId): NetworkProgram | undefined {
  const { settings, network, peer, balance } = set.tables;
  const clusterSettings = settings.get('settings');
  if (!clusterSettings) return undefined;
  return {
    generation: set.generation,
    self,
    settings: clusterSettings,
    networks: [...network.values()],
    peers: [...peer.values()],
    balance: [...balance.values()],
  };
}

export class NetworkSync {
  readonly #options: NetworkSyncOptions;
  #latest: Promise<void> = Promise.resolve();
  #program: NetworkProgram | undefined;
  #retry: NodeJS.Timeout | undefined;
  #failing = false;
  /** Newest generation whose changes, if any, are in `#program`. */
  #generation = 0;

  constructor(options: NetworkSyncOptions) {
    this.#options = options;
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#program = undefined;
  }

  /** Newest generation this node has seen: told to the leader, who goes on above it. */
  get generation(): number {
    return this.#generation;
  }

  /** Resolves when the programs given so far have been tried. */
  settled(): Promise<void> {
    return this.#latest;
  }

  update(set: AssignmentSet, changed: ReadonlySet<AssignmentKind>): void {
    this.#generation = set.generation;
    const concerned = [...changed].some((kind) => networkKinds.has(kind));
    if (concerned || this.#failing) this.#program = networkProgramOf(set, this.#options.self);
    if ((concerned || this.#failing) && this.#program) this.#apply(this.#program, set.generation);
    else this.#acknowledgeAfter(this.#latest, set.generation);
  }

  #apply(program: NetworkProgram, generation: number): void {
    clearTimeout(this.#retry);
    const attempt = this.#options.network.apply(program).then(
      () => {
        this.#failing = false;
      },
      (error: unknown) => {
        this.#failing = true;
        this.#options.log('error', 'programming the network failed; trying again', { generation, error });
        this.#scheduleRetry();
      },
    );
    this.#latest = attempt;
    this.#acknowledgeAfter(attempt, generation);
  }

  /** A generation is acknowledged when everything up to it is in the kernel, never before. */
  #acknowledgeAfter(attempt: Promise<void>, generation: number): void {
    void attempt.then(() => {
      if (!this.#failing) this.#options.applied(generation);
    });
  }

  #scheduleRetry(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (this.#program) this.#apply(this.#program, this.#generation);
    }, retryDelayMs);
  }
}
