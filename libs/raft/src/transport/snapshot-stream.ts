/** A snapshot on a stream of its own: the receiver says where to begin, the sender waits for it at every step. */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { once } from 'node:events';
import { EnxameError } from '#libs/model';
import { fromServiceError, type raft } from '#libs/rpc';
import type { MemberId } from '../core/types.js';
import type { OutgoingSnapshot, SnapshotIntake } from '../port.js';
import { protocolError } from './peer-stream.js';

export interface SnapshotLimits {
  snapshotPieceBytesMax: number;
  /** One chunk of the state machine. */
  chunkBytesMax: number;
  /** Without any progress the stream is given up. */
  snapshotStallMs: number;
}

type Outgoing = ClientDuplexStream<raft.SnapshotPart, raft.SnapshotProgress>;
type Incoming = ServerDuplexStream<raft.SnapshotPart, raft.SnapshotProgress>;

/** Resolves when the receiver has the whole of it on its disk. */
export async function writeSnapshotStream(
  stream: Outgoing,
  options: { hello: raft.Hello; snapshot: OutgoingSnapshot; limits: SnapshotLimits },
): Promise<void> {
  const { hello, snapshot, limits } = options;
  const stall = new StallTimer(limits.snapshotStallMs, () => stream.cancel());
  const broken = new Promise<never>((_, reject) => stream.once('error', reject));
  // Whoever waits for it hears of it; nobody may be waiting.
  broken.catch(() => undefined);
  let isBroken = false;
  stream.on('error', () => {
    isBroken = true;
  });
  const progress = stream[Symbol.asyncIterator]();
  const answer = async (): Promise<NonNullable<raft.SnapshotProgress['body']>> => {
    const next = await Promise.race([progress.next(), broken]);
    stall.reset();
    const body = next.done === true ? undefined : (next.value as raft.SnapshotProgress).body;
    if (body === undefined) throw protocolError('the receiver ended the snapshot');
    return body;
  };
  const write = async (body: NonNullable<raft.SnapshotPart['body']>): Promise<void> => {
    if (isBroken) await broken;
    if (!stream.write({ body })) await Promise.race([once(stream, 'drain'), broken]);
    stall.reset();
  };
  try {
    const message = Buffer.from(JSON.stringify(snapshot.message), 'utf8');
    await write({ $case: 'header', header: { hello, message, id: snapshot.id } });
    const begin = await answer();
    if (begin.$case !== 'wanted') throw protocolError(`expected a number, got ${begin.$case}`);
    for (let number = begin.wanted; ; number++) {
      const chunk = await snapshot.read(number);
      if (chunk === undefined) break;
      for (const piece of piecesOf(chunk, limits.snapshotPieceBytesMax)) {
        await write({ $case: 'chunk', chunk: { number, piece } });
      }
    }
    await write({ $case: 'end', end: {} });
    const end = await answer();
    if (end.$case !== 'taken') throw protocolError(`expected the end, got ${end.$case}`);
  } catch (error) {
    throw stall.hasFired
      ? new EnxameError(
          'deadline-exceeded',
          `raft: the snapshot stood still for ${limits.snapshotStallMs} ms`,
        )
      : fromServiceError(error);
  } finally {
    stall.stop();
    stream.cancel();
  }
}

function* piecesOf(chunk: Uint8Array, bytesMax: number): Iterable<raft.Piece> {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  let at = 0;
  do {
    const piece = bytes.subarray(at, at + bytesMax);
    at += piece.length;
    yield { bytes: piece, last: at === bytes.length };
  } while (at < bytes.length);
}

/** Resolves when the intake has taken everything; rejects with what the sender is to be told. */
export async function readSnapshotStream(
  stream: Incoming,
  options: {
    /** Throws unless the sender may speak. */
    admit: (hello: raft.Hello | undefined) => MemberId;
    intake: SnapshotIntake;
    limits: SnapshotLimits;
  },
): Promise<void> {
  const { intake, limits } = options;
  const stall = new StallTimer(limits.snapshotStallMs, () =>
    stream.destroy(new EnxameError('deadline-exceeded', 'raft: the snapshot stood still')),
  );
  const answer = (body: NonNullable<raft.SnapshotProgress['body']>): void => void stream.write({ body });
  let from: MemberId | undefined;
  let wanted = 0;
  let pieces: Buffer[] = [];
  let pieceBytes = 0;
  try {
    // The stream must live on when the reading ends here: the sender is to be told the reason on it.
    const parts: AsyncIterable<raft.SnapshotPart> = stream.iterator({ destroyOnReturn: false });
    for await (const { body } of parts) {
      if (body === undefined) throw protocolError('an empty part of a snapshot');
      // What the disk needs is not the sender's standing still.
      stall.pause();
      if (body.$case === 'header') {
        if (from !== undefined) throw protocolError('a second header of a snapshot');
        from = options.admit(body.header.hello);
        const { id, message } = body.header;
        wanted = await intake.begin(from, { id, message: parseMessage(message) });
        answer({ $case: 'wanted', wanted });
      } else if (from === undefined) {
        throw protocolError('a snapshot without a header');
      } else if (body.$case === 'end') {
        await intake.end(from);
        answer({ $case: 'taken', taken: {} });
        return;
      } else {
        const { number, piece } = body.chunk;
        if (number !== wanted || piece === undefined) {
          throw protocolError(`chunk ${number} of a snapshot, not ${wanted}`);
        }
        pieces.push(piece.bytes);
        pieceBytes += piece.bytes.length;
        if (pieceBytes > limits.chunkBytesMax) {
          throw protocolError(`a chunk of more than ${limits.chunkBytesMax} bytes`);
        }
        if (piece.last) {
          wanted = await intake.chunk(from, number, Buffer.concat(pieces, pieceBytes));
          pieces = [];
          pieceBytes = 0;
        }
      }
      stall.reset();
    }
    throw protocolError('the snapshot ended too soon');
  } finally {
    stall.stop();
  }
}

function parseMessage(bytes: Buffer): OutgoingSnapshot['message'] {
  const message: unknown = JSON.parse(bytes.toString('utf8'));
  const isOne =
    typeof message === 'object' && message !== null && 'kind' in message && message.kind === 'snapshot';
  if (!isOne) throw protocolError('a header that names no snapshot');
  return message as OutgoingSnapshot['message'];
}

class StallTimer {
  private timer: NodeJS.Timeout | undefined;
  hasFired = false;

  constructor(
    private readonly ms: number,
    private readonly fire: () => void,
  ) {
    this.reset();
  }

  reset(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.hasFired = true;
      this.fire();
    }, this.ms);
  }

  pause(): void {
    clearTimeout(this.timer);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
