/** gRPC's calls as a server answers them, on one connection. */
import type { Duplex } from 'node:stream';
import { H2Connection, type H2Stream, type StreamReceiver } from './connection.js';
import type { Header } from './hpack.js';
import {
  defaultLimits,
  type GrpcLimits,
  GrpcStatus,
  grpcFrame,
  grpcStatus,
  type MessageReceiver,
  MessageSplitter,
  MessageStream,
  nothing,
  okTrailers,
  refusalOf,
  responseHeaders,
  trailersOf,
} from './messages.js';

export type UnaryHandler = (request: Buffer) => Promise<Uint8Array>;

export interface GrpcMethods {
  unary: Readonly<Record<string, UnaryHandler>>;
  streams: Readonly<Record<string, (stream: MessageStream, headers: readonly Header[]) => MessageReceiver>>;
}

/** Serves calls on a connection that was accepted. */
export function serveGrpc(
  socket: Duplex,
  methods: GrpcMethods,
  {
    limits = defaultLimits,
    closed,
  }: { limits?: GrpcLimits; closed?: (error: Error | undefined) => void } = {},
): H2Connection {
  return new H2Connection(
    socket,
    'server',
    {
      opened: (stream) => new ServedCall(stream, methods, limits),
      closed: (error) => closed?.(error),
    },
    limits.connection,
  );
}

class ServedCall implements StreamReceiver {
  private readonly splitter: MessageSplitter;
  private unary: UnaryHandler | undefined;
  private request: Buffer | undefined;
  private receiver: MessageReceiver | undefined;

  constructor(
    private readonly stream: H2Stream,
    private readonly methods: GrpcMethods,
    limits: GrpcLimits,
  ) {
    this.splitter = new MessageSplitter(limits.messageBytesMax);
  }

  headers(headers: readonly Header[]): void {
    if (this.unary !== undefined || this.receiver !== undefined) return;
    const path = headers.find(([name]) => name === ':path')?.[1] ?? '';
    this.unary = Object.hasOwn(this.methods.unary, path) ? this.methods.unary[path] : undefined;
    if (this.unary !== undefined) return;
    const open = Object.hasOwn(this.methods.streams, path) ? this.methods.streams[path] : undefined;
    if (open === undefined)
      return this.refuse(new GrpcStatus(grpcStatus.unimplemented, `there is no method ${path}`));
    this.stream.sendHeaders(responseHeaders);
    this.receiver = open(new MessageStream(this.stream, true), headers);
  }

  data(bytes: Buffer): void {
    try {
      this.splitter.take(bytes, (message) => this.take(message));
    } catch (error) {
      if (!(error instanceof GrpcStatus)) throw error;
      this.refuse(error);
    }
  }

  private take(message: Buffer): void {
    if (this.receiver !== undefined) return this.receiver.message(message);
    // The handler may keep it for longer than this turn.
    this.request ??= Buffer.from(message);
  }

  end(): void {
    if (this.receiver !== undefined) return this.receiver.ended(undefined);
    const { unary, request, stream } = this;
    if (unary === undefined) return;
    if (request === undefined || !this.splitter.isBetweenMessages) {
      return this.refuse(new GrpcStatus(grpcStatus.internal, 'a call without a whole request'));
    }
    unary(request).then(
      (response) => {
        stream.sendHeaders(responseHeaders);
        stream.sendData(grpcFrame(response), { trailers: okTrailers });
      },
      (error: Error) =>
        this.refuse(
          error instanceof GrpcStatus ? error : new GrpcStatus(grpcStatus.unavailable, error.message),
        ),
    );
  }

  broken(error: Error): void {
    this.receiver?.ended(new GrpcStatus(grpcStatus.unavailable, error.message));
    this.receiver = undefined;
    this.unary = undefined;
  }

  drained(): void {
    this.receiver?.drained();
  }

  private refuse(status: GrpcStatus): void {
    const { receiver, stream } = this;
    this.receiver = undefined;
    this.unary = undefined;
    if (receiver === undefined) stream.sendHeaders(refusalOf(status), { end: true });
    else {
      stream.sendData(nothing, { trailers: trailersOf(status) });
      receiver.ended(status);
    }
  }
}
