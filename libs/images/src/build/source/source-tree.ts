/**
 * Where COPY and ADD take from: a build context, a part of another image, an archive. It is known by an index of what
 * came in a tar stream; nothing is unpacked, so there is no path on the disk that a hostile archive could lead astray.
 */
import { EnxameError } from '#libs/model';
import { createHash } from 'node:crypto';
import { matchesPattern } from './file-pattern.js';
import { readArchive, type ArchiveMember } from '../../archive/tar-reader.js';
import { ByteArea } from './byte-area.js';
import { foldersAbove, insidePath, parentOf } from './path-walk.js';

const membersMax = 4_000_000;
const linksMax = 40;

export interface SourceEntry {
  /** `src/main.c`; empty for the root. */
  path: string;
  type: 'file' | 'folder' | 'symlink' | 'character' | 'block' | 'fifo';
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  link: string;
  device: { major: number; minor: number };
  xattrs: ReadonlyMap<string, Buffer>;
  sizeBytes: number;
  offset: number;
  /** SHA-256 of a file's content. */
  contentHash: string;
}

const rootEntry: SourceEntry = {
  path: '',
  type: 'folder',
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  link: '',
  device: { major: 0, minor: 0 },
  xattrs: new Map(),
  sizeBytes: 0,
  offset: 0,
  contentHash: '',
};

export class SourceTree {
  private readonly entries = new Map<string, SourceEntry>([['', rootEntry]]);
  private readonly names = new Map<string, Set<string>>();

  private constructor(private readonly area: ByteArea) {}

  /**
   * Reads a plain tar stream. `scratchFile` is where its files' content goes when it is much; it must not exist, and
   * is to be removed after `close`. Throws `invalid-argument` when an entry leaves the tree.
   */
  static async read(tar: AsyncIterable<Buffer>, scratchFile: string): Promise<SourceTree> {
    const tree = new SourceTree(new ByteArea(scratchFile));
    try {
      for await (const member of readArchive(tar, membersMax)) await tree.take(member);
      await tree.area.finish();
    } catch (error) {
      await tree.close();
      throw error;
    }
    return tree;
  }

  private async take(member: ArchiveMember): Promise<void> {
    const path = insidePath(member.name);
    if (path === undefined) {
      throw new EnxameError('invalid-argument', `invalid archive: "${member.name}" leaves its folder`);
    }
    const { type } = member;
    // A pax comment, a volume label: nothing that could be copied.
    if (type === 'other' || path === '') return;
    if (type === 'link') {
      const target = insidePath(member.link);
      const found = target === undefined ? undefined : this.entries.get(target);
      if (found === undefined || found.type === 'folder') {
        throw new EnxameError(
          'invalid-argument',
          `invalid archive: the link "${member.name}" names no file in it`,
        );
      }
      this.put({ ...found, path });
      return;
    }
    const offset = this.area.sizeBytes;
    const hash = createHash('sha256');
    for await (const chunk of member.content) {
      hash.update(chunk);
      await this.area.append(chunk);
    }
    const { mode, uid, gid, mtimeSeconds, link, device, xattrs, sizeBytes } = member;
    const contentHash = type === 'file' ? hash.digest('hex') : '';
    this.put({
      path,
      type,
      mode,
      uid,
      gid,
      mtimeSeconds,
      link,
      device,
      xattrs,
      sizeBytes,
      offset,
      contentHash,
    });
  }

  private put(entry: SourceEntry): void {
    for (const folder of foldersAbove(entry.path)) {
      if (this.entries.get(folder)?.type === 'folder') continue;
      // A later entry wins over an earlier one of the same name.
      this.remove(folder);
      this.insert({ ...rootEntry, path: folder });
    }
    const before = this.entries.get(entry.path);
    if (before !== undefined && (before.type !== 'folder' || entry.type !== 'folder'))
      this.remove(entry.path);
    this.insert(entry);
  }

  private insert(entry: SourceEntry): void {
    this.entries.set(entry.path, entry);
    const parent = parentOf(entry.path);
    const siblings = this.names.get(parent);
    if (siblings === undefined) this.names.set(parent, new Set([entry.path]));
    else siblings.add(entry.path);
  }

  /** With all that is below it. */
  remove(path: string): void {
    const going = [path];
    for (let next = going.pop(); next !== undefined; next = going.pop()) {
      going.push(...(this.names.get(next) ?? []));
      this.names.delete(next);
      this.entries.delete(next);
      this.names.get(parentOf(next))?.delete(next);
    }
  }

  get(path: string): SourceEntry | undefined {
    return this.entries.get(path);
  }

  get isEmpty(): boolean {
    return this.entries.size === 1;
  }

  children(path: string): SourceEntry[] {
    return [...(this.names.get(path) ?? [])].sort().flatMap((name) => this.entries.get(name) ?? []);
  }

  /** An entry and all below it, parents first. */
  *walk(path: string): Generator<SourceEntry> {
    const entry = this.entries.get(path);
    if (entry === undefined) return;
    const coming = [entry];
    for (let next = coming.pop(); next !== undefined; next = coming.pop()) {
      yield next;
      if (next.type === 'folder') coming.push(...this.children(next.path).toReversed());
    }
  }

  /** Follows links, none of which leads out of the tree. Undefined when nothing is there. */
  resolve(path: string): SourceEntry | undefined {
    const rest = path.split('/');
    let at = '';
    let links = 0;
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        at = parentOf(at);
        continue;
      }
      const next = at === '' ? name : `${at}/${name}`;
      const entry = this.entries.get(next);
      if (entry === undefined) return undefined;
      if (entry.type !== 'symlink') {
        if (entry.type !== 'folder' && rest.some((part) => part !== '' && part !== '.')) return undefined;
        at = next;
        continue;
      }
      if (++links > linksMax) {
        throw new EnxameError('invalid-argument', `"${path}" leads in circles`);
      }
      if (entry.link.startsWith('/')) at = '';
      rest.unshift(...entry.link.split('/'));
    }
    return this.entries.get(at);
  }

  /** Paths that a pattern with wildcards fits, in order. */
  match(pattern: string): string[] {
    return [...this.entries.keys()].filter((path) => path !== '' && matchesPattern(pattern, path)).sort();
  }

  /** Of what a copy of the path brings along: names, kinds, modes, attributes and contents, but no times or owners. */
  hashOf(path: string): string {
    const hash = createHash('sha256');
    const root = this.entries.get(path);
    for (const entry of this.walk(path)) {
      const { type, mode, link, device, contentHash, xattrs } = entry;
      const name = entry === root ? '' : entry.path.slice(path === '' ? 0 : path.length + 1);
      const attributes = [...xattrs].map(([key, value]) => [key, value.toString('base64')]).sort();
      hash.update(JSON.stringify([name, type, mode, link, device, contentHash, attributes]));
    }
    return hash.digest('hex');
  }

  /** A file's content. */
  content({ offset, sizeBytes }: SourceEntry): AsyncGenerator<Buffer> {
    return this.area.read(offset, sizeBytes);
  }

  close(): Promise<void> {
    return this.area.close();
  }
}
