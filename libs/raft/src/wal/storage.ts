/** What the driver asks of its storage, and the messages in which that reaches whoever does the work. */
import type { EnxameError, ErrorCode } from '#libs/model';
import type { SnapshotMeta } from '../core/types.js';
import type { StorageKey } from './file-cipher.js';
import type { PackedBatch, WalBatch } from './records.js';
import type { WalContent } from './wal-content.js';

export interface StorageOptions {
  /** Made when missing. One process at a time. */
  dir: string;
  segmentBytesMax: number;
  /** Snapshots kept beside the newest one. */
  keptSnapshots: number;
  /** Once known: a log of another cluster is refused. */
  clusterId?: string;
  /** The first one encrypts what is written; the others only read. None: nothing is encrypted. */
  keys?: readonly StorageKey[];
}

export type StorageAdjustment = Partial<Pick<StorageOptions, 'keys' | 'keptSnapshots'>>;

export interface StorageEvents {
  /** Every batch up to this sequence is durable. Not called from within `append`. */
  persisted(sequence: number): void;
  /** Called once; nothing is written after it. */
  failed(error: EnxameError): void;
}

/** Rejects with `data-damaged` (file and offset in the message) or `conflict` (folder in use). */
export type OpenStorage = (options: StorageOptions, events: StorageEvents) => Promise<OpenedStorage>;

export interface OpenedStorage {
  storage: RaftStorage;
  content: WalContent;
}

export interface RaftStorage {
  /** `sequence` only grows; `persisted` is called for the last one of each group. */
  append(batch: WalBatch, sequence: number): void;
  /** The log through `index` is not needed any more. */
  release(index: number): void;
  /** The chunks are read from the disk as they are taken. Throws `data-damaged`. */
  newestSnapshot(): StoredSnapshot | undefined;
  /** Visible as the newest one only when it is whole and durable. A rejection has changed nothing. */
  writeSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>): Promise<void>;
  /** The newest snapshot, to be sent to another member; it stays readable while newer ones take its place. */
  openSnapshot(): Promise<SnapshotReader | undefined>;
  /** A snapshot from another member. */
  receiveSnapshot(meta: SnapshotMeta, id: string): Promise<SnapshotWriter>;
  /** From now on. Earlier keys go along for as long as a file needs them. */
  adjust(options: StorageAdjustment): Promise<void>;
  /** Ids of the keys that files on the disk are encrypted with. */
  keyIdsInUse(): Promise<readonly string[]>;
  /** Waits for everything appended before. */
  close(): Promise<void>;
}

export interface StoredSnapshot {
  meta: SnapshotMeta;
  chunks: Iterable<Uint8Array>;
}

export interface SnapshotReader {
  meta: SnapshotMeta;
  /** Names the content, with a checksum of it: equal ids, equal chunks. */
  id: string;
  /** The chunk of this number, the first being 0; undefined after the last one. */
  read(number: number): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

export interface SnapshotWriter {
  /**
   * Takes chunks in order and resolves with the number it wants next. A chunk of another number is left, so a stream
   * that broke can go on from there.
   */
  write(number: number, chunk: Uint8Array): Promise<number>;
  /** Makes it the newest snapshot, durably; rejects with `data-damaged` when it is not what its id names. */
  finish(): Promise<void>;
  /** Leaves nothing behind. */
  abort(): Promise<void>;
}

export type StorageRequest =
  | { kind: 'append'; batch: PackedBatch }
  | { kind: 'release'; index: number }
  | { kind: 'adjust'; options: StorageAdjustment }
  | { kind: 'key-ids' }
  | { kind: 'snapshot-begin'; handle: number; meta: SnapshotMeta }
  | { kind: 'snapshot-write'; handle: number; number: number; chunks: readonly Uint8Array[] }
  | { kind: 'snapshot-finish'; handle: number; id: string | undefined }
  | { kind: 'snapshot-abort'; handle: number }
  | { kind: 'snapshot-open'; handle: number }
  | { kind: 'snapshot-read'; handle: number; number: number }
  | { kind: 'snapshot-close'; handle: number }
  | { kind: 'close' };

export type StorageReply =
  | { kind: 'done' }
  | { kind: 'key-ids'; ids: readonly string[] }
  | { kind: 'wanted'; number: number }
  | { kind: 'snapshot'; snapshot: { meta: SnapshotMeta; id: string } | undefined }
  | { kind: 'chunk'; chunk: Uint8Array | undefined }
  /** `isFatal`: what is on disk is what was acknowledged, and nothing more will be written. */
  | { kind: 'failed'; code: ErrorCode; message: string; isFatal: boolean };

/** Answers every request once, in order, and never before `send` has returned. */
export interface StorageChannel {
  send(request: StorageRequest, done: (reply: StorageReply) => void): void;
  /** After `close` was answered, or a fatal failure. */
  end(): Promise<void>;
}
