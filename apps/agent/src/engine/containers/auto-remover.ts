/** Removes containers made with `--rm` once they have ended, also those that ended while no agent ran. */
import { isEnxameError, type ContainerId } from '#libs/model';
import type { ContainerConfig, ContainerRuntime, VolumeStore } from '#libs/runtime';

import type { Notify } from './notices.js';

export interface AutoRemoverOptions {
  runtime: Pick<ContainerRuntime, 'watch' | 'list' | 'get' | 'remove'>;
  volumes: Pick<VolumeStore, 'get' | 'remove'>;
  notify: Notify;
  log(error: unknown, what: string): void;
}

export class AutoRemover {
  readonly #options: AutoRemoverOptions;
  /** Those whose end is one part of a restart. */
  readonly #restarting = new Set<ContainerId>();
  #stopWatching: (() => void) | undefined;

  constructor(options: AutoRemoverOptions) {
    this.#options = options;
  }

  start(): void {
    const { runtime } = this.#options;
    this.#stopWatching = runtime.watch((event) => {
      if (event.type === 'die') this.afterEnd(event.id);
    });
    for (const { config, phase } of runtime.list()) if (phase === 'exited') this.afterEnd(config.id);
  }

  stop(): void {
    this.#stopWatching?.();
  }

  /** While `work` restarts it, its end does not remove it; unless it is down in the end. */
  async spare(id: ContainerId, work: () => Promise<void>): Promise<void> {
    this.#restarting.add(id);
    try {
      await work();
    } finally {
      this.#restarting.delete(id);
      if (this.#options.runtime.get(id)?.phase === 'exited') this.afterEnd(id);
    }
  }

  afterEnd(id: ContainerId): void {
    const { runtime, log } = this.#options;
    if (this.#restarting.has(id)) return;
    const state = runtime.get(id);
    if (state === undefined || state.restarting || !isAutoRemoved(state.config)) return;
    runtime
      .remove(id)
      .then(() => this.removeAnonymousVolumes(state.config))
      .catch((error: unknown) => {
        if (runtime.get(id) !== undefined) log(error, `remove container ${id} after its end`);
      });
  }

  /** `quietly`: those that another container uses stay without a word. */
  async removeAnonymousVolumes(config: ContainerConfig, options: { quietly?: boolean } = {}): Promise<void> {
    const { volumes, log } = this.#options;
    for (const mount of config.mounts) {
      if (mount.type !== 'volume' || volumes.get(mount.name)?.anonymous !== true) continue;
      try {
        await volumes.remove(mount.name);
        this.#options.notify({
          type: 'volume',
          action: 'destroy',
          id: mount.name,
          attributes: { driver: 'local' },
        });
      } catch (error) {
        if (isEnxameError(error) && (error.code === 'conflict' || options.quietly)) continue;
        log(error, `remove volume ${mount.name} of container ${config.id}`);
      }
    }
  }
}

function isAutoRemoved(config: ContainerConfig): boolean {
  const shown = config.inspect?.hostConfig;
  return typeof shown === 'object' && shown !== null && 'AutoRemove' in shown && shown.AutoRemove === true;
}
