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

/** What waits to be written while a write is under way; more than that makes the giver of bytes wait. */
const waitingBytesMax = 1024 * 1024;

/** A blob on its way in. Ends by `commit` or `abort`; until then nobody else sees it. */
export class BlobWriter {
  private readonly hash: Hash = createHash('sha256');
  private given = 0;
  private written = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private writing: Promise<void> | undefined;
  private failure: { error: unknown } | undefined;
  /** Told whenever the file has grown. */
  onGrowth: (() => void) | undefined;

  constructor(
    private readonly file: FileHandle,
    /** Where the file is until it has its name. */
    readonly temporary: string,
    private readonly publish: (
      temporary: string,
      blob: { digest: Digest; sizeBytes: number; durable: boolean },
    ) => Promise<void>,
  ) {}

  /** Of what has been given so far. */
  get sizeBytes(): number {
    return this.given;
  }

  /** Of what has been given so far. */
  get digest(): Digest {
    return `sha256:${this.hash.copy().digest('hex')}` as Digest;
  }

  /** The bytes are not the caller's any more: they are written with those that come meanwhile. */
  async write(chunk: Uint8Array): Promise<void> {
    this.check();
    this.hash.update(chunk);
    this.given += chunk.length;
    this.waiting.push(chunk);
    this.waitingBytes += chunk.length;
    this.writing ??= this.writeWaiting();
    while (this.waitingBytes > waitingBytesMax && this.writing !== undefined) await this.writing;
    this.check();
  }

  private check(): void {
    if (this.failure !== undefined) throw diskError('cannot write an image blob', this.failure.error);
  }

  private async writeWaiting(): Promise<void> {
    try {
      while (this.waiting.length > 0 && this.failure === undefined) {
        const batch = this.waiting;
        this.waiting = [];
        this.waitingBytes = 0;
        await this.writeBatch(batch);
        this.onGrowth?.();
      }
    } catch (error) {
      this.failure = { error };
    }
    this.writing = undefined;
  }

  private async writeBatch(batch: Uint8Array[]): Promise<void> {
    for (let rest = batch; rest.length > 0; ) {
      const { bytesWritten } = await this.file.writev(rest, this.written);
      this.written += bytesWritten;
      rest = withoutFirst(rest, bytesWritten);
    }
  }

  /** `durable`: on the disk when this resolves; else a moment later, or not at all after a power cut. */
  async commit({ durable = true } = {}): Promise<Digest> {
    const digest = this.digest;
    try {
      await this.writing;
      this.check();
      if (durable) await this.file.sync();
      await this.file.close();
      await this.publish(this.temporary, { digest, sizeBytes: this.written, durable });
    } catch (error) {
      await this.file.close().catch(() => undefined);
      await rm(this.temporary, { force: true });
      throw diskError(`cannot store the blob ${digest}`, error);
    }
    return digest;
  }

  async abort(): Promise<void> {
    this.waiting = [];
    await this.writing;
    await this.file.close();
    await rm(this.temporary, { force: true });
  }
}

function withoutFirst(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skipped = 0;
  return chunks.flatMap((chunk) => {
    const rest = chunk.subarray(Math.min(chunk.length, Math.max(0, bytes - skipped)));
    skipped += chunk.length;
    return rest.length > 0 ? [rest] : [];
  });
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
