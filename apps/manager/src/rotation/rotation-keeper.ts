/** On the leader: ends the replacement of the root once every certificate in the cluster comes from the new one. */
import { describeError, type Change, type ClusterStore } from '#libs/model';
import { makeJoinToken } from '#libs/pki';
import type { Log, Random } from '../membership/ports.js';
import { isRotationComplete } from './plan-rotation.js';

export interface RotationKeeperOptions {
  store: ClusterStore;
  random: Pick<Random, 'bytes'>;
  log: Log;
}

const retryMs = 1_000;
const tokenBytes = 16;

export class RotationKeeper {
  readonly #options: RotationKeeperOptions;
  #unwatch: (() => void) | undefined;
  #retry: NodeJS.Timeout | undefined;
  #working = false;

  constructor(options: RotationKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#unwatch = this.#options.store.watch(({ changes }) => {
      if (changes.some(({ table }) => table === 'nodes' || table === 'clusters')) void this.#work();
    });
    void this.#work();
  }

  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    clearTimeout(this.#retry);
  }

  async #work(): Promise<void> {
    const { store, log } = this.#options;
    const change = this.#end();
    if (change === undefined || this.#working || this.#unwatch === undefined) return;
    this.#working = true;
    try {
      await store.propose([change]);
      log('info', 'every node has a certificate of the new root; the old one is not trusted any more');
    } catch (error) {
      log('info', 'the rotation of the root could not be ended; trying again', {
        reason: describeError(error),
      });
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => void this.#work(), retryMs);
    } finally {
      this.#working = false;
    }
  }

  /** The tokens of before name the old root, by which nobody would recognise the cluster any more. */
  #end(): Change | undefined {
    const { store, random } = this.#options;
    const { cluster, nodes } = store.view();
    if (cluster?.rootRotation === undefined || !isRotationComplete({ cluster, nodes: nodes.all() }))
      return undefined;
    const { rootRotation } = cluster;
    const newToken = (): string => makeJoinToken(rootRotation.certificatePem, random.bytes(tokenBytes));
    const fields = {
      rootCa: rootRotation,
      rootRotation: undefined,
      joinTokens: { worker: newToken(), manager: newToken() },
    };
    return {
      op: 'patch',
      table: 'clusters',
      id: cluster.id,
      fields,
      ifVersion: cluster.version,
    } as unknown as Change;
  }
}
