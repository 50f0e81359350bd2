/**
 * Snapshots: `<index>-<term>.snapshot`, a chain of frames: a header, the state machine's chunks, an end with
 * their number and checksum. A file gets its name only when it is whole and durable, so one that does not check is damage.
 */
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import type { SnapshotMeta } from '../core/types.js';
import type { Disk, DiskFile } from './disk.js';
import { FileWindow } from './file-window.js';
import { cipherExtraBytes, type FileCipher, fileCipher, newCipherHeader } from './file-cipher.js';
import { damaged, encodeHeader, type FileOwner, openPayload, readHeader } from './file-header.js';
import { encodeFrame, frameChain, frameEndBytes, frameHeaderBytes, readFrame } from './frame.js';
import { ContentSum, encodedSumBytes } from './snapshot-content.js';
import type { StoredSnapshot } from './storage.js';

const fileName = /^([0-9]{16})-([0-9]+)\.snapshot$/;
/** Written and synced in steps of this size, so that the log never waits behind more than one of them. */
const stepBytes = 1024 * 1024;

/** Writes a snapshot beside the ones that are there; `finish` gives it its name. */
export class SnapshotFileWriter {
  private readonly temporary: string;
  private readonly file: DiskFile;
  private readonly cipher: FileCipher;
  private isOpen = true;
  private chain: number;
  private position = 0;
  private readonly sum = new ContentSum();
  private buffered: Buffer[] = [];
  private bufferedBytes = 0;

  /** `handle` tells apart two writers at work at once. */
  constructor(
    private readonly disk: Disk,
    private readonly dir: string,
    private readonly meta: SnapshotMeta,
    owner: FileOwner,
    handle: number,
  ) {
    this.temporary = `${this.path()}.${handle}.tmp`;
    const cipherHeader = newCipherHeader(owner.keys);
    const header = encodeHeader({ kind: 'snapshot', meta }, owner, cipherHeader);
    const { keys } = owner;
    this.cipher = fileCipher({ header: cipherHeader, headerBytes: header.frame, keys, path: this.temporary });
    this.chain = header.chain;
    this.buffer(header.frame);
    this.file = disk.open(this.temporary, 'create');
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
    this.addFrame(this.sum.encode());
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
    const frame = encodeFrame(this.cipher.seal(payload, this.position + this.bufferedBytes), this.chain);
    this.chain = frameChain(frame);
    this.buffer(frame);
  }

  private buffer(frame: Buffer): void {
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
  readonly keyId: string | undefined;
  private readonly file: FileWindow;
  private readonly cipher: FileCipher;
  /** Where the chunks begin. */
  private readonly first: { position: number; chain: number };
  private position: number;
  private chain: number;
  private readonly sum = new ContentSum();

  constructor(
    disk: Disk,
    private readonly path: string,
    owner: FileOwner,
  ) {
    this.file = FileWindow.open(disk, path);
    try {
      const header = readHeader(this.file, path, owner);
      const { fields } = header;
      if (!isSnapshotHeader(fields)) throw damaged(path, 0, 'this is not a snapshot');
      this.meta = fields.meta;
      this.keyId = header.keyId;
      this.cipher = header.cipher;
      this.position = header.end;
      this.chain = header.chain;
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
    const read = readFrame(this.file, at, this.chain);
    if (read.kind === 'damaged') throw damaged(this.path, at, read.reason);
    if (read.kind !== 'frame') throw damaged(this.path, at, 'the file ends too soon');
    const payload = openPayload(this.cipher, read.stored, this.path, at);
    if (read.end === this.file.size) {
      if (ContentSum.decode(payload)?.equals(this.sum) === true) return undefined;
      throw damaged(this.path, at, 'the end of the snapshot is missing');
    }
    this.position = read.end;
    this.chain = read.chain;
    this.sum.add(payload);
    return payload;
  }

  /** As the end of the file has it: what is read later is checked against it. */
  id(): string {
    const isEncrypted = this.keyId !== undefined;
    const endBytes = encodedSumBytes + (isEncrypted ? cipherExtraBytes : 0);
    const at = this.file.size - frameHeaderBytes - endBytes - frameEndBytes;
    if (at < this.first.position) throw damaged(this.path, this.file.size, 'the file ends too soon');
    const stored = this.file.bytes(at + frameHeaderBytes, endBytes);
    const sum = ContentSum.decode(openPayload(this.cipher, stored, this.path, at));
    if (sum === undefined) throw damaged(this.path, at, 'the end of the snapshot is missing');
    return sum.idFor(this.meta);
  }

  rewind(): void {
    ({ position: this.position, chain: this.chain } = this.first);
    this.sum.reset();
  }

  close(): void {
    this.file.close();
  }
}

/** The newest snapshot, its chunks read as they are taken, or undefined when there is none. */
export function newestSnapshot(disk: Disk, dir: string, owner: FileOwner): StoredSnapshot | undefined {
  const path = newestSnapshotPath(disk, dir);
  if (path === undefined) return undefined;
  const reader = new SnapshotFileReader(disk, path, owner);
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

export function newestMeta(disk: Disk, dir: string, owner: FileOwner): SnapshotMeta | undefined {
  const path = newestSnapshotPath(disk, dir);
  if (path === undefined) return undefined;
  const reader = new SnapshotFileReader(disk, path, owner);
  reader.close();
  return reader.meta;
}

/** Removes all but the newest snapshots. */
export function removeOldSnapshots(disk: Disk, dir: string, kept: number): void {
  const names = snapshotNames(disk, dir);
  for (const name of names.slice(0, Math.max(0, names.length - 1 - kept))) disk.remove(join(dir, name));
}

/** From the oldest to the newest. */
export function snapshotPaths(disk: Disk, dir: string): string[] {
  return snapshotNames(disk, dir).map((name) => join(dir, name));
}

/** Ids of the keys of all snapshots. */
export function snapshotKeyIds(disk: Disk, dir: string, owner: FileOwner): string[] {
  return snapshotPaths(disk, dir).flatMap((path) => {
    const reader = new SnapshotFileReader(disk, path, owner);
    reader.close();
    return reader.keyId === undefined ? [] : [reader.keyId];
  });
}

/** What an interrupted writer left. */
export function removeUnfinished(disk: Disk, dir: string): void {
  for (const name of disk.list(dir)) if (name.endsWith('.tmp')) disk.remove(join(dir, name));
}

function snapshotNames(disk: Disk, dir: string): string[] {
  return disk.list(dir).filter((name) => fileName.test(name));
}

function isSnapshotHeader<T extends Record<string, unknown>>(
  fields: T,
): fields is T & { meta: SnapshotMeta } {
  return fields.kind === 'snapshot' && typeof fields.meta === 'object';
}
