/**
 * A container runtime in memory, for tests of what drives one. It keeps the real one's rules: names and ids are
 * taken once, only what was created runs, only what does not run is removed, and a container ends once.
 */
import { EnxameError, type ContainerId } from '#libs/model';
import type {
  ContainerConfig,
  ContainerExit,
  ContainerState,
  HealthState,
  RunOptions,
  RuntimeEvent,
} from '#libs/runtime';

export class MemoryRuntime {
  readonly #states = new Map<ContainerId, ContainerState>();
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();
  #nextPid = 100;
  /** Says why the next `run` fails. */
  failRun: string | undefined;
  /** What was asked for, in order. */
  readonly calls: string[] = [];

  async create(config: ContainerConfig): Promise<ContainerState> {
    this.calls.push('create');
    const taken = [...this.#states.values()].some(
      (state) => state.config.name === config.name || state.config.id === config.id,
    );
    if (taken) throw new EnxameError('conflict', `name ${config.name} is in use`);
    return this.#set(config.id, {
      config,
      phase: 'created',
      pid: 0,
      health: { status: config.health ? 'starting' : 'none', failingStreak: 0, log: [] },
    });
  }

  async run(id: ContainerId, options: RunOptions = {}): Promise<ContainerState> {
    this.calls.push('run');
    await options.until;
    const state = this.#existing(id);
    if (state.phase !== 'created') throw new EnxameError('conflict', 'it has run already');
    if (this.failRun !== undefined) {
      const error = this.failRun;
      this.end(id, { exitCode: 127, error });
      throw new EnxameError('invalid-argument', error);
    }
    this.#set(id, { ...state, phase: 'running', pid: this.#nextPid++, startedAtMs: 1 });
    this.#tell({ type: 'start', id, atMs: 1 });
    return this.#existing(id);
  }

  async stop(id: ContainerId): Promise<ContainerExit> {
    this.calls.push('stop');
    this.end(id, { exitCode: 143, signal: 15 });
    const { exit } = this.#existing(id);
    if (!exit) throw new Error('a stopped container has an exit');
    return exit;
  }

  async remove(id: ContainerId): Promise<void> {
    this.calls.push('remove');
    if (this.#existing(id).phase === 'running') throw new EnxameError('conflict', 'it runs');
    this.#states.delete(id);
  }

  get(id: ContainerId): ContainerState | undefined {
    return this.#states.get(id);
  }

  list(): readonly ContainerState[] {
    return [...this.#states.values()];
  }

  watch(listener: (event: RuntimeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The container's process ends. */
  end(id: ContainerId, exit: Partial<ContainerExit>): void {
    const state = this.#existing(id);
    if (state.phase === 'exited') return;
    const whole: ContainerExit = { exitCode: 0, oomKilled: false, finishedAtMs: 2, ...exit };
    this.#set(id, { ...state, phase: 'exited', pid: 0, exit: whole });
    this.#tell({ type: 'die', id, atMs: 2, exit: whole });
  }

  setHealth(id: ContainerId, status: HealthState['status']): void {
    const state = this.#existing(id);
    this.#set(id, { ...state, health: { ...state.health, status } });
    this.#tell({ type: 'health', id, atMs: 2, status });
  }

  #existing(id: ContainerId): ContainerState {
    const state = this.#states.get(id);
    if (!state) throw new EnxameError('not-found', `no container ${id}`);
    return state;
  }

  #set(id: ContainerId, state: ContainerState): ContainerState {
    this.#states.set(id, state);
    return state;
  }

  #tell(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
