/**
 * The write-ahead log: numbered segment files of frames. Everything here is synchronous and belongs in a thread of
 * its own. `append` returns when the batch is durable, or throws and has written nothing that a later `append`
 * or `openWal` would see.
 */
import { join } from 'node:path';
import type { HardState } from '../core/types.js';
import type { Disk, DiskFile } from './disk.js';
import { type FileCipher, fileCipher, newCipherHeader, type StorageKey } from './file-cipher.js';
import { encodeHeader, type FileOwner } from './file-header.js';
import { encodeFrame, frameChain } from './frame.js';
import { type LogEnd, readLog, type Segment, segmentFile, type VisitBatch } from './log-reader.js';
import type { PackedBatch } from './records.js';
import type { WalContent } from './wal-content.js';

export interface WalOptions {
  /** A new segment is begun once the current one is larger. */
  segmentBytesMax: number;
}

/** Room is set aside in steps, by writing zeros: within it a sync has no new length and no new block to record. */
const setAsideBytes = 256 * 1024;

export class Wal {
  private file: DiskFile;
  /** Where the file ends: what lies between `end.offset` and here is zeros. */
  private size: number;

  constructor(
    private readonly disk: Disk,
    private readonly dir: string,
    private readonly options: WalOptions,
    private owner: FileOwner,
    private readonly segments: Segment[],
    private hardState: HardState,
    private end: LogEnd,
  ) {
    this.file = disk.open(this.current().path, 'write');
    this.size = this.file.size();
  }

  /** One frame, one write, one sync, however many batches were joined into this one. */
  append(batch: PackedBatch): void {
    if (this.end.offset > this.options.segmentBytesMax || this.isOfOtherOwner()) this.beginSegment();
    const { offset, chain, cipher } = this.end;
    const frame = encodeFrame(cipher.seal(batch.payload, offset), chain);
    try {
      this.write(frame, offset);
      this.file.sync();
    } catch (error) {
      this.tryToCut(offset);
      throw error;
    }
    this.end = { offset: offset + frame.length, chain: frameChain(frame), cipher };
    const last = this.current();
    last.lastIndex = Math.max(last.lastIndex, batch.lastIndex);
    this.hardState = batch.hardState;
  }

  /** Removes whole segments whose every entry is at or before `index`. The segment being written stays. */
  release(index: number): void {
    let removed = false;
    while (this.segments.length > 1 && (this.segments[0]?.lastIndex ?? 0) <= index) {
      const segment = this.segments.shift() as Segment;
      this.disk.remove(segment.path);
      removed = true;
    }
    if (removed) this.disk.syncDirectory(this.dir);
  }

  /** The next batch is encrypted with the first of these. */
  useKeys(keys: readonly StorageKey[]): void {
    this.owner = { ...this.owner, keys };
  }

  keyIds(): string[] {
    return this.segments.flatMap(({ keyId }) => (keyId === undefined ? [] : [keyId]));
  }

  close(): void {
    this.file.close();
  }

  private write(frame: Buffer, offset: number): void {
    const end = offset + frame.length;
    if (end <= this.size) return this.file.write(frame, offset);
    const step = Math.min(setAsideBytes, this.options.segmentBytesMax);
    const size = Math.ceil(end / step) * step;
    try {
      this.file.write(Buffer.concat([frame], size - offset), offset);
      this.size = size;
    } catch (error) {
      // Room for the zeros is no condition.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      this.file.truncate(offset);
      this.size = offset;
      this.file.write(frame, offset);
      this.size = end;
    }
  }

  /** Part of a frame may be in the file. Should cutting it fail as well, opening will: the frame is not whole. */
  private tryToCut(offset: number): void {
    try {
      this.file.truncate(offset);
      this.size = offset;
    } catch {
      // The first error is the one to tell.
    }
  }

  private isOfOtherOwner(): boolean {
    const { keyId, clusterId } = this.current();
    return keyId !== this.owner.keys[0]?.id || clusterId !== this.owner.clusterId;
  }

  private beginSegment(): void {
    const created = createSegment(this.disk, this.dir, this.owner, {
      sequence: this.current().sequence + 1,
      chain: this.end.chain,
      hardState: this.hardState,
    });
    const file = this.disk.open(created.segment.path, 'write');
    this.file.close();
    this.file = file;
    this.size = created.end.offset;
    this.end = created.end;
    this.segments.push(created.segment);
  }

  private current(): Segment {
    const last = this.segments.at(-1);
    if (last === undefined) throw new Error('a log has at least one segment');
    return last;
  }
}

/** Reads the whole log, cuts an unfinished frame off its end, and is ready to go on. Otherwise as `readLog`. */
export function openWal(
  disk: Disk,
  dir: string,
  options: WalOptions & FileOwner,
  visit: VisitBatch,
): { wal: Wal; found: Omit<WalContent, 'entries'> } {
  disk.makeDirectory(dir);
  for (const name of disk.list(dir)) if (name.endsWith('.tmp')) disk.remove(join(dir, name));
  const { segments, hardState, snapshot, torn, end: foundEnd } = readLog(disk, dir, options, visit);
  let end = foundEnd;
  if (end === undefined) {
    const created = createSegment(disk, dir, options, { sequence: 1, chain: 0, hardState });
    segments.push(created.segment);
    end = created.end;
  }
  settle(disk, segments.at(-1), torn?.offset);
  disk.syncDirectory(dir);
  return {
    wal: new Wal(disk, dir, options, options, segments, hardState, end),
    found: {
      hardState,
      ...(snapshot === undefined ? {} : { snapshot }),
      ...(torn === undefined ? {} : { torn }),
    },
  };
}

/**
 * What was read may be known to the kernel alone: the process may have been killed between a write and its sync. From
 * now on it counts as durable, so it is made so, with the names of the segments.
 */
function settle(disk: Disk, last: Segment | undefined, cutAt: number | undefined): void {
  if (last === undefined) return;
  const file = disk.open(last.path, 'write');
  try {
    if (cutAt !== undefined) file.truncate(cutAt);
    file.sync();
  } finally {
    file.close();
  }
}

/** The file gets its name only when it is whole, so a segment without a header is damage, never a crash. */
function createSegment(
  disk: Disk,
  dir: string,
  owner: FileOwner,
  { sequence, chain, hardState }: { sequence: number; chain: number; hardState: HardState },
): { segment: Segment; end: LogEnd } {
  const path = join(dir, segmentFile(sequence));
  const temporary = `${path}.tmp`;
  const cipherHeader = newCipherHeader(owner.keys);
  const header = encodeHeader({ kind: 'segment', sequence, chain, hardState }, owner, cipherHeader);
  const cipher: FileCipher = fileCipher({
    header: cipherHeader,
    headerBytes: header.frame,
    keys: owner.keys,
    path,
  });
  const file = disk.open(temporary, 'create');
  try {
    file.write(header.frame, 0);
    file.sync();
  } finally {
    file.close();
  }
  disk.rename(temporary, path);
  disk.syncDirectory(dir);
  return {
    segment: { sequence, path, keyId: cipherHeader?.keyId, clusterId: owner.clusterId, lastIndex: 0 },
    end: { offset: header.frame.length, chain: header.chain, cipher },
  };
}
