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
  message: PeerMessage;
  bytes: number;
}

type Append = Extract<PeerMessage, { kind: 'append-request' }>;

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
    const bytes = sizeOf(message);
    this.waitingBytes += bytes;
    const queue = isBulk ? this.bulk : this.control;
    const last = queue.at(-1);
    const joined = last === undefined ? undefined : join(last.message, message);
    if (last !== undefined && joined !== undefined && last.bytes + bytes <= this.limits.envelopeBytesMax) {
      last.message = joined;
      last.bytes += bytes;
    } else queue.push({ message, bytes });
    return true;
  }

  /** The next envelope to write. */
  take(): raft.Envelope | undefined {
    const batch = this.takeWhole();
    if (batch.length > 0) {
      const messages = Buffer.concat(batch);
      return { body: { $case: 'messages', messages } };
    }
    return this.takePiece();
  }

  private takeWhole(): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let room = this.limits.envelopeBytesMax;
    for (const queue of this.piecesOf === undefined ? [this.control, this.bulk] : [this.control]) {
      let count = 0;
      for (const { message, bytes } of queue) {
        if (bytes > room) break;
        room -= bytes;
        this.waitingBytes -= bytes;
        for (const part of encodeMessage(message)) batch.push(part);
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
      this.piecesOf = Buffer.concat(encodeMessage(large.message));
      this.waitingBytes += this.piecesOf.length - large.bytes;
    }
    const bytes = this.piecesOf.subarray(0, this.limits.envelopeBytesMax);
    const last = bytes.length === this.piecesOf.length;
    this.piecesOf = last ? undefined : this.piecesOf.subarray(bytes.length);
    this.waitingBytes -= bytes.length;
    return { body: { $case: 'piece', piece: { bytes, last } } };
  }
}

/** A little more than the message's bytes on the wire. */
function sizeOf(message: PeerMessage): number {
  const headBytes = 256;
  const partBytes = 16;
  if (message.kind === 'append-request') {
    return message.entries.reduce((sum, { data }) => sum + partBytes + data.length, headBytes);
  }
  if (message.kind === 'forward') {
    return message.proposals.reduce((sum, data) => sum + partBytes + data.length, headBytes);
  }
  return headBytes;
}

/** Two messages that say no more than one: each of them would cost the receiver a write and an answer. */
function join(first: PeerMessage, second: PeerMessage): PeerMessage | undefined {
  if (first.kind === 'append-request' && second.kind === 'append-request') return joinAppends(first, second);
  if (first.kind !== 'append-response' || second.kind !== 'append-response') return undefined;
  const [before, after] = [first.result, second.result];
  if (first.term !== second.term || !before.accepted || !after.accepted) return undefined;
  // What is on the disk through one index is on the disk through every lower one.
  return after.match >= before.match ? second : undefined;
}

function joinAppends(first: Append, second: Append): Append | undefined {
  const end = first.prevIndex + first.entries.length;
  const endTerm = first.entries.at(-1)?.term ?? first.prevTerm;
  if (first.term !== second.term || second.prevIndex !== end || second.prevTerm !== endTerm) return undefined;
  return {
    ...first,
    entries: second.entries.length === 0 ? first.entries : [...first.entries, ...second.entries],
    commit: Math.max(first.commit, second.commit),
  };
}
