/**
 * One stream between two members, whoever opened it: a hello either way, then messages. It ends once, and says why.
 */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { EnxameError } from '#libs/model';
import { fromServiceError, type raft, toServiceError } from '#libs/rpc';
import type { PeerMessage } from '../port.js';
import { Outbox, type OutboxLimits } from './outbox.js';
import { decodeMessages } from './wire.js';

export interface StreamLimits extends OutboxLimits {
  /** Of one message that comes in pieces. */
  messageBytesMax: number;
  helloTimeoutMs: number;
  /** How long a stream that was replaced may take to end. */
  retireMs: number;
  /** How long the news of a commit may wait for entries to travel with. */
  newsDelayMs: number;
  /** A peer that has asked for something within this time hears of commits at once: it waits to see them. */
  askedLatelyMs: number;
}

export interface StreamHandlers {
  /** Called once, before any message. A throw ends the stream with the error. */
  hello(hello: raft.Hello): void;
  message(message: PeerMessage): void;
  /** Messages were dropped because too much is waiting. */
  overflowed(): void;
  /** Called once. */
  ended(error: EnxameError): void;
}

type Call =
  | { opener: 'self'; stream: ClientDuplexStream<raft.Envelope, raft.Envelope> }
  | { opener: 'peer'; stream: ServerDuplexStream<raft.Envelope, raft.Envelope> };

export class PeerStream {
  private readonly outbox: Outbox;
  private readonly helloTimer: NodeJS.Timeout;
  private retireTimer: NodeJS.Timeout | undefined;
  private pieces: Buffer[] = [];
  private pieceBytes = 0;
  private hasHello = false;
  private hasEnded = false;
  private isFlushScheduled = false;
  private newsTimer: NodeJS.Timeout | undefined;
  /** When the oldest news that waits came. */
  private newsSinceMs: number | undefined;
  private askedAtMs = Number.NEGATIVE_INFINITY;
  private mustDrain = false;

  constructor(
    private readonly call: Call,
    private readonly limits: StreamLimits,
    private readonly handlers: StreamHandlers,
  ) {
    this.outbox = new Outbox(limits);
    this.helloTimer = setTimeout(() => {
      this.end(new EnxameError('deadline-exceeded', `raft: no hello within ${limits.helloTimeoutMs} ms`));
    }, limits.helloTimeoutMs);
    const { stream } = call;
    stream.on('data', (envelope: raft.Envelope) => this.take(envelope));
    stream.on('drain', () => {
      this.mustDrain = false;
      this.flush();
    });
    stream.on('error', (error: Error) => this.finish(fromServiceError(error)));
    stream.on('cancelled', () => this.finish(gone('the connection is gone')));
    stream.on('end', () => {
      this.finish(gone('the other side ended the stream'));
      stream.end();
    });
  }

  get opener(): 'self' | 'peer' {
    return this.call.opener;
  }

  sendHello(hello: raft.Hello): void {
    if (!this.hasEnded) this.call.stream.write({ body: { $case: 'hello', hello } });
  }

  send(message: PeerMessage): void {
    if (this.hasEnded || this.retireTimer !== undefined) return;
    if (!this.outbox.add(message)) {
      this.handlers.overflowed();
      return;
    }
    if (this.isFlushScheduled || this.mustDrain) return;
    if (this.mayWait(message)) {
      this.newsSinceMs ??= performance.now();
      this.newsTimer ??= setTimeout(() => this.sendNews(), this.limits.newsDelayMs);
      return;
    }
    this.isFlushScheduled = true;
    // Not at the end of the turn: that is one more look at every socket before the entries leave.
    process.nextTick(() => {
      this.isFlushScheduled = false;
      this.flush();
    });
  }

  /**
   * A request without entries tells of a commit, or asks where the logs agree. By itself it would wake the peer, and
   * its answer this process, once more for every write; the next entries take it along for nothing.
   */
  private mayWait(message: PeerMessage): boolean {
    if (message.kind !== 'append-request' || message.entries.length > 0) return false;
    return performance.now() - this.askedAtMs > this.limits.askedLatelyMs;
  }

  /** Without an error the stream is only not needed any more. */
  end(error?: EnxameError): void {
    if (this.hasEnded) return;
    const { call } = this;
    this.finish(error ?? gone('the stream is not needed any more'));
    if (call.opener === 'self') call.stream.cancel();
    else if (error === undefined) call.stream.end();
    else call.stream.emit('error', toServiceError(error));
  }

  /**
   * Another stream has taken its place. What is under way on this one arrives all the same: its opener ends it after
   * the last message, the other side only waits.
   */
  retire(): void {
    if (this.hasEnded) return;
    this.retireTimer = setTimeout(() => this.end(), this.limits.retireMs);
    if (this.call.opener === 'peer') return;
    for (let rest = this.outbox.take(); rest !== undefined; rest = this.outbox.take()) {
      this.call.stream.write(rest);
    }
    this.call.stream.end();
  }

  /** News that has found company since the timer was set is gone; what has come after it waits its own time. */
  private sendNews(): void {
    this.newsTimer = undefined;
    if (this.newsSinceMs === undefined) return;
    const leftMs = this.newsSinceMs + this.limits.newsDelayMs - performance.now();
    if (leftMs > 1) this.newsTimer = setTimeout(() => this.sendNews(), leftMs);
    else this.flush();
  }

  private flush(): void {
    this.newsSinceMs = undefined;
    while (!this.mustDrain && !this.hasEnded) {
      const envelope = this.outbox.take();
      if (envelope === undefined) return;
      this.mustDrain = !this.call.stream.write(envelope);
    }
  }

  private take(envelope: raft.Envelope): void {
    if (this.hasEnded || envelope.body === undefined) return;
    try {
      this.takeBody(envelope.body);
    } catch (error) {
      this.end(
        error instanceof EnxameError
          ? error
          : new EnxameError('internal', 'raft: a message could not be taken', { cause: error }),
      );
    }
  }

  private takeBody(body: NonNullable<raft.Envelope['body']>): void {
    if (body.$case === 'hello') {
      if (this.hasHello) throw protocolError('a second hello');
      this.hasHello = true;
      clearTimeout(this.helloTimer);
      this.handlers.hello(body.hello);
      return;
    }
    if (!this.hasHello) throw protocolError('a message before the hello');
    if (body.$case === 'messages') this.deliver(body.messages);
    else this.takePiece(body.piece);
  }

  private takePiece({ bytes, last }: raft.Piece): void {
    this.pieces.push(bytes);
    this.pieceBytes += bytes.length;
    if (this.pieceBytes > this.limits.messageBytesMax) {
      throw protocolError(`a message of more than ${this.limits.messageBytesMax} bytes`);
    }
    if (!last) return;
    const whole = Buffer.concat(this.pieces, this.pieceBytes);
    this.pieces = [];
    this.pieceBytes = 0;
    this.deliver(whole);
  }

  private deliver(bytes: Buffer): void {
    for (const message of decodeMessages(bytes)) {
      if (this.hasEnded) return;
      if (message.kind === 'forward' || message.kind === 'read-request' || message.kind === 'call') {
        this.askedAtMs = performance.now();
      }
      this.handlers.message(message);
    }
  }

  private finish(error: EnxameError): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearTimeout(this.helloTimer);
    clearTimeout(this.retireTimer);
    clearTimeout(this.newsTimer);
    this.handlers.ended(error);
  }
}

export function protocolError(message: string): EnxameError {
  return new EnxameError('failed-precondition', `raft: ${message}`);
}

function gone(message: string): EnxameError {
  return new EnxameError('unavailable', `raft: ${message}`);
}
