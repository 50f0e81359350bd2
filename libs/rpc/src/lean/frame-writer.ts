/**
 * The frames of one turn of the event loop, promises that settle in it included, as one write to the socket: each write
 * costs more than all the frames in it.
 */
import type { Duplex } from 'node:stream';
import { frameHeadBytes } from './protocol.js';

const nothing = Buffer.alloc(0);
const outBytesMin = 512;
const outBytesMax = 64 * 1024;

export class FrameWriter {
  /** What the next write takes along, from its beginning through `outBytes`. */
  private out = nothing;
  private outBytes = 0;
  private outSize = outBytesMin;
  private isFlushScheduled = false;

  constructor(
    private readonly socket: Duplex,
    /** After each write: whether the socket wants more. */
    private readonly written: (wantsMore: boolean) => void,
  ) {}

  /** Bytes that the socket has not taken yet. */
  get waitingBytes(): number {
    return this.outBytes + this.socket.writableLength;
  }

  frame(kind: number, flags: number, streamId: number, body: Uint8Array = nothing): void {
    const at = this.reserve(frameHeadBytes + body.length);
    const { out } = this;
    out.writeUIntBE(body.length, at, 3);
    out[at + 3] = kind;
    out[at + 4] = flags;
    out.writeUInt32BE(streamId, at + 5);
    out.set(body, at + frameHeadBytes);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length);
    this.out.set(bytes, at);
  }

  private reserve(bytes: number): number {
    const at = this.outBytes;
    this.outBytes += bytes;
    if (this.outBytes > this.out.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.outSize, 2 * this.out.length, this.outBytes));
      this.out.copy(larger, 0, 0, at);
      this.out = larger;
    }
    if (!this.isFlushScheduled) {
      this.isFlushScheduled = true;
      process.nextTick(() => this.flush());
    }
    return at;
  }

  flush(): void {
    this.isFlushScheduled = false;
    if (this.outBytes === 0) return;
    const bytes = this.out.subarray(0, this.outBytes);
    // The socket keeps this one; the next will be about as large.
    this.outSize = Math.min(outBytesMax, Math.max(outBytesMin, this.outBytes));
    this.out = nothing;
    this.outBytes = 0;
    if (this.socket.destroyed || this.socket.writableEnded) return;
    this.written(this.socket.write(bytes));
  }
}
