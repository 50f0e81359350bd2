/** The storage itself, synchronous: one request after the other over a disk. */
import { dirname, join } from 'node:path';
import { assertNever, describeError, EnxameError, type ErrorCode, isEnxameError } from '#libs/model';
import type { SnapshotMeta } from '../core/types.js';
import type { Disk } from './disk.js';
import type { FileOwner } from './file-header.js';
import { packBatch, type ReadBatch } from './records.js';
import {
  newestSnapshot,
  newestMeta,
  newestSnapshotPath,
  removeOldSnapshots,
  removeUnfinished,
  snapshotKeyIds,
  SnapshotFileReader,
  SnapshotFileWriter,
} from './snapshot-file.js';
import { joinSnapshot } from './snapshot-join.js';
import type { StorageOptions, StorageReply, StorageRequest, StoredSnapshot } from './storage.js';
import { openWal, type Wal } from './wal.js';
import { LogShape, type WalContent } from './wal-content.js';

/** What a log comes to beside its entries. */
export type Found = Omit<WalContent, 'entries'>;

export class DiskStorage {
  private readonly writers = new Map<number, SnapshotFileWriter>();
  private readonly readers = new Map<number, SnapshotFileReader>();

  private constructor(
    private readonly disk: Disk,
    private options: StorageOptions,
    private owner: FileOwner,
    private readonly wal: Wal,
  ) {}

  /** `visit` is called with each frame of the log that holds an entry after the newest snapshot, or a snapshot. */
  static open(
    disk: Disk,
    options: StorageOptions,
    visit: (batch: ReadBatch, payload: Buffer) => void,
  ): { storage: DiskStorage; found: Found } {
    const snapshots = snapshotFolder(options);
    disk.makeDirectory(snapshots);
    removeUnfinished(disk, snapshots);
    // A snapshot may have got its name just before the process was killed: the log must not go on after one that a
    // power cut takes back.
    disk.syncDirectory(snapshots);
    removeOldSnapshots(disk, snapshots, options.keptSnapshots);
    const owner = ownerOf(options);
    const newest = newestMeta(disk, snapshots, owner);
    const shape = new LogShape(newest?.index ?? 0);
    const { wal, found } = openWal(
      disk,
      join(options.dir, 'wal'),
      { ...options, ...owner },
      (batch, payload) => {
        if (shape.take(batch)) visit(batch, payload);
      },
    );
    const note = joinSnapshot(shape, found.hardState, newest);
    if (note !== undefined) {
      const packed = packBatch(note);
      wal.append(packed);
      visit({ snapshot: note.snapshot, entries: [] }, Buffer.from(packed.payload.buffer));
      Object.assign(found, { snapshot: note.snapshot, hardState: note.hardState });
    }
    // The folders themselves must outlive a power cut as well as what is in them.
    disk.syncDirectory(options.dir);
    disk.syncDirectory(dirname(options.dir));
    return { storage: new DiskStorage(disk, options, owner, wal), found };
  }

  handle(request: StorageRequest): StorageReply {
    try {
      return this.carryOut(request);
    } catch (error) {
      // After a failed sync the kernel may have dropped the very pages that were to be written: the log ends here.
      const isFatal = request.kind === 'append' || request.kind === 'release';
      return failure(this.options.dir, error, isFatal);
    }
  }

  private carryOut(request: StorageRequest): StorageReply {
    switch (request.kind) {
      case 'append':
        this.wal.append(request.batch);
        return done;
      case 'release':
        this.wal.release(request.index);
        return done;
      case 'adjust':
        this.options = { ...this.options, ...request.options };
        this.owner = ownerOf(this.options);
        this.wal.useKeys(this.owner.keys);
        return done;
      case 'key-ids': {
        const ids = [...this.wal.keyIds(), ...snapshotKeyIds(this.disk, this.snapshots(), this.owner)];
        return { kind: 'key-ids', ids: [...new Set(ids)] };
      }
      case 'snapshot-begin': {
        const { handle, meta } = request;
        const writer = new SnapshotFileWriter(this.disk, this.snapshots(), meta, this.owner, handle);
        this.writers.set(handle, writer);
        return done;
      }
      case 'snapshot-write':
        return { kind: 'wanted', number: this.write(request) };
      case 'snapshot-finish':
        this.writer(request.handle).finish(request.id);
        this.writers.delete(request.handle);
        removeOldSnapshots(this.disk, this.snapshots(), this.options.keptSnapshots);
        return done;
      case 'snapshot-abort':
        this.writers.get(request.handle)?.abort();
        this.writers.delete(request.handle);
        return done;
      case 'snapshot-open':
        return { kind: 'snapshot', snapshot: this.openReader(request.handle) };
      case 'snapshot-read':
        return { kind: 'chunk', chunk: this.read(request) };
      case 'snapshot-close':
        this.readers.get(request.handle)?.close();
        this.readers.delete(request.handle);
        return done;
      case 'close':
        for (const reader of this.readers.values()) reader.close();
        for (const writer of this.writers.values()) writer.abort();
        this.wal.close();
        return done;
      default:
        return assertNever(request, 'storage request');
    }
  }

  private write(request: Extract<StorageRequest, { kind: 'snapshot-write' }>): number {
    const writer = this.writer(request.handle);
    for (const [position, chunk] of request.chunks.entries()) {
      if (request.number + position === writer.chunkCount) writer.add(chunk);
    }
    return writer.chunkCount;
  }

  private openReader(handle: number): { meta: SnapshotMeta; id: string } | undefined {
    const path = newestSnapshotPath(this.disk, this.snapshots());
    if (path === undefined) return undefined;
    const reader = new SnapshotFileReader(this.disk, path, this.owner);
    this.readers.set(handle, reader);
    return { meta: reader.meta, id: reader.id() };
  }

  private read({ handle, number }: Extract<StorageRequest, { kind: 'snapshot-read' }>): Buffer | undefined {
    const reader = this.readers.get(handle);
    if (reader === undefined) throw new Error(`no snapshot is being read under number ${handle}`);
    if (number < reader.chunkCount) reader.rewind();
    while (reader.chunkCount < number) {
      if (reader.next() === undefined) {
        throw new EnxameError(
          'invalid-argument',
          `snapshot at ${reader.meta.index}: it has no chunk ${number}`,
        );
      }
    }
    return reader.next();
  }

  private writer(handle: number): SnapshotFileWriter {
    const writer = this.writers.get(handle);
    if (writer === undefined) throw new Error(`no snapshot is being written under number ${handle}`);
    return writer;
  }

  private snapshots(): string {
    return snapshotFolder(this.options);
  }
}

/** Reading alone, which needs no storage at work. */
export function readNewestSnapshot(disk: Disk, options: StorageOptions): StoredSnapshot | undefined {
  return newestSnapshot(disk, snapshotFolder(options), ownerOf(options));
}

function ownerOf({ clusterId, keys = [] }: StorageOptions): FileOwner {
  return { keys, ...(clusterId === undefined ? {} : { clusterId }) };
}

export function failure(
  dir: string,
  error: unknown,
  isFatal: boolean,
): Extract<StorageReply, { kind: 'failed' }> {
  const words = describeError(error);
  // The project's own errors name their file.
  const message = isEnxameError(error) ? words : `raft log ${dir}: ${words}`;
  return { kind: 'failed', code: codeOf(error), message, isFatal };
}

const done: StorageReply = { kind: 'done' };

function snapshotFolder({ dir }: StorageOptions): string {
  return join(dir, 'snapshots');
}

function codeOf(error: unknown): ErrorCode {
  if (isEnxameError(error)) return error.code;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'resource-exhausted' : 'internal';
}
