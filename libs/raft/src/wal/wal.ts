/**
 * The write-ahead log: numbered segment files of frames. Everything here is synchronous and belongs in a thread of
 * its own. `append` returns when the batch is durable, or throws and has written nothing that a later `append`
 * or `openWal` would see.
 */
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import type { Entry, HardState, SnapshotMeta } from '../core/types.js';
import type { Disk, DiskFile } from './disk.js';
import { FileWindow } from './file-window.js';
import { encodeFrame, frameChain, readFrame } from './frame.js';
import { decodeBatch, type PackedBatch } from './records.js';

export interface WalOptions {
  /** A new segment is begun once the current one is larger. */
  segmentBytesMax: number;
}

export interface WalContent {
  hardState: HardState;
  /** Set when the log begins after a snapshot that a leader sent. */
  snapshot?: SnapshotMeta;
  entries: Entry[];
  /** Set when an unfinished write was cut off the end. Nothing of it had been acknowledged. */
  torn?: { file: string; offset: number; bytes: number };
}

interface Segment {
  sequence: number;
  path: string;
  /** Highest index of an entry in this segment; 0 when it has none. */
  lastIndex: number;
}

const segmentName = /^([0-9]{12})\.wal$/;
const segmentFormat = 1;

export class Wal {
  private file: DiskFile;
  private offset: number;

  constructor(
    private readonly disk: Disk,
    private readonly dir: string,
    private readonly options: WalOptions,
    private readonly segments: Segment[],
    private chain: number,
    private hardState: HardState,
  ) {
    this.file = disk.open(this.current().path, 'write');
    this.offset = this.file.size();
  }

