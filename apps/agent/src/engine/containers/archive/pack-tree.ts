/** Files of a container as a tar stream. */
import { closeSync, constants, readlinkSync, statfsSync, type Stats } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack, type Header, type Pack } from 'tar-stream';
import { below, errorCodeOf, openFolder, statOf, type Located } from './rooted-tree.js';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const chunkBytes = 64 * 1024;

export interface PackOptions {
  from: Located & { stats: Stats };
  /** What the first entry is called; those below a folder follow it. */
  as: string;
  /** The first entry is left out, when it is a folder. */
  withoutTop?: boolean;
  to: Writable;
  signal: AbortSignal;
}

type Entry = Partial<Header> & { name: string };
type Sink = ReturnType<Pack['entry']>;

/** Ends `to`. What vanishes meanwhile is left out; a file that shrinks is filled with zeros. */
export async function packTree(options: PackOptions): Promise<void> {
  const { from, as, to, signal } = options;
  const archive = pack();
  // A client that leaves destroys it with an error of its own, which `sent` tells as well.
  archive.on('error', () => undefined);
  const sent = pipeline(Readable.from(archive as AsyncIterable<Buffer>), to, { signal });
  // Its failure is told below; until then nobody waits for it.
  sent.catch(() => archive.destroy());
  const packer = new Packer(archive, signal);
  try {
    if (from.stats.isDirectory() && from.name === '') {
      if (options.withoutTop !== true) await packer.entry(from.folder, '', `${as}/`, from.stats);
      await packer.children(from.folder, options.withoutTop === true && as === '' ? '' : `${as}/`);
    } else {
      await packer.entry(from.folder, from.name, as, from.stats);
    }
    archive.finalize();
    await sent;
  } catch (error) {
    archive.destroy();
    if (!signal.aborted) throw error;
  }
}

class Packer {
  readonly #archive: Pack;
  readonly #signal: AbortSignal;
  /** First name of files that have more than one. */
  readonly #links = new Map<string, string>();

  constructor(archive: Pack, signal: AbortSignal) {
    this.#archive = archive;
    this.#signal = signal;
  }

  /** `prefix` goes before their names. */
  async children(folder: number, prefix: string): Promise<void> {
    const names = (await readdir(below(folder, ''))).sort();
    const parent = statOf(folder, '');
    for (const name of names) {
      if (this.#signal.aborted) return;
      const stats = statOf(folder, name);
      if (stats === undefined) continue;
      const shown = `${prefix}${name}`;
      if (!stats.isDirectory()) {
        await this.entry(folder, name, shown, stats);
        continue;
      }
      const inner = tryOpen(folder, name);
      if (inner === undefined) continue;
      try {
        await this.entry(folder, name, `${shown}/`, stats);
        if (!isOfTheKernel(inner, stats, parent)) await this.children(inner, `${shown}/`);
      } finally {
        closeSync(inner);
      }
    }
  }

  async entry(folder: number, name: string, as: string, stats: Stats): Promise<void> {
    const header: Entry = {
      name: as,
      mode: stats.mode & 0o7777,
      uid: stats.uid,
      gid: stats.gid,
      mtime: new Date(Math.floor(stats.mtimeMs)),
    };
    if (stats.isDirectory()) return this.#plain({ ...header, type: 'directory' });
    if (stats.isSymbolicLink()) {
      return this.#plain({ ...header, type: 'symlink', linkname: readlinkSync(below(folder, name)) });
    }
    if (stats.isCharacterDevice() || stats.isBlockDevice()) {
      const type = stats.isBlockDevice() ? 'block-device' : 'character-device';
      const number = BigInt(stats.rdev);
      return this.#plain({
        ...header,
        type,
        devmajor: Number((number >> 8n) & 0xfffn),
        devminor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
      });
    }
    if (stats.isFIFO()) return this.#plain({ ...header, type: 'fifo' });
    // A socket is nothing without its process.
    if (!stats.isFile()) return;
    const key = `${stats.dev}:${stats.ino}`;
    const first = stats.nlink > 1 ? this.#links.get(key) : undefined;
    if (first !== undefined) return this.#plain({ ...header, type: 'link', linkname: first });
    if (stats.nlink > 1) this.#links.set(key, as);
    await this.#file(folder, name, { ...header, type: 'file', size: stats.size });
  }

  #plain(header: Entry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#archive.entry(header, (error) => (error ? reject(error) : resolve()));
    });
  }

  async #file(folder: number, name: string, header: Entry): Promise<void> {
    let handle;
    try {
      handle = await open(below(folder, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      if (['ENOENT', 'ELOOP', 'ENXIO'].includes(errorCodeOf(error))) return;
      throw error;
    }
    try {
      const size = header.size ?? 0;
      const entry = this.#archive.entry(header);
      const ended = new Promise<void>((resolve, reject) => {
        entry.once('finish', () => resolve());
        entry.once('close', () => resolve());
        entry.once('error', reject);
      });
      // It may fail while a chunk is waited for; whoever gets to its end is told then.
      ended.catch(() => undefined);
      for (let position = 0; position < size; ) {
        if (this.#signal.aborted) return;
        const length = Math.min(chunkBytes, size - position);
        const chunk = Buffer.alloc(length);
        const { bytesRead } = await handle.read(chunk, 0, length, position);
        // What was cut off meanwhile reads as zeros: the header has promised its length.
        const part = bytesRead === 0 ? chunk : chunk.subarray(0, bytesRead);
        position += part.length;
        if (!entry.write(part)) await drained(entry);
      }
      entry.end(null);
      await ended;
    } finally {
      await handle.close();
    }
  }
}

/** proc, sysfs, cgroup, cgroup2, devpts, mqueue and tmpfs: what a mount shows there is no file of the container. */
const kernelFileSystems = new Set([0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x1cd1, 0x19800202, 0x01021994]);

function isOfTheKernel(folder: number, stats: Stats, parent: Stats | undefined): boolean {
  if (parent?.dev === stats.dev) return false;
  return kernelFileSystems.has(statfsSync(below(folder, '')).type);
}

function drained(stream: Sink): Promise<void> {
  if (stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('drain', () => resolve());
    stream.once('close', () => resolve());
  });
}

function tryOpen(folder: number, name: string): number | undefined {
  try {
    return openFolder(folder, name);
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'ENOTDIR'].includes(errorCodeOf(error))) return undefined;
    throw error;
  }
}
