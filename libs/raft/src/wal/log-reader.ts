/** Reads a log from its first segment to its last, one window of a file at a time, and changes nothing. */
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import type { HardState, SnapshotMeta } from '../core/types.js';
import type { Disk } from './disk.js';
import type { FileCipher } from './file-cipher.js';
import { damaged, type FileOwner, openPayload, readHeader } from './file-header.js';
import { FileWindow } from './file-window.js';
import { readFrame } from './frame.js';
import { decodeBatch, type ReadBatch } from './records.js';
import type { WalContent } from './wal-content.js';

export interface Segment {
  sequence: number;
  path: string;
  keyId: string | undefined;
  clusterId: string | undefined;
  /** Highest index of an entry in this segment; 0 when it has none. */
  lastIndex: number;
}

/** Where the log ends and how it goes on. */
export interface LogEnd {
  offset: number;
  chain: number;
  cipher: FileCipher;
}

export interface LogRead {
  segments: Segment[];
  hardState: HardState;
  snapshot?: SnapshotMeta;
  end: LogEnd | undefined;
  torn: WalContent['torn'];
}

/** One frame's records, and the payload that holds them. */
export type VisitBatch = (batch: ReadBatch, payload: Buffer, segment: Segment) => void;

const segmentName = /^([0-9]{12})\.wal$/;

export function segmentFile(sequence: number): string {
  return `${String(sequence).padStart(12, '0')}.wal`;
}

/**
 * An unfinished frame at the very end is reported; any other mismatch is refused with `data-damaged`, which names file
 * and offset. `visit` may throw a RangeError, which is refused the same way.
 */
export function readLog(disk: Disk, dir: string, owner: FileOwner, visit: VisitBatch): LogRead {
  const names = disk.list(dir).filter((name) => segmentName.test(name));
  const log: LogRead = { segments: [], hardState: { term: 0, commit: 0 }, end: undefined, torn: undefined };
  for (const [position, name] of names.entries()) {
    const sequence = Number(segmentName.exec(name)?.[1]);
    const previous = log.segments.at(-1);
    if (previous !== undefined && sequence !== previous.sequence + 1) {
      throw new EnxameError(
        'data-damaged',
        `${dir}: segment ${previous.sequence + 1} is missing, ${name} follows ${previous.sequence}`,
      );
    }
    const place = { path: join(dir, name), sequence, isLast: position === names.length - 1 };
    const file = FileWindow.open(disk, place.path);
    try {
      readSegment(file, place, { log, owner, visit });
    } finally {
      file.close();
    }
  }
  return log;
}

interface Place {
  path: string;
  sequence: number;
  isLast: boolean;
}

function readSegment(
  file: FileWindow,
  { path, sequence, isLast }: Place,
  { log, owner, visit }: { log: LogRead; owner: FileOwner; visit: VisitBatch },
): void {
  const header = readHeader(file, path, owner);
  const { fields, cipher, keyId } = header;
  if (!isSegmentHeader(fields) || fields.sequence !== sequence) {
    throw damaged(path, 0, `this is not segment ${sequence}`);
  }
  const previous = log.segments.at(-1);
  if (log.end !== undefined && fields.chain !== log.end.chain) {
    throw damaged(path, 0, 'the segment does not continue the one before it');
  }
  if (keyId === undefined && previous?.keyId !== undefined) {
    throw damaged(path, 0, 'a segment without encryption follows one that is encrypted');
  }
  const segment: Segment = { sequence, path, keyId, clusterId: fields.clusterId, lastIndex: 0 };
  log.segments.push(segment);
  log.hardState = fields.hardState;
  let { chain, end: offset } = header;
  for (;;) {
    const read = readFrame(file, offset, chain);
    if (read.kind === 'end') break;
    if (read.kind === 'damaged') throw damaged(path, offset, read.reason);
    if (read.kind === 'torn') {
      if (!isLast) throw damaged(path, offset, 'the segment ends in the middle of a frame');
      log.torn = { file: path, offset, bytes: file.size - offset };
      break;
    }
    const payload = openPayload(cipher, read.stored, path, offset);
    try {
      const batch = decodeBatch(payload);
      if (batch.hardState !== undefined) log.hardState = batch.hardState;
      if (batch.snapshot !== undefined) log.snapshot = batch.snapshot;
      segment.lastIndex = Math.max(segment.lastIndex, batch.entries.at(-1)?.index ?? 0);
      visit(batch, payload, segment);
    } catch (cause) {
      if (!(cause instanceof RangeError || cause instanceof SyntaxError)) throw cause;
      throw damaged(path, offset, `the frame holds no valid records (${cause.message})`, cause);
    }
    chain = read.chain;
    offset = read.end;
  }
  log.end = { offset, chain, cipher };
}

interface SegmentFields {
  sequence: number;
  /** Of the last frame in the segment before. */
  chain: number;
  /** Goes along, so that older segments can be removed before this one holds a frame. */
  hardState: HardState;
}

function isSegmentHeader<T extends Record<string, unknown>>(fields: T): fields is T & SegmentFields {
  const { kind, sequence, chain, hardState } = fields;
  return (
    kind === 'segment' &&
    typeof sequence === 'number' &&
    typeof chain === 'number' &&
    typeof hardState === 'object'
  );
}
