/** A tar stream into a folder of a container. */
import { EnxameError } from '#libs/model';
import { execFile } from 'node:child_process';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
  readdirSync,
} from 'node:fs';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { extract, type Extract, type Header } from 'tar-stream';
import { below, openFolder, RootedTree, statOf, type Located } from './rooted-tree.js';

type Entry = Extract extends AsyncIterable<infer Source> ? Source : never;

const run = promisify(execFile);
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

export interface UnpackOptions {
  /** The container's root. */
  root: string;
  /** Absolute inside the container; a folder. */
  into: string;
  from: Readable;
  /** A folder never replaces what is none, nor the other way round. */
  noOverwriteDirNonDir: boolean;
  /** Everything belongs to them, instead of to whom the archive says. */
  owner: { uid: number; gid: number } | undefined;
}

/** Throws `invalid-argument` for an archive that cannot be read, and for what may not be overwritten. */
export async function unpackTree(options: UnpackOptions): Promise<void> {
  const reader = extract();
  const fed = feed(options.from, reader);
  try {
    for await (const entry of reader) await unpackEntry(options, entry);
    await fed;
  } catch (error) {
    reader.destroy();
    // What is still on its way must not hold the connection.
    options.from.resume();
    if (error instanceof EnxameError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    if (/tar header|Unexpected end/.test(why))
      throw new EnxameError('invalid-argument', `unexpected EOF: ${why}`, { cause: error });
    throw error;
  }
}

async function feed(from: Readable, reader: Extract): Promise<void> {
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      if (reader.destroyed) return;
      if (!reader.write(chunk)) await roomIn(reader);
    }
    reader.end(null);
  } catch (error) {
    reader.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

function roomIn(reader: Extract): Promise<void> {
  if (reader.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    reader.once('drain', () => resolve());
    reader.once('close', () => resolve());
  });
}

async function unpackEntry(options: UnpackOptions, entry: Entry): Promise<void> {
  const { header } = entry;
  const name = cleanName(header.name);
  const tree = new RootedTree(options.root);
  try {
    if (name !== '') await place(options, tree, name, entry);
  } finally {
    tree.close();
  }
  // What was not read is passed over, so that the next header comes.
  entry.resume();
}

/** Without `..`: an archive that climbs is an archive that lies. */
function cleanName(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..'))
    throw new EnxameError('invalid-argument', `invalid archive: ${JSON.stringify(name)} leads out of it`);
  return parts.join('/');
}

async function place(options: UnpackOptions, tree: RootedTree, name: string, entry: Entry): Promise<void> {
  const { header } = entry;
  const at = name.lastIndexOf('/');
  const parent = makeFolders(tree, options.into, at < 0 ? '' : name.slice(0, at), options);
  const own = name.slice(at + 1);
  const target: Located = { folder: parent, name: own, path: name };
  const existing = statOf(parent, own);
  const isFolder = header.type === 'directory';
  if (existing !== undefined) {
    const wasFolder = existing.isDirectory();
    if (options.noOverwriteDirNonDir && wasFolder !== isFolder) {
      throw new EnxameError(
        'invalid-argument',
        wasFolder
          ? `cannot overwrite directory "/${name}" with non-directory "${options.into}"`
          : `cannot overwrite non-directory "/${name}" with directory "${options.into}"`,
      );
    }
    if (!(wasFolder && isFolder)) removeTree(parent, own);
  }
  await make(options, tree, target, entry, existing?.isDirectory() === true && isFolder);
}

