/**
 * Files of a container, seen from its root and never from the node's. The container's programs may change names while
 * they are looked at, so no path is handed to the kernel: each step opens one name below an open folder, the kernel
 * follows no link, and links are resolved here, inside the root.
 */
import { closeSync, constants, lstatSync, openSync, readlinkSync, type Stats } from 'node:fs';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
const linksMax = 255;

export interface Located {
  /** An open folder; what is meant is `name` in it, or the folder itself when the name is empty. */
  folder: number;
  name: string;
  /** Absolute inside the container, without links but perhaps the last. */
  path: string;
  /** Of the name itself, not of what a link leads to. Absent: nothing is there. */
  stats?: Stats;
}

/** A name below an open folder: the kernel starts at the folder, whatever its path has become meanwhile. */
export function below(folder: number, name: string): string {
  return name === '' ? `/proc/self/fd/${folder}/.` : `/proc/self/fd/${folder}/${name}`;
}

export function openFolder(folder: number, name: string): number {
  return openSync(below(folder, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
}

export function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

export function statOf(folder: number, name: string): Stats | undefined {
  try {
    return lstatSync(below(folder, name));
  } catch (error) {
    const code = errorCodeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

interface Step {
  folder: number;
  path: string;
}

export class RootedTree {
  readonly #opened: number[] = [];
  readonly #root: number;

  /** `root`: a folder of the node, such as `/proc/PID/root`. Close it in the end. */
  constructor(root: string) {
    this.#root = openSync(root, O_RDONLY | O_DIRECTORY);
    this.#opened.push(this.#root);
  }

  close(): void {
    for (const descriptor of this.#opened.splice(0)) closeSync(descriptor);
  }

  /**
   * Walks to the last name of `path`; undefined when a folder on the way is missing or is none. With `follow` the last
   * name is resolved as well, when it is a link.
   */
  locate(path: string, options: { follow: boolean }): Located | undefined {
    const names = partsOf(path);
    const trail: Step[] = [{ folder: this.#root, path: '' }];
    let links = 0;
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const here = trail.at(-1) ?? { folder: this.#root, path: '' };
      if (name === '..') {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const stats = statOf(here.folder, name);
      const isLast = names.length === 0;
      if (stats?.isSymbolicLink() === true && (!isLast || options.follow)) {
        if (++links > linksMax) return undefined;
        const target = readlinkSync(below(here.folder, name));
        if (target.startsWith('/')) trail.length = 1;
        names.unshift(...partsOf(target));
        continue;
      }
      if (isLast) {
        if (stats?.isDirectory() !== true) {
          return { ...here, name, path: `${here.path}/${name}`, ...(stats === undefined ? {} : { stats }) };
        }
      } else if (stats?.isDirectory() !== true) return undefined;
      trail.push({ folder: this.#open(here.folder, name), path: `${here.path}/${name}` });
    }
    const last = trail.at(-1) ?? { folder: this.#root, path: '' };
    const stats = statOf(last.folder, '');
    return {
      folder: last.folder,
      name: '',
      path: last.path || '/',
      ...(stats === undefined ? {} : { stats }),
    };
  }

  #open(folder: number, name: string): number {
    const opened = openFolder(folder, name);
    this.#opened.push(opened);
    return opened;
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}
