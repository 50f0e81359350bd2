/** The execs that clients have made: they start, look at and resize them by id. */
import { EnxameError, type ContainerId } from '#libs/model';
import { StartFailure, type ContainerRuntime, type ExecConfig, type ExecSession } from '#libs/runtime';
import { randomBytes } from 'node:crypto';

export interface ExecEntry {
  id: string;
  containerId: ContainerId;
  config: ExecConfig;
  attachStdout: boolean;
  attachStderr: boolean;
  detachKeys: string;
  phase: 'created' | 'running' | 'exited';
  session?: ExecSession;
  /** Who wants it as soon as it runs. */
  waiting: ((session: ExecSession | undefined) => void)[];
  /** Once it has run. */
  pid?: number;
  exitCode?: number;
}

const idBytes = 32;
const startMsMax = 10_000;
/** Of an exec that was refused before anything ran. */
const unknownFailure = 126;
/** Older ones that have ended are forgotten first. */
const entriesMax = 2_000;

export class ExecTable {
  readonly #entries = new Map<string, ExecEntry>();

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Throws `not-found`. */
  get(id: string): ExecEntry {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw new EnxameError('not-found', `No such exec instance: ${id}`);
    return entry;
  }

  ofContainer(id: ContainerId): string[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.containerId === id && entry.phase !== 'exited')
      .map((entry) => entry.id);
  }

  add(entry: Omit<ExecEntry, 'id' | 'phase' | 'waiting'>): ExecEntry {
    this.#makeRoom();
    const id = randomBytes(idBytes).toString('hex');
    const added: ExecEntry = { ...entry, id, phase: 'created', waiting: [] };
    this.#entries.set(id, added);
    return added;
  }

  #makeRoom(): void {
    if (this.#entries.size < entriesMax) return;
    const idle = [...this.#entries.values()].filter(({ phase }) => phase !== 'running');
    const leaving = idle.find(({ phase }) => phase === 'exited') ?? idle[0];
    if (leaving === undefined) {
      throw new EnxameError('resource-exhausted', `this node runs ${entriesMax} execs, as many as it takes`);
    }
    this.#entries.delete(leaving.id);
  }

  /** Runs it once. Its end is noted whoever looks. */
  async start(
    entry: ExecEntry,
    runtime: Pick<ContainerRuntime, 'exec'>,
    options: { size?: { rows: number; columns: number } },
  ): Promise<ExecSession> {
    if (entry.phase !== 'created') {
      throw new EnxameError('conflict', `exec ${entry.id} has been started already`);
    }
    entry.phase = 'running';
    try {
      const session = await runtime.exec(entry.containerId, {
        ...entry.config,
        id: entry.id,
        ...(options.size === undefined ? {} : { size: options.size }),
      });
      entry.session = session;
      entry.pid = session.pid;
      for (const wake of entry.waiting.splice(0)) wake(session);
      void session.exited.then(({ exitCode }) => this.#end(entry, exitCode));
      return session;
    } catch (error) {
      this.#end(entry, error instanceof StartFailure ? error.exitCode : unknownFailure);
      throw error;
    }
  }

  /** Clients know of an exec before it runs. Throws `conflict` when it has ended, or does not come to run in time. */
  async session(entry: ExecEntry): Promise<ExecSession> {
    if (entry.session !== undefined) return entry.session;
    if (entry.phase === 'exited') throw new EnxameError('conflict', `exec ${entry.id} is not running`);
    const session = await new Promise<ExecSession | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), startMsMax);
      entry.waiting.push((started) => {
        clearTimeout(timer);
        resolve(started);
      });
    });
    if (session !== undefined) return session;
    throw new EnxameError('conflict', `timeout waiting for exec session ready: exec ${entry.id}`);
  }

  #end(entry: ExecEntry, exitCode: number): void {
    for (const wake of entry.waiting.splice(0)) wake(undefined);
    entry.phase = 'exited';
    entry.exitCode = exitCode;
    delete entry.session;
  }

  /** The container has ended: what was to run in it does not run in its next life. */
  dropUnstarted(id: ContainerId): void {
    for (const entry of this.#entries.values()) {
      if (entry.containerId === id && entry.phase === 'created') this.#entries.delete(entry.id);
    }
  }

  /** The container is gone: so are its execs. */
  forget(id: ContainerId): void {
    for (const entry of this.#entries.values()) {
      if (entry.containerId === id && entry.phase !== 'running') this.#entries.delete(entry.id);
    }
  }
}
