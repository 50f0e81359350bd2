/**
 * What waits to be written to one stream. Everything of one turn of the event loop leaves in one envelope. Requests
 * that carry entries or proposals keep their order among themselves; the small rest passes them, so that a 10 MB
 * proposal under way costs nobody a heartbeat.
 */
import type { raft } from '#libs/rpc';
import type { PeerMessage } from '../port.js';
import { encodeMessage } from './wire.js';

export interface OutboxLimits {
  /** Bytes waiting for one peer. Beyond it, what carries entries or proposals is dropped; beyond twice it, everything. */
  outboxBytesMax: number;
  /** A message that is larger leaves in pieces of this size. */
  envelopeBytesMax: number;
}

interface Waiting {
  parts: Uint8Array[];
  bytes: number;
}

export class Outbox {
  private control: Waiting[] = [];
  private bulk: Waiting[] = [];
  /** The rest of a large message that is being sent. */
  private piecesOf: Buffer | undefined;
  private waitingBytes = 0;

  constructor(private readonly limits: OutboxLimits) {}

  get isEmpty(): boolean {
    return this.control.length === 0 && this.bulk.length === 0 && this.piecesOf === undefined;
  }

  /** False when it was dropped. */
  add(message: PeerMessage): boolean {
    const isBulk = message.kind === 'append-request' || message.kind === 'forward';
    const { outboxBytesMax } = this.limits;
    if (this.waitingBytes >= (isBulk ? outboxBytesMax : 2 * outboxBytesMax)) return false;
    const parts = encodeMessage(message);
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    this.waitingBytes += bytes;
    (isBulk ? this.bulk : this.control).push({ parts, bytes });
    return true;
  }

  /** The next envelope to write. */
  take(): raft.Envelope | undefined {
    const batch = this.takeWhole();
    if (batch.length > 0) {
      const messages = Buffer.concat(batch);
      this.waitingBytes -= messages.length;
      return { body: { $case: 'messages', messages } };
    }
    return this.takePiece();
  }

  private takeWhole(): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let room = this.limits.envelopeBytesMax;
    for (const queue of this.piecesOf === undefined ? [this.control, this.bulk] : [this.control]) {
      let count = 0;
      for (const { parts, bytes } of queue) {
        if (bytes > room) break;
        room -= bytes;
        for (const part of parts) batch.push(part);
        count++;
      }
      queue.splice(0, count);
      if (queue.length > 0) break;
    }
    return batch;
  }

  private takePiece(): raft.Envelope | undefined {
    if (this.piecesOf === undefined) {
      const large = this.control.shift() ?? this.bulk.shift();
      if (large === undefined) return undefined;
      this.piecesOf = Buffer.concat(large.parts, large.bytes);
    }
    const bytes = this.piecesOf.subarray(0, this.limits.envelopeBytesMax);
    const last = bytes.length === this.piecesOf.length;
    this.piecesOf = last ? undefined : this.piecesOf.subarray(bytes.length);
    this.waitingBytes -= bytes.length;
    return { body: { $case: 'piece', piece: { bytes, last } } };
  }
}
