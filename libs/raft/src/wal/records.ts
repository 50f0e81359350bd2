/** What is inside a frame: the hard state, then entries, or the snapshot that the log begins after. */
import type { Entry, HardState, SnapshotMeta } from '../core/types.js';

export interface WalBatch {
  hardState: HardState;
  entries: readonly Entry[];
  /** The log up to here is gone; `entries` follow the snapshot. */
  snapshot?: SnapshotMeta;
}

const recordKind = { hardState: 1, entry: 2, snapshot: 3 } as const;
const entryKinds = ['noop', 'data', 'membership'] as const satisfies readonly Entry['kind'][];
/** kind u8, entry kind u8, index u48, term u48, data length u32. */
const entryHeaderBytes = 18;

/** The parts of the payload, entry data not copied. */
function encodeBatch(batch: WalBatch): Uint8Array[] {
  const parts: Uint8Array[] = [];
  if (batch.snapshot !== undefined) parts.push(encodeJson(recordKind.snapshot, batch.snapshot));
  parts.push(encodeJson(recordKind.hardState, batch.hardState));
  for (const entry of batch.entries) {
    const header = Buffer.allocUnsafe(entryHeaderBytes);
    header.writeUInt8(recordKind.entry, 0);
    header.writeUInt8(entryKinds.indexOf(entry.kind), 1);
    header.writeUIntLE(entry.index, 2, 6);
    header.writeUIntLE(entry.term, 8, 6);
    header.writeUInt32LE(entry.data.length, 14);
    parts.push(header, entry.data);
  }
  return parts;
}

/** A batch ready for the log's thread: one buffer that can be handed over without a copy. */
export interface PackedBatch {
  payload: Uint8Array<ArrayBuffer>;
  /** Index of the last entry; 0 when there is none. */
  lastIndex: number;
  hardState: HardState;
}

export function packBatch(batch: WalBatch): PackedBatch {
  const parts = encodeBatch(batch);
  const payload = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    payload.set(part, at);
    at += part.length;
  }
  return { payload, lastIndex: batch.entries.at(-1)?.index ?? 0, hardState: batch.hardState };
}

/** What was found in a frame. */
export interface ReadBatch {
  hardState?: HardState;
  snapshot?: SnapshotMeta;
  entries: Entry[];
}

/** Throws RangeError or SyntaxError on bytes that no writer made; the caller knows which file they are in. */
export function decodeBatch(payload: Buffer): ReadBatch {
  const batch: ReadBatch = { entries: [] };
  let at = 0;
  while (at < payload.length) {
    const kind = payload.readUInt8(at);
    if (kind === recordKind.entry) {
      const entryKind = entryKinds[payload.readUInt8(at + 1)];
      if (entryKind === undefined) throw new RangeError(`unknown kind of entry at ${at}`);
      const dataBytes = payload.readUInt32LE(at + 14);
      const end = at + entryHeaderBytes + dataBytes;
      if (end > payload.length) throw new RangeError(`entry at ${at} is longer than its frame`);
      batch.entries.push({
        kind: entryKind,
        index: payload.readUIntLE(at + 2, 6),
        term: payload.readUIntLE(at + 8, 6),
        // No copy: a frame's entries come and go together.
        data: payload.subarray(at + entryHeaderBytes, end),
      });
      at = end;
    } else if (kind === recordKind.hardState || kind === recordKind.snapshot) {
      const end = at + 5 + payload.readUInt32LE(at + 1);
      const value: unknown = JSON.parse(payload.toString('utf8', at + 5, end));
      if (kind === recordKind.hardState) batch.hardState = value as HardState;
      else batch.snapshot = value as SnapshotMeta;
      at = end;
    } else {
      throw new RangeError(`unknown record kind ${kind} at ${at}`);
    }
  }
  return batch;
}

function encodeJson(kind: number, value: unknown): Uint8Array {
  const json = Buffer.from(JSON.stringify(value), 'utf8');
  const record = Buffer.allocUnsafe(5 + json.length);
  record.writeUInt8(kind, 0);
  record.writeUInt32LE(json.length, 1);
  record.set(json, 5);
  return record;
}
