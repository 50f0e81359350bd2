/** gRPC's calls as a client makes them, on one connection. */
import type { Duplex } from 'node:stream';
import { H2Connection, type StreamReceiver } from './connection.js';
import { encodeHeaders, type Header } from './hpack.js';
import {
  contentType,
  defaultLimits,
  type GrpcLimits,
  GrpcStatus,
  grpcFrame,
  grpcStatus,
  type MessageReceiver,
  MessageSplitter,
  MessageStream,
} from './messages.js';

interface WaitingCall {
  expiresAtMs: number;
  expire: () => void;
}

/** Calls on a connection that was dialed. */
export class GrpcClient {
  private readonly connection: H2Connection;
  private readonly blocks = new Map<string, Buffer>();
  private readonly waiting = new Set<WaitingCall>();
  private sweeper: NodeJS.Timeout | undefined;

  constructor(
    socket: Duplex,
    private readonly options: {
      scheme: 'http' | 'https';
      authority: string;
      limits?: GrpcLimits;
      closed?: (error: Error | undefined) => void;
    },
  ) {
    this.connection = new H2Connection(
      socket,
      'client',
      {
        closed: (error) => {
          clearInterval(this.sweeper);
          options.closed?.(error);
        },
      },
      options.limits?.connection,
    );
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  close(): void {
    this.connection.close();
  }

  ping(answered: () => void): void {
    this.connection.ping(answered);
  }

  /** Rejects with GrpcStatus. */
  call(path: string, request: Uint8Array, timeoutMs = 30_000): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const call = new UnaryCall(this.splitter(), (outcome) => {
        this.waiting.delete(waiting);
        if (outcome instanceof GrpcStatus) reject(outcome);
        else resolve(outcome);
      });
      const stream = this.connection.open(call);
      const waiting: WaitingCall = {
        expiresAtMs: performance.now() + timeoutMs,
        expire: () => {
          stream?.reset();
          call.settle(new GrpcStatus(grpcStatus.deadlineExceeded, `no answer within ${timeoutMs} ms`));
        },
      };
      if (stream === undefined)
        return reject(new GrpcStatus(grpcStatus.unavailable, 'the connection takes no calls'));
      this.waiting.add(waiting);
      this.sweeper ??= setInterval(() => this.sweep(), 500).unref();
      stream.sendHeaders(this.block(path));
      stream.sendData(grpcFrame(request), { end: true });
    });
  }

  /** Undefined when the connection takes no calls. */
  open(path: string, receiver: MessageReceiver): MessageStream | undefined {
    const stream = this.connection.open(new OpenedCall(this.splitter(), receiver));
    if (stream === undefined) return undefined;
    stream.sendHeaders(this.block(path));
    return new MessageStream(stream, false);
  }

  /** One timer for all calls: each of its own would cost as much as a call. */
  private sweep(): void {
    const now = performance.now();
    for (const call of this.waiting) if (call.expiresAtMs <= now) call.expire();
  }

  private splitter(): MessageSplitter {
    return new MessageSplitter((this.options.limits ?? defaultLimits).messageBytesMax);
  }

  private block(path: string): Buffer {
    let block = this.blocks.get(path);
    if (block === undefined) {
      const { scheme, authority } = this.options;
      block = encodeHeaders([
        [':method', 'POST'],
        [':scheme', scheme],
        [':path', path],
        [':authority', authority],
        ['te', 'trailers'],
        contentType,
      ]);
      this.blocks.set(path, block);
    }
    return block;
  }
}

/** The status that headers or trailers name; undefined when they name none. */
function statusIn(headers: readonly Header[]): GrpcStatus | 'ok' | undefined {
  const status = headers.find(([name]) => name === 'grpc-status')?.[1];
  if (status === undefined) {
    const http = headers.find(([name]) => name === ':status')?.[1];
    return http === undefined || http === '200'
      ? undefined
      : new GrpcStatus(grpcStatus.unavailable, `HTTP status ${http}`);
  }
  if (status === '0') return 'ok';
  const message = headers.find(([name]) => name === 'grpc-message')?.[1] ?? `status ${status}`;
  return new GrpcStatus(status, decoded(message), headers);
}

function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}

/** The client's end of any call: one status, sooner or later. */
abstract class ClientCall implements StreamReceiver {
  private status: GrpcStatus | 'ok' | undefined;
  private isOver = false;

  constructor(private readonly splitter: MessageSplitter) {}

  headers(headers: readonly Header[]): void {
    this.status = statusIn(headers) ?? this.status;
  }

  data(bytes: Buffer): void {
    try {
      this.splitter.take(bytes, (message) => this.message(message));
    } catch (error) {
      if (!(error instanceof GrpcStatus)) throw error;
      this.finish(error);
    }
  }

  end(): void {
    const { status } = this;
    if (status === 'ok') this.finish(undefined);
    else this.finish(status ?? new GrpcStatus(grpcStatus.internal, 'the answer ended without a status'));
  }

  broken(error: Error): void {
    this.finish(
      this.status instanceof GrpcStatus ? this.status : new GrpcStatus(grpcStatus.unavailable, error.message),
    );
  }

  private finish(status: GrpcStatus | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    this.over(status);
  }

  abstract message(message: Buffer): void;
  protected abstract over(status: GrpcStatus | undefined): void;
}

class UnaryCall extends ClientCall {
  private response: Buffer | undefined;

  constructor(
    splitter: MessageSplitter,
    readonly settle: (outcome: Buffer | GrpcStatus) => void,
  ) {
    super(splitter);
  }

  message(message: Buffer): void {
    this.response = Buffer.from(message);
  }

  protected over(status: GrpcStatus | undefined): void {
    this.settle(
      status ?? this.response ?? new GrpcStatus(grpcStatus.internal, 'the answer holds no message'),
    );
  }
}

class OpenedCall extends ClientCall {
  constructor(
    splitter: MessageSplitter,
    private readonly receiver: MessageReceiver,
  ) {
    super(splitter);
  }

  message(message: Buffer): void {
    this.receiver.message(message);
  }

  protected over(status: GrpcStatus | undefined): void {
    this.receiver.ended(status);
  }

  drained(): void {
    this.receiver.drained();
  }
}