  /** One frame, one write, one fdatasync, however many batches were joined into this one. */
  append(batch: PackedBatch): void {
    if (this.offset > this.options.segmentBytesMax) this.beginSegment();
    const frame = encodeFrame([batch.payload], this.chain);
    try {
      this.file.write(frame, this.offset);
      this.file.sync();
    } catch (error) {
      // Part of the frame may be in the file. Should cutting it fail as well, opening will: the frame is short.
      this.file.truncate(this.offset);
      throw error;
    }
    this.chain = frameChain(frame);
    this.offset += frame.length;
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

  close(): void {
    this.file.close();
  }

  private beginSegment(): void {
    const sequence = this.current().sequence + 1;
    const created = createSegment(this.disk, this.dir, {
      sequence,
      chain: this.chain,
      hardState: this.hardState,
    });
    const file = this.disk.open(created.segment.path, 'write');
    this.file.close();
    this.file = file;
    this.offset = created.bytes;
    this.chain = created.chain;
    this.segments.push(created.segment);
  }

  private current(): Segment {
    const last = this.segments.at(-1);
    if (last === undefined) throw new Error('a log has at least one segment');
    return last;
  }
}

/**
 * Reads the whole log. An unfinished frame at the very end is cut off and reported; any other mismatch is refused
 * with `data-damaged`, which names file and offset, and nothing is changed on disk.
 */
export function openWal(disk: Disk, dir: string, options: WalOptions): { wal: Wal; content: WalContent } {
  disk.makeDirectory(dir);
  for (const name of disk.list(dir)) if (name.endsWith('.tmp')) disk.remove(join(dir, name));
  const names = disk.list(dir).filter((name) => segmentName.test(name));
  const content: WalContent = { hardState: { term: 0, commit: 0 }, entries: [] };
  if (names.length === 0) {
    const created = createSegment(disk, dir, { sequence: 1, chain: 0, hardState: content.hardState });
    return { wal: new Wal(disk, dir, options, [created.segment], created.chain, content.hardState), content };
  }
  const segments: Segment[] = [];
  let chain: number | undefined;
  for (const [position, name] of names.entries()) {
    const isLast = position === names.length - 1;
    const sequence = Number(segmentName.exec(name)?.[1]);
    const previous = segments.at(-1);
    if (previous !== undefined && sequence !== previous.sequence + 1) {
      throw new EnxameError(
        'data-damaged',
        `raft log ${dir}: segment ${previous.sequence + 1} is missing, ${name} follows ${previous.sequence}`,
      );
    }
    const read = readSegment(disk, join(dir, name), { sequence, isLast, chainBefore: chain }, content);
    segments.push(read.segment);
    chain = read.chain;
  }
  if (content.torn !== undefined) cutTail(disk, content.torn.file, content.torn.offset);
  return { wal: new Wal(disk, dir, options, segments, chain ?? 0, content.hardState), content };
}

function readSegment(
  disk: Disk,
  path: string,
  expected: { sequence: number; isLast: boolean; chainBefore: number | undefined },
  content: WalContent,
): { segment: Segment; chain: number } {
  const file = FileWindow.open(disk, path);
  try {
    const first = readSegmentHeader(file, path, expected);
    content.hardState = first.hardState;
    const segment: Segment = { sequence: expected.sequence, path, lastIndex: 0 };
    let { chain, end: offset } = first;
    for (;;) {
      const read = readFrame(file, offset, chain);
      if (read.kind === 'end') break;
      if (read.kind === 'damaged') throw damaged(path, offset, read.reason);
      if (read.kind === 'torn') {
        if (!expected.isLast) throw damaged(path, offset, 'the segment ends in the middle of a frame');
        content.torn = { file: path, offset, bytes: file.size - offset };
        break;
      }
      const batch = parse(path, offset, () => decodeBatch(read.payload));
      merge(content, batch, (reason) => damaged(path, offset, reason));
      segment.lastIndex = Math.max(segment.lastIndex, batch.entries.at(-1)?.index ?? 0);
      chain = read.chain;
      offset = read.end;
    }
    return { segment, chain };
  } finally {
    file.close();
  }
}

/** A segment's first frame says which chain it goes on from; it was durable before the file had its name. */
function readSegmentHeader(
  file: FileWindow,
  path: string,
  expected: { sequence: number; chainBefore: number | undefined },
): { hardState: HardState; chain: number; end: number } {
  const first = readFrame(file, 0, 0);
  if (first.kind !== 'frame') throw damaged(path, 0, 'the segment header is not whole');
  const header = parse(path, 0, () => JSON.parse(first.payload.toString('utf8')) as unknown);
  if (!isSegmentHeader(header, expected.sequence)) {
    throw damaged(path, 0, `this is not segment ${expected.sequence} of format ${segmentFormat}`);
  }
  if (expected.chainBefore !== undefined && header.chain !== expected.chainBefore) {
    throw damaged(path, 0, 'the segment does not continue the one before it');
  }
  return { hardState: header.hardState, chain: first.chain, end: first.end };
}

function merge(
  content: WalContent,
  batch: ReturnType<typeof decodeBatch>,
  fail: (reason: string) => EnxameError,
): void {
  if (batch.hardState !== undefined) content.hardState = batch.hardState;
  if (batch.snapshot !== undefined) {
    content.snapshot = batch.snapshot;
    content.entries = [];
  }
  for (const entry of batch.entries) {
    const firstIndex = content.entries[0]?.index;
    if (firstIndex === undefined || entry.index < firstIndex) {
      content.entries = [entry];
      continue;
    }
    const position = entry.index - firstIndex;
    if (position > content.entries.length) throw fail(`entry ${entry.index} follows a gap`);
    // A new leader's entry replaces the old one and all after it.
    content.entries.length = position;
    content.entries.push(entry);
  }
}

function cutTail(disk: Disk, path: string, offset: number): void {
  const file = disk.open(path, 'write');
  try {
    file.truncate(offset);
    file.sync();
  } finally {
    file.close();
  }
}

/** The file gets its name only when it is whole, so a segment without a header is damage, never a crash. */
function createSegment(
  disk: Disk,
  dir: string,
  { sequence, chain, hardState }: { sequence: number; chain: number; hardState: HardState },
): { segment: Segment; chain: number; bytes: number } {
  const path = join(dir, `${String(sequence).padStart(12, '0')}.wal`);
  const temporary = `${path}.tmp`;
  // The hard state goes along, so that older segments can be removed before this one holds a frame.
  const header = { format: segmentFormat, sequence, chain, hardState };
  const frame = encodeFrame([Buffer.from(JSON.stringify(header), 'utf8')], 0);
  const file = disk.open(temporary, 'create');
  try {
    file.write(frame, 0);
    file.sync();
  } finally {
    file.close();
  }
  disk.rename(temporary, path);
  disk.syncDirectory(dir);
  return { segment: { sequence, path, lastIndex: 0 }, chain: frameChain(frame), bytes: frame.length };
}

function isSegmentHeader(value: unknown, sequence: number): value is { chain: number; hardState: HardState } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    value.format === segmentFormat &&
    'sequence' in value &&
    value.sequence === sequence &&
    'chain' in value &&
    typeof value.chain === 'number' &&
    'hardState' in value
  );
}

function parse<T>(path: string, offset: number, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw damaged(path, offset, 'the frame holds no valid records', cause);
  }
}

function damaged(path: string, offset: number, reason: string, cause?: unknown): EnxameError {
  return new EnxameError('data-damaged', `raft log ${path} at offset ${offset}: ${reason}`, { cause });
}
