/** `docker diff`: what a container has changed, added and deleted, from the upper folder of its overlay. */
import { closeSync, readdirSync, type Stats } from 'node:fs';
import { errorCodeOf, openFolder, RootedTree, statOf, below } from './rooted-tree.js';

export interface Change {
  Path: string;
  /** 0: changed, 1: added, 2: deleted. */
  Kind: 0 | 1 | 2;
}

/** Places that are made for mounts, and hold nothing of the container's own. */
const mountPlaces = new Set([
  '/.dockerenv',
  '/dev',
  '/dev/console',
  '/dev/core',
  '/dev/fd',
  '/dev/full',
  '/dev/mqueue',
  '/dev/null',
  '/dev/ptmx',
  '/dev/pts',
  '/dev/random',
  '/dev/shm',
  '/dev/stderr',
  '/dev/stdin',
  '/dev/stdout',
  '/dev/tty',
  '/dev/urandom',
  '/dev/zero',
  '/etc',
  '/etc/hostname',
  '/etc/hosts',
  '/etc/resolv.conf',
  '/proc',
  '/sys',
]);

/**
 * `image` and `merged` are roots as overlay shows them, so that names its layers delete are no names. `isEmptyPlace`
 * tells the targets of mounts besides.
 */
export function changesOf(options: { upper: string; image: string; merged: string }): Change[] {
  const trees = {
    upper: new RootedTree(options.upper),
    image: new RootedTree(options.image),
    merged: new RootedTree(options.merged),
  };
  try {
    const root = (tree: RootedTree): number => tree.locate('/', { follow: false })?.folder ?? -1;
    const changes: Change[] = [];
    compare({ upper: root(trees.upper), image: root(trees.image), merged: root(trees.merged) }, '', changes);
    return changes.sort((a, b) => (a.Path < b.Path ? -1 : 1));
  } finally {
    for (const tree of Object.values(trees)) tree.close();
  }
}

interface Folders {
  upper: number;
  image: number | undefined;
  merged: number | undefined;
}

/** Adds what is below one folder; true when there was anything. */
function compare(folders: Folders, path: string, changes: Change[]): boolean {
  const before = changes.length;
  const names = new Set(namesIn(folders.upper));
  for (const name of names) {
    const here = `${path}/${name}`;
    const upper = statOf(folders.upper, name);
    if (upper === undefined) continue;
    const image = folders.image === undefined ? undefined : statOf(folders.image, name);
    if (isWhiteout(upper)) {
      if (image !== undefined) changes.push({ Path: here, Kind: 2 });
      continue;
    }
    if (upper.isDirectory()) compareFolder(folders, { name, here, upper, image }, changes);
    else if (image !== undefined) changes.push({ Path: here, Kind: 0 });
    else if (!mountPlaces.has(here)) changes.push({ Path: here, Kind: 1 });
  }
  deletedByOpacity(folders, names, path, changes);
  return changes.length > before;
}

function compareFolder(
  folders: Folders,
  at: { name: string; here: string; upper: Stats; image: Stats | undefined },
  changes: Change[],
): void {
  const { name, here, upper, image } = at;
  const isNew = image?.isDirectory() !== true;
  const inner: Folders = {
    upper: openFolder(folders.upper, name),
    image: isNew ? undefined : tryOpen(folders.image, name),
    merged: tryOpen(folders.merged, name),
  };
  try {
    const hasChanges = compare(inner, here, changes);
    const looksSame =
      image !== undefined && image.mode === upper.mode && image.uid === upper.uid && image.gid === upper.gid;
    if (image === undefined) {
      if (hasChanges || !mountPlaces.has(here)) changes.push({ Path: here, Kind: 1 });
    } else if (isNew || hasChanges || !looksSame) changes.push({ Path: here, Kind: 0 });
  } finally {
    for (const descriptor of Object.values(inner) as (number | undefined)[])
      if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** A folder that was deleted and made anew hides the image's. */
function deletedByOpacity(
  { image, merged }: Folders,
  names: ReadonlySet<string>,
  path: string,
  changes: Change[],
): void {
  if (image === undefined || merged === undefined) return;
  for (const name of namesIn(image)) {
    if (names.has(name) || statOf(merged, name) !== undefined) continue;
    changes.push({ Path: `${path}/${name}`, Kind: 2 });
  }
}

function namesIn(folder: number): string[] {
  return readdirSync(below(folder, ''));
}

function tryOpen(folder: number | undefined, name: string): number | undefined {
  if (folder === undefined) return undefined;
  try {
    return openFolder(folder, name);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errorCodeOf(error))) return undefined;
    throw error;
  }
}

/** Overlay's mark of a deleted name: a character device 0/0. */
function isWhiteout(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0;
}
