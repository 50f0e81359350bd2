/** COPY and ADD: which files a step takes, what tells it from another step, and the layer it makes. */
import { EnxameError } from '#libs/model';
import { createHash } from 'node:crypto';
import { tarEnd, tarHeader, tarPadding } from '../archive/tar-writer.js';
import { baseOf, foldersAbove, hasWildcard, insidePath } from './source/path-walk.js';
import type { SourceEntry, SourceTree } from './source/source-tree.js';

/** One file, or what is in one folder, as it is to be copied. */
export interface CopyItem {
  /** What a file is called when it goes into a folder. */
  name: string;
  isFolder: boolean;
  /** `file:HASH` or `dir:HASH`, as histories show it. */
  hash: string;
  /** Its own name is empty; those of a folder's content are relative to it. */
  entries: { name: string; entry: SourceEntry }[];
  content(entry: SourceEntry): AsyncIterable<Buffer>;
  /** Files out of an archive keep who owns them. */
  keepsOwner: boolean;
}

/** Where a destination leads in the image so far. */
export interface CopyTarget {
  /** Every link resolved; without a slash in front. */
  path: string;
  /** Those names on the way that exist, the topmost first; the last is `path` itself when it exists. */
  existing: {
    path: string;
    type: 'folder' | 'file' | 'other';
    mode: number;
    uid: number;
    gid: number;
    mtimeSeconds: number;
  }[];
}

export interface CopyOptions {
  /** The destination was written with a slash at its end: it is a folder, whatever is there. */
  intoFolder: boolean;
  owner?: { uid: number; gid: number };
  mode?: number;
  /** Times of folders that are made. */
  nowSeconds: number;
}

function failed(verb: string, message: string): EnxameError {
  return new EnxameError('invalid-argument', `${verb} failed: ${message}`);
}

/** The items that a source names in a tree. `path` as written; a link is followed. */
export function selectItems(tree: SourceTree, verb: string, source: string): CopyItem[] {
  const path = insidePath(source);
  if (path === undefined) {
    throw failed(verb, `forbidden path outside the build context: ${source} ()`);
  }
  if (hasWildcard(path)) {
    const found = tree.match(path);
    if (found.length === 0) throw failed(verb, 'no source files were specified');
    return found.map((each) => itemOf(tree, each, tree.resolve(each) ?? tree.get(each)));
  }
  const entry = tree.resolve(path);
  if (entry === undefined) {
    throw failed(
      verb,
      `file not found in build context or excluded by .dockerignore: stat ${path}: file does not exist`,
    );
  }
  return [itemOf(tree, path, entry)];
}

export function itemOf(tree: SourceTree, path: string, entry: SourceEntry | undefined): CopyItem {
  if (entry === undefined) throw new Error(`${path} is not in its tree`);
  const isFolder = entry.type === 'folder';
  const skip = entry.path === '' ? 0 : entry.path.length + 1;
  return {
    name: baseOf(path) || baseOf(entry.path),
    isFolder,
    hash: `${isFolder ? 'dir' : 'file'}:${tree.hashOf(entry.path)}`,
    entries: isFolder
      ? [...tree.walk(entry.path)]
          .filter((below) => below !== entry)
          .map((below) => ({ name: below.path.slice(skip), entry: below }))
      : [{ name: '', entry }],
    content: (file) => tree.content(file),
    keepsOwner: false,
  };
}

/** A file whose content is known: a here-document, a download. */
export function itemOfBytes(
  name: string,
  bytes: Buffer,
  file: { mode: number; mtimeSeconds: number },
): CopyItem {
  const contentHash = createHash('sha256').update(bytes).digest('hex');
  const entry: SourceEntry = {
    path: name,
    type: 'file',
    ...file,
    uid: 0,
    gid: 0,
    link: '',
    device: { major: 0, minor: 0 },
    xattrs: new Map(),
    sizeBytes: bytes.length,
    offset: 0,
    contentHash,
  };
  return {
    name,
    isFolder: false,
    hash: `file:${createHash('sha256')
      .update(JSON.stringify([file.mode, contentHash]))
      .digest('hex')}`,
    entries: [{ name: '', entry }],
    content: async function* () {
      yield bytes;
    },
    keepsOwner: false,
  };
}

/** `file:..` of one item, `multi:..` of several. */
export function hashOfItems(items: readonly CopyItem[]): string {
  const [first, ...more] = items;
  if (first !== undefined && more.length === 0) return first.hash;
  const hashes = items.map(({ hash, name }) => `${hash} ${name}`).join('\n');
  return `multi:${createHash('sha256').update(hashes).digest('hex')}`;
}

