/** Whether a container's processes stand still, and making them do so. */
import { EnxameError, type ContainerId } from '#libs/model';
import { freezerOf, type Freezer } from '../cgroup/freezer.js';
import type { ContainerWorld } from './container-world.js';

export class Pausing {
  readonly #world: ContainerWorld;
  readonly #id: ContainerId;
  #paused = false;

  constructor(world: ContainerWorld, id: ContainerId) {
    this.#world = world;
    this.#id = id;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** A container found running may have been paused by an earlier agent. */
  async adopt(): Promise<void> {
    this.#paused = await this.#freezer().isFrozen();
  }

  /** A new run, or none. */
  reset(): void {
    this.#paused = false;
  }

  async pause(): Promise<void> {
    if (this.#paused) throw new EnxameError('conflict', `Container ${this.#id} is already paused`);
    await this.#freezer().freeze();
    this.#paused = true;
  }

  /** False: it was not paused. */
  async thaw(): Promise<boolean> {
    if (!this.#paused) return false;
    await this.#freezer().thaw();
    this.#paused = false;
    return true;
  }

  #freezer(): Freezer {
    const { node, cgroupParent, clock } = this.#world;
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.setTimeout(resolve, ms));
    return freezerOf(node().cgroups, cgroupParent, this.#id, sleep);
  }
}
