/**
 * Messages as bytes. Each is a small JSON head and the bytes that belong to it, laid end to end:
 *
 *     head bytes   u32
 *     part count   u32
 *     head         JSON: the message without its entries or proposals
 *     each part    entry: kind u8, term u48, data bytes u32, data
 *                  proposal: data bytes u32, data
 *
 * Entries of one request follow each other, so the head's `prevIndex` numbers them. Whatever is read comes from an
 * authenticated manager, but it may be another version's or damaged: a reader throws and takes nothing of it.
 */
import { EnxameError } from '#libs/model';
import type { Entry } from '../core/types.js';
import type { PeerMessage } from '../port.js';

const headBytesMax = 1024 * 1024;
const prefixBytes = 8;
const entryPrefixBytes = 11;
const proposalPrefixBytes = 4;

const entryKinds = { noop: 0, data: 1, membership: 2 } as const satisfies Record<Entry['kind'], number>;
const entryKindOf = new Map<number, Entry['kind']>(
  (Object.keys(entryKinds) as Entry['kind'][]).map((kind) => [entryKinds[kind], kind]),
);

const messageKinds: ReadonlySet<string> = new Set(
  Object.keys({
    'pre-vote-request': true,
    'pre-vote-response': true,
    'vote-request': true,
    'vote-response': true,
    'append-request': true,
    'append-response': true,
    heartbeat: true,
    'heartbeat-response': true,
    snapshot: true,
    'timeout-now': true,
    'read-request': true,
    'read-response': true,
    forward: true,
    'forward-refused': true,
    call: true,
    answer: true,
    removed: true,
  } satisfies Record<PeerMessage['kind'], true>),
);

/** The message's bytes in pieces; data is not copied. */
export function encodeMessage(message: PeerMessage): Uint8Array[] {
  switch (message.kind) {
    case 'append-request': {
      const { entries, ...head } = message;
      const parts = [encodeHead(head, entries.length)];
      for (const entry of entries) {
        const prefix = Buffer.allocUnsafe(entryPrefixBytes);
        prefix.writeUInt8(entryKinds[entry.kind], 0);
        prefix.writeUIntLE(entry.term, 1, 6);
        prefix.writeUInt32LE(entry.data.length, 7);
        parts.push(prefix);
        if (entry.data.length > 0) parts.push(entry.data);
      }
      return parts;
    }
    case 'forward': {
      const { proposals, ...head } = message;
      const parts = [encodeHead(head, proposals.length)];
      for (const proposal of proposals) {
        const prefix = Buffer.allocUnsafe(proposalPrefixBytes);
        prefix.writeUInt32LE(proposal.length, 0);
        parts.push(prefix, proposal);
      }
      return parts;
    }
    default:
      return [encodeHead(message, 0)];
  }
}

function encodeHead(head: object, partCount: number): Uint8Array {
  const json = JSON.stringify(head);
  const bytes = Buffer.byteLength(json, 'utf8');
  const encoded = Buffer.allocUnsafe(prefixBytes + bytes);
  encoded.writeUInt32LE(bytes, 0);
  encoded.writeUInt32LE(partCount, 4);
  encoded.write(json, prefixBytes, 'utf8');
  return encoded;
}

/** Every message of the bytes, in order. Their data are views of `bytes`. Throws `invalid-argument`. */
export function decodeMessages(bytes: Buffer): PeerMessage[] {
  const messages: PeerMessage[] = [];
  const reader = new Reader(bytes);
  while (!reader.isAtEnd) messages.push(decodeMessage(reader));
  return messages;
}

function decodeMessage(reader: Reader): PeerMessage {
  const headBytes = reader.u32();
  const partCount = reader.u32();
  if (headBytes > headBytesMax) throw malformed(`a head of ${headBytes} bytes`);
  const head = parseHead(reader.take(headBytes));
  if (head.kind === 'append-request') {
    const entries: Entry[] = [];
    for (let i = 0; i < partCount; i++) entries.push(decodeEntry(reader, Number(head.prevIndex) + 1 + i));
    return { ...head, entries } as PeerMessage;
  }
  if (head.kind === 'forward') {
    const proposals: Uint8Array[] = [];
    for (let i = 0; i < partCount; i++) proposals.push(reader.take(reader.u32()));
    return { ...head, proposals } as PeerMessage;
  }
  if (partCount !== 0) throw malformed(`${partCount} parts in a message of kind ${head.kind}`);
  return head as PeerMessage;
}

function decodeEntry(reader: Reader, index: number): Entry {
  const kind = entryKindOf.get(reader.u8());
  if (kind === undefined) throw malformed('an entry of unknown kind');
  const term = reader.u48();
  return { kind, term, index, data: reader.take(reader.u32()) };
}

function parseHead(bytes: Buffer): { kind: string; prevIndex?: unknown } {
  let head: unknown;
  try {
    head = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw malformed('a head that is not JSON', cause);
  }
  if (typeof head !== 'object' || head === null || !('kind' in head) || typeof head.kind !== 'string') {
    throw malformed('a head without a kind');
  }
  if (!messageKinds.has(head.kind)) throw malformed(`a message of unknown kind ${head.kind}`);
  return head as { kind: string };
}

function malformed(what: string, cause?: unknown): EnxameError {
  return new EnxameError('invalid-argument', `raft message: ${what}`, { cause });
}

class Reader {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  u8(): number {
    return this.bytes.readUInt8(this.advance(1));
  }

  u32(): number {
    return this.bytes.readUInt32LE(this.advance(4));
  }

  u48(): number {
    return this.bytes.readUIntLE(this.advance(6), 6);
  }

  take(length: number): Buffer {
    const from = this.advance(length);
    return this.bytes.subarray(from, from + length);
  }

  private advance(length: number): number {
    const from = this.at;
    if (from + length > this.bytes.length) throw malformed('it ends too soon');
    this.at += length;
    return from;
  }
}
