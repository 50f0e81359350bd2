/**
 * Blobs by their digest. A blob that has its name is whole: it is written under a temporary name, hashed on the way,
 * synced and renamed. The sync of what a registry has as well may come later: until then it is marked.
 */
import { EnxameError, type Digest } from '#libs/model';
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, mkdirSync, renameSync } from 'node:fs';
import { open, readFile, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { isDigest } from '../reference/reference.js';
import { diskError, syncFolder, temporaryName } from './disk.js';
import type { Settling } from './settling.js';

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
}

export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}

/** A blob on its way in. Ends by `commit` or `abort`; until then nobody else sees it. */
export class BlobWriter {
  private hash: Hash = createHash('sha256');
  private written = 0;

  constructor(
    private readonly file: FileHandle,
    private readonly temporary: string,
    private readonly publish: (
      temporary: string,
      blob: { digest: Digest; sizeBytes: number; durable: boolean },
    ) => Promise<void>,
  ) {}

  get sizeBytes(): number {
    return this.written;
  }

  /** Of what has been written so far. */
  get digest(): Digest {
    return `sha256:${this.hash.copy().digest('hex')}` as Digest;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.hash.update(chunk);
    let offset = 0;
    try {
      while (offset < chunk.length) {
        const { bytesWritten } = await this.file.write(
          chunk,
          offset,
          chunk.length - offset,
          this.written + offset,
        );
        offset += bytesWritten;
      }
    } catch (error) {
      throw diskError('cannot write an image blob', error);
    }
    this.written += chunk.length;
  }

  /** Begins again: what came so far turned out to be of no use. */
  async reset(): Promise<void> {
    this.hash = createHash('sha256');
    this.written = 0;
    await this.file.truncate(0);
  }

  /** `durable`: on the disk when this resolves; else a moment later, or not at all after a power cut. */
  async commit({ durable = true } = {}): Promise<Digest> {
    const digest = this.digest;
    try {
      if (durable) await this.file.sync();
      await this.file.close();
      await this.publish(this.temporary, { digest, sizeBytes: this.written, durable });
    } catch (error) {
      await rm(this.temporary, { force: true });
      throw diskError(`cannot store the blob ${digest}`, error);
    }
    return digest;
  }

  async abort(): Promise<void> {
    await this.file.close();
    await rm(this.temporary, { force: true });
  }
}

export class ContentStore {
  private readonly blobDir: string;
  private readonly markDir: string;
  private readonly sizes = new Map<Digest, number>();

  constructor(
    dir: string,
    private readonly temporaryDir: string,
    private readonly settling: Settling,
  ) {
    this.blobDir = join(dir, 'blobs', 'sha256');
    this.markDir = join(dir, 'blobs', 'unsynced');
  }

  /** Reads what is on the disk. */
  async start(): Promise<void> {
    for (const folder of [this.blobDir, this.markDir]) mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.markDir)) {
      const mark = join(this.markDir, name);
      if (this.settling.isOfThisRun(await readFile(mark, 'utf8'))) {
        this.settling.settle(mark);
      } else {
        await rm(join(this.blobDir, name), { force: true });
        await rm(mark, { force: true });
      }
    }
    for (const name of await readdir(this.blobDir)) {
      const digest = `sha256:${name}`;
      if (isDigest(digest)) this.sizes.set(digest, (await stat(join(this.blobDir, name))).size);
    }
  }

  private markOf(digest: Digest): string {
    return join(this.markDir, hexOf(digest));
  }

  path(digest: Digest): string {
    return join(this.blobDir, hexOf(digest));
  }

  sizeOf(digest: Digest): number | undefined {
    return this.sizes.get(digest);
  }

  has(digest: Digest): boolean {
    return this.sizes.has(digest);
  }

  digests(): Digest[] {
    return [...this.sizes.keys()];
  }

  async writer(): Promise<BlobWriter> {
    const temporary = join(this.temporaryDir, temporaryName());
    try {
      const file = await open(temporary, 'wx', 0o600);
      return new BlobWriter(file, temporary, async (from, { digest, sizeBytes, durable }) => {
        const mark = this.markOf(digest);
        // Before the blob has its name: there is no moment at which it could be taken for one that is on the disk.
        if (!durable) await this.settling.writeMark(mark);
        await rename(from, this.path(digest));
        if (durable) await syncFolder(this.blobDir);
        else this.settling.settle(mark);
        this.sizes.set(digest, sizeBytes);
      });
    } catch (error) {
      throw diskError('cannot write an image blob', error);
    }
  }

  async put(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if (this.has(digest)) return digest;
    const writer = await this.writer();
    try {
      await writer.write(bytes);
    } catch (error) {
      await writer.abort();
      throw error;
    }
    return writer.commit();
  }

  /** The bytes from `from` up to and without `end`. */
  stream(digest: Digest, from = 0, end = Infinity): Readable {
    return createReadStream(this.path(digest), { start: from, end: end - 1, highWaterMark: 256 * 1024 });
  }

  /** A small blob, checked against its digest. `data-damaged` when the disk has changed it. */
  async read(digest: Digest, bytesMax: number): Promise<Buffer> {
    const size = this.sizes.get(digest);
    if (size === undefined) throw new EnxameError('not-found', `the blob ${digest} is not stored`);
    if (size > bytesMax) {
      throw new EnxameError(
        'invalid-argument',
        `the blob ${digest} has ${size} bytes, at most ${bytesMax} are allowed`,
      );
    }
    const bytes = await readFile(this.path(digest));
    if (digestOf(bytes) !== digest) {
      throw new EnxameError('data-damaged', `the stored blob ${this.path(digest)} does not match its digest`);
    }
    return bytes;
  }

  async remove(digest: Digest): Promise<void> {
    this.sizes.delete(digest);
    // At once, not later: a download of the same blob that begins now must not find its result unlinked.
    const rubbish = join(this.temporaryDir, temporaryName());
    renameSync(this.path(digest), rubbish);
    await rm(rubbish, { force: true });
    this.settling.forget(this.markOf(digest));
    await rm(this.markOf(digest), { force: true });
  }
}
