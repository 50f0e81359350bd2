/** Local volumes: a folder each, `<stateDir>/volumes/<name>/_data`, with what was said about it beside. */
import { EnxameError } from '#libs/model';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../files/atomic-file.js';
import { isMissing } from '../files/errno.js';
import { folderSize } from '../files/folder-size.js';
import { checkVolumeOptions, sameOrConflict } from './volume-options.js';

export interface LocalVolume {
  name: string;
  /** Folder that is mounted. */
  source: string;
  labels: Record<string, string>;
  createdAtMs: number;
  /** Made without a name of its own, for one container. */
  anonymous: boolean;
  /** `type`, `o`, `device`: what is mounted there. Absent: the folder itself is the volume. */
  options?: Record<string, string>;
}

export interface VolumeRequest {
  name: string;
  labels?: Record<string, string>;
  anonymous?: boolean;
  /** `local` is the only one. */
  driver?: string;
  options?: Record<string, string>;
}

export interface VolumeStore {
  start(): Promise<void>;
  /** Makes it, or gives the one there is. `invalid-argument` for a bad name. */
  create(request: VolumeRequest): Promise<LocalVolume>;
  get(name: string): LocalVolume | undefined;
  list(): LocalVolume[];
  /** Bytes of what is in it. */
  sizeOf(name: string): Promise<number>;
  /** Where a volume of this name is or would be. */
  sourceOf(name: string): string;
  /** `not-found`, or `conflict` when a container uses it. */
  remove(name: string): Promise<void>;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** A name with a prefix must still be a file name. */
const nameLengthMax = 200;
const recordFile = 'volume.json';

export function createVolumeStore(options: {
  stateDir: string;
  nowMs(): number;
  /** Ids of containers that mount it. */
  usedBy(name: string): readonly string[];
}): VolumeStore {
  return new FolderVolumeStore(options);
}

class FolderVolumeStore implements VolumeStore {
  readonly #folder: string;
  readonly #nowMs: () => number;
  readonly #usedBy: (name: string) => readonly string[];
  readonly #volumes = new Map<string, LocalVolume>();
  readonly #making = new Map<string, Promise<LocalVolume>>();

  constructor(options: { stateDir: string; nowMs(): number; usedBy(name: string): readonly string[] }) {
    this.#folder = join(options.stateDir, 'volumes');
    this.#nowMs = () => options.nowMs();
    this.#usedBy = (name) => options.usedBy(name);
  }

  async start(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o711 });
    for (const entry of await readdir(this.#folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      // A removal that did not end; such a name cannot be a volume's.
      if (entry.name.startsWith('.'))
        await rm(join(this.#folder, entry.name), { recursive: true, force: true });
      else await this.#load(entry.name);
    }
  }

  async #load(name: string): Promise<void> {
    const folder = join(this.#folder, name);
    let record: Partial<LocalVolume> = {};
    try {
      record = JSON.parse(await readFile(join(folder, recordFile), 'utf8')) as Partial<LocalVolume>;
    } catch (error) {
      // The data is what counts: without its record a volume has no labels.
      if (!isMissing(error) && !(error instanceof SyntaxError)) throw error;
    }
    this.#volumes.set(name, {
      name,
      source: this.sourceOf(name),
      labels: record.labels ?? {},
      createdAtMs: record.createdAtMs ?? Math.round((await stat(folder)).birthtimeMs),
      anonymous: record.anonymous ?? false,
      ...(record.options === undefined ? {} : { options: record.options }),
    });
  }

  async create(request: VolumeRequest): Promise<LocalVolume> {
    const { name, driver = 'local', options = {} } = request;
    if (driver !== 'local' && driver !== '') {
      throw new EnxameError(
        'not-found',
        `error looking up volume plugin ${driver}: plugin "${driver}" not found`,
      );
    }
    const there = this.#volumes.get(name) ?? this.#making.get(name);
    if (there !== undefined) return sameOrConflict(await there, options);
    checkVolumeOptions(options);
    const made = this.#make(request).finally(() => this.#making.delete(name));
    this.#making.set(name, made);
    return made;
  }

  async #make(request: VolumeRequest): Promise<LocalVolume> {
    const { name, options = {} } = request;
    if (!namePattern.test(name) || name.length > nameLengthMax) {
      throw new EnxameError(
        'invalid-argument',
        `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    }
    const volume: LocalVolume = {
      name,
      source: this.sourceOf(name),
      labels: request.labels ?? {},
      createdAtMs: this.#nowMs(),
      anonymous: request.anonymous ?? false,
      ...(Object.keys(options).length === 0 ? {} : { options }),
    };
    await mkdir(volume.source, { recursive: true, mode: 0o755 });
    await writeFileAtomic(join(this.#folder, name, recordFile), JSON.stringify(volume));
    this.#volumes.set(name, volume);
    return volume;
  }

  get(name: string): LocalVolume | undefined {
    return this.#volumes.get(name);
  }

  list(): LocalVolume[] {
    return [...this.#volumes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  sizeOf(name: string): Promise<number> {
    return folderSize(this.sourceOf(name));
  }

  sourceOf(name: string): string {
    return join(this.#folder, name, '_data');
  }

  async remove(name: string): Promise<void> {
    if (!this.#volumes.has(name)) throw new EnxameError('not-found', `get ${name}: no such volume`);
    const users = this.#usedBy(name);
    if (users.length > 0) {
      throw new EnxameError('conflict', `remove ${name}: volume is in use - [${users.join(', ')}]`);
    }
    await this.#refuseMounted(name);
    this.#volumes.delete(name);
    const leaving = join(this.#folder, `.removing-${name}`);
    await rm(leaving, { recursive: true, force: true });
    await rename(join(this.#folder, name), leaving);
    await rm(leaving, { recursive: true, force: true });
  }

  /** Removing the folder would remove what is in the file system that is mounted there. */
  async #refuseMounted(name: string): Promise<void> {
    const [folder, data] = await Promise.all([stat(join(this.#folder, name)), stat(this.sourceOf(name))]);
    if (folder.dev !== data.dev) {
      throw new EnxameError('conflict', `remove ${name}: a file system is mounted at ${this.sourceOf(name)}`);
    }
  }
}
