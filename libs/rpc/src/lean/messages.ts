/** What gRPC lays over HTTP/2 (PROTOCOL-HTTP2.md): messages with a prefix, and a status at the end of a call. */
import type { ConnectionLimits, H2Stream } from './connection.js';
import { encodeHeaders, type Header } from './hpack.js';
import { errorCode } from './protocol.js';

const prefixBytes = 5;

/** Those that this code itself gives. */
export const grpcStatus = {
  deadlineExceeded: '4',
  resourceExhausted: '8',
  unimplemented: '12',
  internal: '13',
  unavailable: '14',
} as const;

export const contentType: Header = ['content-type', 'application/grpc'];
export const responseHeaders = encodeHeaders([[':status', '200'], contentType]);
export const okTrailers = encodeHeaders([['grpc-status', '0']]);
export const nothing = Buffer.alloc(0);

export interface GrpcLimits {
  messageBytesMax: number;
  connection?: ConnectionLimits;
}

export const defaultLimits: GrpcLimits = { messageBytesMax: 16 * 1024 * 1024 };

/** A status other than ok. */
export class GrpcStatus extends Error {
  constructor(
    readonly status: string,
    message: string,
    /** Of the trailers, beside status and message. */
    readonly more: readonly Header[] = [],
  ) {
    super(message);
  }
}

export function grpcFrame(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(prefixBytes + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, prefixBytes);
  return bytes;
}

/** Cuts a stream of bytes into messages. */
export class MessageSplitter {
  private parts: Buffer[] = [];
  private bytes = 0;
  /** Of the message that has begun, prefix included; 0 while that is not known. */
  private wanted = 0;

  constructor(private readonly messageBytesMax: number) {}

  /** Messages are views of what was given, or own their bytes when they came in parts. Throws GrpcStatus. */
  take(data: Buffer, deliver: (message: Buffer) => void): void {
    let rest = data;
    while (rest.length > 0) {
      if (this.bytes === 0 && rest.length >= prefixBytes) {
        const end = this.endOf(rest);
        if (end <= rest.length) {
          deliver(rest.subarray(prefixBytes, end));
          rest = rest.subarray(end);
          continue;
        }
      }
      rest = this.gather(rest, deliver);
    }
  }

  private gather(data: Buffer, deliver: (message: Buffer) => void): Buffer {
    const goal = this.wanted === 0 ? prefixBytes : this.wanted;
    const count = Math.min(data.length, goal - this.bytes);
    // The frame it came in is gone when the rest comes.
    this.parts.push(Buffer.from(data.subarray(0, count)));
    this.bytes += count;
    if (this.bytes < goal) return nothing;
    const whole = this.parts.length === 1 ? (this.parts[0] as Buffer) : Buffer.concat(this.parts, this.bytes);
    if (this.wanted === 0) {
      this.wanted = this.endOf(whole);
      this.parts = [whole];
      if (this.wanted > this.bytes) return data.subarray(count);
    }
    this.parts = [];
    this.bytes = 0;
    this.wanted = 0;
    deliver(whole.subarray(prefixBytes));
    return data.subarray(count);
  }

  private endOf(bytes: Buffer): number {
    if (bytes[0] !== 0) throw new GrpcStatus(grpcStatus.unimplemented, 'a compressed message');
    const length = bytes.readUInt32BE(1);
    if (length > this.messageBytesMax)
      throw new GrpcStatus(grpcStatus.resourceExhausted, `a message of ${length} bytes`);
    return prefixBytes + length;
  }

  get isBetweenMessages(): boolean {
    return this.bytes === 0;
  }
}

/** One end of a call that streams both ways. */
export interface MessageReceiver {
  /** A view that is good for the time of the call. */
  message(message: Buffer): void;
  /** The other side has said all; `error` when it ended with another status than ok, or broke. */
  ended(error: GrpcStatus | undefined): void;
  drained(): void;
}

export class MessageStream {
  private hasEnded = false;

  constructor(
    private readonly stream: H2Stream,
    private readonly isServer: boolean,
  ) {}

  /** False when it would be better to wait for `drained`. */
  send(message: Uint8Array): boolean {
    return this.sendFrame(grpcFrame(message));
  }

  /** A message with its prefix. */
  sendFrame(frame: Buffer): boolean {
    return this.stream.sendData(frame);
  }

  /** Everything is said. A server may name a status. */
  end(status?: GrpcStatus): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    if (!this.isServer) this.stream.sendData(nothing, { end: true });
    else this.stream.sendData(nothing, { trailers: status === undefined ? okTrailers : trailersOf(status) });
  }

  cancel(): void {
    this.hasEnded = true;
    this.stream.reset(errorCode.cancel);
  }
}

function statusHeaders({ status, message, more }: GrpcStatus): Header[] {
  return [['grpc-status', status], ['grpc-message', percentEncoded(message)], ...more];
}

/** What is no printable ASCII, and the percent sign, as bytes of UTF-8 (PROTOCOL-HTTP2.md, Status-Message). */
function percentEncoded(message: string): string {
  return message.replaceAll(/[^ -$&-~]+/g, (rest) =>
    [...Buffer.from(rest, 'utf8')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  );
}

export function trailersOf(status: GrpcStatus): Buffer {
  return encodeHeaders(statusHeaders(status));
}

export function refusalOf(status: GrpcStatus): Buffer {
  return encodeHeaders([[':status', '200'], contentType, ...statusHeaders(status)]);
}
