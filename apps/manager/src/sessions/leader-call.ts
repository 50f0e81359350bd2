/**
 * A new leader calls the nodes that have not come to it. Theirs may be a leader that hangs or is cut off, which they
 * cannot tell from one that is only busy: by themselves they would wait for several heartbeats.
 */
import type { ClusterStore, NodeId } from '#libs/model';
import type { Log } from '../membership/ports.js';

export interface LeaderCallOptions {
  store: Pick<ClusterStore, 'view'>;
  /** Nodes that have come. */
  connected(): readonly NodeId[];
  /** Tells one node where its leader is. */
  call(nodeId: NodeId, signal: AbortSignal): Promise<unknown>;
  log: Log;
}

/** Most nodes come by themselves within this time. */
const firstWaitMs = 400;
const againMs = 1_500;
const roundsMax = 10;
const callsAtOnce = 16;
const callWaitMs = 3_000;

export class LeaderCall {
  readonly #options: LeaderCallOptions;
  #timer: NodeJS.Timeout | undefined;
  #ending = new AbortController();

  constructor(options: LeaderCallOptions) {
    this.#options = options;
  }

  start(): void {
    this.#ending = new AbortController();
    this.#wait(firstWaitMs, roundsMax);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#ending.abort();
  }

  #wait(delayMs: number, rounds: number): void {
    const { signal } = this.#ending;
    this.#timer = setTimeout(() => {
      void this.#round(signal).then((missing) => {
        if (missing && rounds > 1 && !signal.aborted) this.#wait(againMs, rounds - 1);
      });
    }, delayMs);
  }

  /** False when every node that lives has come. */
  async #round(ending: AbortSignal): Promise<boolean> {
    const { store, connected, call, log } = this.#options;
    const come = new Set(connected());
    const missing = [...store.view().nodes.all()].filter(
      ({ id, status }) => !come.has(id) && status.state !== 'down' && status.enginePort !== undefined,
    );
    const next = missing.values();
    const callInTurn = async (): Promise<void> => {
      for (const { id } of next) {
        try {
          await call(id, AbortSignal.any([ending, AbortSignal.timeout(callWaitMs)]));
        } catch (error) {
          // A node that is away comes by itself when it is back.
          log('debug', 'a node could not be told who leads', { node: id, error });
        }
      }
    };
    await Promise.all(Array.from({ length: callsAtOnce }, callInTurn));
    return missing.length > 0;
  }
}