/** Throws Docker's words when several files are to become one. */
export function checkDestination(verb: string, items: readonly CopyItem[], destination: string): void {
  if (items.length > 1 && !destination.endsWith('/')) {
    throw failed(
      verb,
      `When using ${verb} with more than one source file, the destination must be a directory and end with a /`,
    );
  }
}

interface LayerMember {
  name: string;
  entry: Omit<SourceEntry, 'path' | 'offset' | 'contentHash'>;
  content?: AsyncIterable<Buffer>;
}

/**
 * The step's layer as a tar. Folders above what is copied go along as they are in the image below, since the upper
 * folder of an overlay decides what a folder is like.
 */
export async function* copyLayer(
  items: readonly CopyItem[],
  target: CopyTarget,
  options: CopyOptions,
): AsyncGenerator<Buffer> {
  const written = new Set<string>();
  for (const item of items) {
    for (const member of membersOf(item, target, options)) {
      if (member.entry.type === 'folder') {
        if (written.has(member.name) && member.content === undefined) continue;
        written.add(member.name);
      }
      const isFile = member.entry.type === 'file';
      const sizeBytes = isFile ? member.entry.sizeBytes : 0;
      const suffix = member.entry.type === 'folder' ? '/' : '';
      yield tarHeader({ ...member.entry, name: member.name + suffix, sizeBytes });
      if (!isFile || member.content === undefined) continue;
      yield* member.content;
      yield tarPadding(sizeBytes);
    }
  }
  yield tarEnd;
}

function* membersOf(item: CopyItem, target: CopyTarget, options: CopyOptions): Generator<LayerMember> {
  const there = target.existing.find(({ path }) => path === target.path);
  const isFolderThere = target.path === '' || there?.type === 'folder';
  if (item.isFolder && there !== undefined && !isFolderThere) {
    throw new EnxameError('invalid-argument', `cannot copy to non-directory: /${target.path}`);
  }
  const joined = (name: string): string => [target.path, name].filter((part) => part !== '').join('/');
  const goesInto = item.isFolder || options.intoFolder || isFolderThere;
  const top = item.isFolder ? target.path : goesInto ? joined(item.name) : target.path;
  if (top === '' && !item.isFolder) {
    throw new EnxameError('invalid-argument', `cannot copy a file to the root folder's own name`);
  }
  const folders = foldersAbove(top);
  if (item.isFolder && top !== '') folders.push(top);
  for (const path of folders) yield { name: path, entry: folderEntry(path, target, options) };
  for (const { name, entry } of item.entries) {
    const path = item.isFolder ? joined(name) : top;
    const owner = options.owner ?? (item.keepsOwner ? entry : { uid: 0, gid: 0 });
    const mode = options.mode !== undefined && entry.type !== 'symlink' ? options.mode : entry.mode;
    yield {
      name: path,
      entry: { ...entry, uid: owner.uid, gid: owner.gid, mode },
      content: item.content(entry),
    };
  }
}

function folderEntry(path: string, target: CopyTarget, options: CopyOptions): LayerMember['entry'] {
  const existing = target.existing.find((each) => each.path === path);
  if (existing !== undefined && existing.type !== 'folder') {
    throw new EnxameError('invalid-argument', `"/${path}" is not a directory`);
  }
  const { uid, gid } = existing ?? options.owner ?? { uid: 0, gid: 0 };
  return {
    type: 'folder',
    mode: existing?.mode ?? 0o755,
    uid,
    gid,
    mtimeSeconds: existing?.mtimeSeconds ?? options.nowSeconds,
    link: '',
    device: { major: 0, minor: 0 },
    xattrs: new Map(),
    sizeBytes: 0,
  };
}

/** The layer that makes a folder, for WORKDIR. Undefined when it is there. */
export function folderLayer(
  target: CopyTarget,
  options: Pick<CopyOptions, 'owner' | 'nowSeconds'>,
): AsyncGenerator<Buffer> | undefined {
  const there = target.existing.find(({ path }) => path === target.path);
  if (target.path === '' || there?.type === 'folder') return undefined;
  const nothing: CopyItem = {
    name: '',
    isFolder: true,
    hash: '',
    entries: [],
    content: async function* () {},
    keepsOwner: false,
  };
  return copyLayer([nothing], target, { ...options, intoFolder: true });
}