async function make(
  options: UnpackOptions,
  tree: RootedTree,
  { folder, name }: Located,
  entry: Entry,
  isThere: boolean,
): Promise<void> {
  const { header } = entry;
  const where = below(folder, name);
  switch (header.type) {
    case 'directory': {
      if (!isThere) mkdirSync(where, { mode: 0o700 });
      const opened = openFolder(folder, name);
      try {
        dress(opened, header, options);
      } finally {
        closeSync(opened);
      }
      return;
    }
    case 'symlink':
      symlinkSync(header.linkname ?? '', where);
      lchown(where, header, options);
      lutimesSync(where, new Date(), header.mtime ?? new Date());
      return;
    case 'link': {
      const source = tree.locate(`${options.into}/${cleanName(header.linkname ?? '')}`, { follow: false });
      if (source?.stats === undefined || source.name === '')
        throw new EnxameError('invalid-argument', `invalid archive: no ${header.linkname} to link to`);
      linkSync(below(source.folder, source.name), where);
      return;
    }
    case 'fifo':
    case 'character-device':
    case 'block-device':
      await makeNode(folder, name, header);
      lchown(where, header, options);
      return;
    case 'file':
    case 'contiguous-file':
    case undefined:
    case null:
      return makeFile(where, entry, options);
    default:
      return;
  }
}

async function makeFile(where: string, entry: Entry, options: UnpackOptions): Promise<void> {
  const opened = openSync(where, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const chunk of entry as AsyncIterable<Buffer>) {
      for (let done = 0; done < chunk.length; ) done += writeSync(opened, chunk, done);
    }
    dress(opened, entry.header, options);
  } finally {
    closeSync(opened);
  }
}

/** Owner before mode: a change of owner takes the setuid bit away. */
function dress(opened: number, header: Header, options: UnpackOptions): void {
  fchownSync(opened, options.owner?.uid ?? header.uid ?? 0, options.owner?.gid ?? header.gid ?? 0);
  fchmodSync(opened, (header.mode ?? 0o755) & 0o7777);
  const time = header.mtime ?? new Date();
  futimesSync(opened, time, time);
}

function lchown(where: string, header: Header, options: UnpackOptions): void {
  lchownSync(where, options.owner?.uid ?? header.uid ?? 0, options.owner?.gid ?? header.gid ?? 0);
}

/** Node cannot make one itself; the other program finds the folder through this one's descriptor. */
async function makeNode(folder: number, name: string, header: Header): Promise<void> {
  const kinds = { fifo: 'p', 'character-device': 'c', 'block-device': 'b' } as const;
  const kind = kinds[header.type as keyof typeof kinds];
  const numbers = kind === 'p' ? [] : [String(header.devmajor ?? 0), String(header.devminor ?? 0)];
  const mode = ((header.mode ?? 0o644) & 0o7777).toString(8);
  await run('mknod', ['-m', mode, `/proc/${process.pid}/fd/${folder}/${name}`, kind, ...numbers]);
}

/** The folder that holds an entry; what is missing on the way is made. */
function makeFolders(tree: RootedTree, into: string, path: string, options: UnpackOptions): number {
  let current = into;
  let found = tree.locate(into, { follow: true });
  for (const part of path.split('/').filter((name) => name !== '')) {
    const next = `${current}/${part}`;
    let inner = tree.locate(next, { follow: true });
    if (inner?.stats === undefined && found !== undefined) {
      mkdirSync(below(found.folder, part), { mode: 0o755 });
      if (options.owner !== undefined)
        lchownSync(below(found.folder, part), options.owner.uid, options.owner.gid);
      inner = tree.locate(next, { follow: true });
    }
    found = inner;
    current = next;
  }
  if (found?.stats?.isDirectory() !== true || found.name !== '') {
    throw new EnxameError('invalid-argument', `invalid archive: ${current} is not a folder`);
  }
  return found.folder;
}

function removeTree(folder: number, name: string): void {
  const stats = statOf(folder, name);
  if (stats === undefined) return;
  if (!stats.isDirectory()) return unlinkSync(below(folder, name));
  const inner = openFolder(folder, name);
  try {
    for (const child of readdirSync(below(inner, ''))) removeTree(inner, child);
  } finally {
    closeSync(inner);
  }
  rmdirSync(below(folder, name));
}
