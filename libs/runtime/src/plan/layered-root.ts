/**
 * Looks into a root file system made of layers without mounting it and without ever leaving it: each step opens one
 * name below an open folder and follows no link of the kernel's; links are resolved here, inside the root.
 */
import { EnxameError } from '#libs/model';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { errorCode, isMissing } from '../files/errno.js';

const linksMax = 40;
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;

/** One folder of the merged root: the same path in every layer that has it, topmost first. */
interface MergedFolder {
  descriptors: number[];
  path: string;
}

export interface FoundPath {
  /** Without links, below the root. */
  path: string;
  stats: Stats;
}

export class LayeredRoot {
  readonly #layers: readonly string[];

  /** Folders of the node, topmost first. */
  constructor(layers: readonly string[]) {
    this.#layers = layers;
  }

  /** The content of a regular file; undefined when there is none. `resource-exhausted` over `bytesMax`. */
  readFile(path: string, bytesMax: number): Buffer | undefined {
    return this.#visit(path, (folder, name) => {
      for (const descriptor of folder.descriptors) {
        const entry = lookUp(descriptor, name);
        if (entry === undefined) continue;
        if (!entry.isFile()) return undefined;
        return readSmallFile(below(descriptor, name), path, bytesMax);
      }
      return undefined;
    });
  }

  /** Where a path leads; undefined when nothing is there. */
  find(path: string): FoundPath | undefined {
    return this.#visit(path, (folder, name) => {
      for (const descriptor of folder.descriptors) {
        const stats = name === '' ? fstatSync(descriptor) : lookUp(descriptor, name);
        if (stats === undefined) continue;
        if (isWhiteout(stats)) return undefined;
        return { path: name === '' ? '/' : `${folder.path}/${name}`, stats };
      }
      return undefined;
    });
  }

  /** Walks to the folder that holds the last name of `path`, every link resolved, and calls `use`. */
  #visit<T>(path: string, use: (folder: MergedFolder, name: string) => T | undefined): T | undefined {
    const opened: number[] = [];
    try {
      const root: MergedFolder = { descriptors: [], path: '' };
      for (const layer of this.#layers) {
        const descriptor = openSync(layer, O_RDONLY | O_DIRECTORY);
        opened.push(descriptor);
        root.descriptors.push(descriptor);
      }
      return this.#walk(root, path, opened, use);
    } finally {
      for (const descriptor of opened) closeSync(descriptor);
    }
  }

  #walk<T>(
    root: MergedFolder,
    path: string,
    opened: number[],
    use: (folder: MergedFolder, name: string) => T | undefined,
  ): T | undefined {
    const trail: MergedFolder[] = [root];
    const names = splitPath(path);
    let links = 0;
    if (names.length === 0) return use(root, '');
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '..') {
        if (trail.length > 1) trail.pop();
        if (names.length === 0) return use(trail.at(-1) ?? root, '');
        continue;
      }
      const folder = trail.at(-1) ?? root;
      const target = linkTarget(folder, name);
      if (target !== undefined) {
        if (++links > linksMax) return undefined;
        if (target.startsWith('/')) trail.length = 1;
        names.unshift(...splitPath(target));
        if (names.length === 0) return use(trail.at(-1) ?? root, '');
        continue;
      }
      if (names.length === 0) return use(folder, name);
      const inner = enter(folder, name, opened);
      if (inner === undefined) return undefined;
      trail.push(inner);
    }
    return use(trail.at(-1) ?? root, '');
  }
}

function splitPath(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** Names below a descriptor: the kernel starts at the folder itself, whatever its path has become meanwhile. */
function below(descriptor: number, name: string): string {
  return `/proc/self/fd/${descriptor}/${name}`;
}

function lookUp(descriptor: number, name: string): Stats | undefined {
  try {
    return lstatSync(below(descriptor, name));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Overlay's mark of a deleted name: a character device 0/0. */
function isWhiteout(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0;
}

/** The text of a link that is the topmost thing of this name. */
function linkTarget(folder: MergedFolder, name: string): string | undefined {
  for (const descriptor of folder.descriptors) {
    const stats = lookUp(descriptor, name);
    if (stats === undefined) continue;
    if (!stats.isSymbolicLink()) return undefined;
    try {
      return readlinkSync(below(descriptor, name));
    } catch (error) {
      // A running container may change its own layer between the two calls.
      if (isMissing(error) || errorCode(error) === 'EINVAL') return undefined;
      throw error;
    }
  }
  return undefined;
}

/** The folder of this name in every layer down to the first that hides what is below it. */
function enter(folder: MergedFolder, name: string, opened: number[]): MergedFolder | undefined {
  const inner: MergedFolder = { descriptors: [], path: `${folder.path}/${name}` };
  for (const descriptor of folder.descriptors) {
    try {
      const found = openSync(below(descriptor, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
      opened.push(found);
      inner.descriptors.push(found);
    } catch (error) {
      const code = errorCode(error);
      if (code === 'ENOENT') continue;
      // A file, a link or a whiteout: layers below it do not show through.
      if (code === 'ENOTDIR' || code === 'ELOOP' || code === 'ENXIO') break;
      throw error;
    }
  }
  return inner.descriptors.length === 0 ? undefined : inner;
}

function readSmallFile(location: string, path: string, bytesMax: number): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(location, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ELOOP' || errorCode(error) === 'ENXIO') return undefined;
    throw error;
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return undefined;
    if (stats.size > bytesMax) {
      throw new EnxameError('resource-exhausted', `${path} in the image is over ${bytesMax} bytes`);
    }
    const data = Buffer.alloc(stats.size);
    const length = readSync(descriptor, data, 0, data.length, 0);
    return data.subarray(0, length);
  } finally {
    closeSync(descriptor);
  }
}
