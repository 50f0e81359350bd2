/**
 * Snapshots: `<index>-<term>.snapshot`, a chain of frames: a header, the state machine's chunks, an end that counts
 * them. A file gets its name only when it is whole and durable, so one that does not check is damage.
 */
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import type { SnapshotMeta } from '../core/types.js';
import type { Disk, DiskFile } from './disk.js';
import { FileWindow } from './file-window.js';
import { encodeFrame, frameChain, readFrame } from './frame.js';
import { ContentSum } from './snapshot-content.js';
import type { StoredSnapshot } from './storage.js';

const fileName = /^([0-9]{16})-([0-9]+)\.snapshot$/;
const format = 1;
/** Written and synced in steps of this size, so that the log never waits behind more than one of them. */
const stepBytes = 1024 * 1024;

/** Writes a snapshot beside the ones that are there; `finish` gives it its name. */
export class SnapshotFileWriter {
  private readonly temporary: string;
  private readonly file: DiskFile;
  private isOpen = true;
  private chain = 0;
  private position = 0;
  private readonly sum = new ContentSum();
  private buffered: Buffer[] = [];
  private bufferedBytes = 0;

  /** `handle` tells apart two writers at work at once. */
  constructor(
    private readonly disk: Disk,
    private readonly dir: string,
    private readonly meta: SnapshotMeta,
    handle: number,
  ) {
    this.temporary = `${this.path()}.${handle}.tmp`;
    this.file = disk.open(this.temporary, 'create');
    this.addFrame(Buffer.from(JSON.stringify({ format, meta }), 'utf8'));
  }

  get chunkCount(): number {
    return this.sum.chunkCount;
  }

  add(chunk: Uint8Array): void {
    this.addFrame(chunk);
    this.sum.add(chunk);
    if (this.bufferedBytes >= stepBytes) this.flush();
  }

  /** Refuses content that is not what `expectedId` names. */
  finish(expectedId: string | undefined): void {
    const id = this.sum.idFor(this.meta);
    if (expectedId !== undefined && id !== expectedId) {
      throw new EnxameError('data-damaged', `snapshot ${expectedId} was sent, ${id} came`);
    }
    this.addFrame(Buffer.from(JSON.stringify({ chunkCount: this.chunkCount }), 'utf8'));
    this.flush();
    this.close();
    this.disk.rename(this.temporary, this.path());
    this.disk.syncDirectory(this.dir);
  }

  abort(): void {
    this.close();
    this.disk.remove(this.temporary);
  }

  private close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.file.close();
  }

  private path(): string {
    return join(this.dir, `${String(this.meta.index).padStart(16, '0')}-${this.meta.term}.snapshot`);
  }

  private addFrame(payload: Uint8Array): void {
    const frame = encodeFrame([payload], this.chain);
    this.chain = frameChain(frame);
    this.buffered.push(frame);
    this.bufferedBytes += frame.length;
  }

  private flush(): void {
    const bytes = Buffer.concat(this.buffered);
    this.file.write(bytes, this.position);
    this.file.sync();
    this.position += bytes.length;
    this.buffered = [];
    this.bufferedBytes = 0;
  }
}

/** Reads one chunk after the other. What does not check is refused with `data-damaged`, file and offset. */
export class SnapshotFileReader {
  readonly meta: SnapshotMeta;
  private readonly file: FileWindow;
  /** Where the chunks begin. */
  private readonly first: { position: number; chain: number };
  private position = 0;
  private chain = 0;
  private readonly sum = new ContentSum();

  constructor(
    disk: Disk,
    private readonly path: string,
  ) {
    this.file = FileWindow.open(disk, path);
    try {
      const header = this.parse(0, this.nextFrame());
      if (!isHeader(header)) throw this.damaged(0, `this is not a snapshot of format ${format}`);
      this.meta = header.meta;
      this.first = { position: this.position, chain: this.chain };
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  /** The number of the next chunk. */
  get chunkCount(): number {
    return this.sum.chunkCount;
  }

  /** The next chunk; undefined, however often it is asked for, after the last one. */
  next(): Buffer | undefined {
    const at = this.position;
    const payload = this.nextFrame();
    if (this.position < this.file.size) {
      this.sum.add(payload);
      return payload;
    }
    const end = this.parse(at, payload);
    if (!isEnd(end) || end.chunkCount !== this.chunkCount) {
      throw this.damaged(at, 'the end of the snapshot is missing');
    }
    this.position = at;
    return undefined;
  }

  /** Reads everything once. */
  readId(): string {
    this.rewind();
    while (this.next() !== undefined);
    const id = this.sum.idFor(this.meta);
    this.rewind();
    return id;
  }

  rewind(): void {
    ({ position: this.position, chain: this.chain } = this.first);
    this.sum.reset();
  }

  close(): void {
    this.file.close();
  }

  private nextFrame(): Buffer {
    const read = readFrame(this.file, this.position, this.chain);
    if (read.kind === 'damaged') throw this.damaged(this.position, read.reason);
    if (read.kind !== 'frame') throw this.damaged(this.position, 'the file ends too soon');
    this.position = read.end;
    if (read.end < this.file.size) this.chain = read.chain;
    return read.payload;
  }

  private parse(offset: number, payload: Buffer): unknown {
    try {
      return JSON.parse(payload.toString('utf8'));
    } catch (cause) {
      throw this.damaged(offset, 'the frame is neither header nor end of a snapshot', cause);
    }
  }

  private damaged(offset: number, reason: string, cause?: unknown): EnxameError {
    return new EnxameError('data-damaged', `snapshot ${this.path} at offset ${offset}: ${reason}`, { cause });
  }
}

/** The newest snapshot, its chunks read as they are taken, or undefined when there is none. */
export function newestSnapshot(disk: Disk, dir: string): StoredSnapshot | undefined {
  const path = newestSnapshotPath(disk, dir);
  if (path === undefined) return undefined;
  const reader = new SnapshotFileReader(disk, path);
  return { meta: reader.meta, chunks: chunksOf(reader) };
}

function* chunksOf(reader: SnapshotFileReader): Generator<Uint8Array> {
  try {
    for (let chunk = reader.next(); chunk !== undefined; chunk = reader.next()) yield chunk;
  } finally {
    reader.close();
  }
}

export function newestSnapshotPath(disk: Disk, dir: string): string | undefined {
  const newest = snapshotNames(disk, dir).at(-1);
  return newest === undefined ? undefined : join(dir, newest);
}

/** Removes all but the newest snapshots. */
export function removeOldSnapshots(disk: Disk, dir: string, kept: number): void {
  const names = snapshotNames(disk, dir);
  for (const name of names.slice(0, Math.max(0, names.length - 1 - kept))) disk.remove(join(dir, name));
}

/** What an interrupted writer left. */
export function removeUnfinished(disk: Disk, dir: string): void {
  for (const name of disk.list(dir)) if (name.endsWith('.tmp')) disk.remove(join(dir, name));
}

function snapshotNames(disk: Disk, dir: string): string[] {
  return disk.list(dir).filter((name) => fileName.test(name));
}

function isHeader(value: unknown): value is { meta: SnapshotMeta } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    value.format === format &&
    'meta' in value
  );
}

function isEnd(value: unknown): value is { chunkCount: number } {
  return typeof value === 'object' && value !== null && 'chunkCount' in value;
}
