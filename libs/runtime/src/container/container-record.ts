/** What a container is on disk: its folder, and the record that lets a new agent take it over. */
import type { ContainerId } from '#libs/model';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../files/atomic-file.js';
import { isMissing } from '../files/errno.js';
import type { ContainerPaths } from '../plan/container-plan.js';
import type { ContainerConfig, ContainerExit, ContainerFiles, ContainerPhase, HealthState } from '../port.js';

export interface ContainerRecord {
  format: 1;
  config: ContainerConfig;
  phase: ContainerPhase;
  /** A plan is with the launcher: whether it runs, only its shim can say. */
  launching: boolean;
  startedAtMs?: number;
  exit?: ContainerExit;
  /** The end of the run before the present one. */
  lastFinishedAtMs?: number;
  /** Absent: never started since it has a policy. */
  restart?: { count: number; stoppedByUser: boolean };
  health: HealthState;
}

const recordFile = 'container.json';
/** A path to a unix socket has 107 bytes; 128 random bits of the id are unique enough. */
const socketNameLength = 32;

/** Removed containers whose files are still going, before one more waits. */
const removalsMax = 32;

export interface ContainerFolders {
  stateDir: string;
  runDir: string;
  log?: (error: unknown, what: string) => void;
}

/** Removes a folder and all in it, quicker than this process could. It may fail. */
export type RemoveTree = (path: string) => Promise<void>;

export class ContainerDisk {
  /** Its agent has let go: what happens from now on is for the next one to write down. */
  isClosed = false;
  readonly #folders: ContainerFolders;
  readonly #removals = new Set<Promise<void>>();

  readonly #removeTree: RemoveTree;

  constructor(folders: ContainerFolders, removeTree: RemoveTree) {
    this.#folders = folders;
    this.#removeTree = removeTree;
  }

  get #containers(): string {
    return join(this.#folders.stateDir, 'containers');
  }

  get #leaving(): string {
    return join(this.#folders.stateDir, 'containers-leaving');
  }

  get #sockets(): string {
    return join(this.#folders.runDir, 'shim');
  }

  /** Makes the folders and ends removals that were cut short. */
  async prepare(): Promise<void> {
    await mkdir(this.#containers, { recursive: true, mode: 0o711 });
    await mkdir(this.#sockets, { recursive: true, mode: 0o700 });
    await rm(this.#leaving, { recursive: true, force: true });
    await mkdir(this.#leaving, { mode: 0o700 });
  }

  pathsOf(id: ContainerId): ContainerPaths {
    const folder = this.folderOf(id);
    return {
      upperDir: join(folder, 'diff'),
      workDir: join(folder, 'work'),
      mountPoint: join(folder, 'root'),
      logFile: join(folder, `${id}-json.log`),
      exitFile: join(folder, 'exit.json'),
      shimSocket: join(this.#sockets, `${id.slice(0, socketNameLength)}.sock`),
      nameFiles: {
        hostname: join(folder, 'hostname'),
        hosts: join(folder, 'hosts'),
        resolvConf: join(folder, 'resolv.conf'),
      },
    };
  }

  folderOf(id: ContainerId): string {
    return join(this.#containers, id);
  }

  async make(record: ContainerRecord): Promise<void> {
    const paths = this.pathsOf(record.config.id);
    await mkdir(this.folderOf(record.config.id), { mode: 0o710 });
    const folders = [paths.upperDir, paths.workDir, paths.mountPoint];
    await Promise.all(folders.map((folder) => mkdir(folder, { mode: 0o755 })));
    // The record comes last: without one, all of this was never there.
    await this.save(record);
  }

  async save(record: ContainerRecord): Promise<void> {
    await writeFileAtomic(join(this.folderOf(record.config.id), recordFile), JSON.stringify(record));
  }

  /** Gone for everybody when it resolves; what the program has written may take a while longer. */
  async remove(id: ContainerId): Promise<void> {
    const leaving = join(this.#leaving, id);
    try {
      await rename(this.folderOf(id), leaving);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    await rm(this.pathsOf(id).shimSocket, { force: true });
    while (this.#removals.size >= removalsMax) await Promise.race(this.#removals);
    const removal = this.#removeTree(leaving)
      .catch(() => rm(leaving, { recursive: true, force: true, maxRetries: 3 }))
      .catch((error: unknown) => this.#folders.log?.(error, `remove the files of container ${id}`))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** The files of all that was removed are gone. */
  async settled(): Promise<void> {
    await Promise.all(this.#removals);
  }

  async ids(): Promise<ContainerId[]> {
    const entries = await readdir(this.#containers, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name as ContainerId);
  }

  /** Whatever is in a container's folder. */
  async namesIn(id: ContainerId): Promise<string[]> {
    return readdir(this.folderOf(id));
  }

  /** Undefined when the folder has no whole record: its creation was cut short. Throws when it cannot be understood. */
  async load(id: ContainerId): Promise<ContainerRecord | undefined> {
    let text: string;
    try {
      text = await readFile(join(this.folderOf(id), recordFile), 'utf8');
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    if (text === '') return undefined;
    const record = JSON.parse(text) as ContainerRecord;
    if (record.format !== 1 || record.config.id !== id)
      throw new Error(`not a container record of format 1: ${id}`);
    return record;
  }
}

/** Where they are, as inspect shows it. */
export function filesOf({
  nameFiles,
  logFile,
  upperDir,
  workDir,
  mountPoint,
}: ContainerPaths): ContainerFiles {
  return { ...nameFiles, log: logFile, upperDir, workDir, mountPoint };
}
