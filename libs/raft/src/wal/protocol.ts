/** What passes between the driver and the log's thread. Requests are answered in order. */
import type { ErrorCode } from '#libs/model';
import type { WalContent, WalOptions } from './wal.js';
import type { PackedBatch } from './records.js';

export interface WalWorkerData {
  dir: string;
  options: WalOptions;
}

export type WalRequest =
  | { kind: 'append'; batch: PackedBatch; sequence: number }
  | { kind: 'release'; index: number }
  | { kind: 'close' };

export type WalReply =
  | { kind: 'opened'; content: WalContent }
  | { kind: 'persisted'; sequence: number }
  | { kind: 'closed' }
  /** The thread has stopped: what is on disk is what was acknowledged, and nothing more will be written. */
  | { kind: 'failed'; code: ErrorCode; message: string };
