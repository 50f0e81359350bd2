/**
 * Frames of the launcher's and the shims' sockets: u32 payload length, u16 type, u16 zero, payload; little endian.
 * The twin of native/src/wire.h.
 */
import { EnxameError } from '#libs/model';

export const protocolVersion = 1;
export const frameBytesMax = 4 << 20;
const headerBytes = 8;

export const frameTypes = {
  hello: 1,
  launch: 2,
  shutdown: 3,
  remove: 4,
  status: 16,
  start: 17,
  signal: 18,
  resize: 19,
  wait: 20,
  attach: 21,
  exec: 22,
  stdin: 23,
  stdinEnd: 24,
  ok: 32,
  failed: 33,
  started: 34,
  state: 35,
  stdout: 36,
  stderr: 37,
  exit: 38,
} as const;

export interface Frame {
  type: number;
  payload: Buffer;
}

export function encodeFrame(type: number, ...payload: Buffer[]): Buffer {
  const length = payload.reduce((sum, part) => sum + part.length, 0);
  if (length > frameBytesMax)
    throw new EnxameError(
      'invalid-argument',
      `argument list too long: ${length} bytes to start this with, ${frameBytesMax} are possible`,
    );
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(length, 0);
  header.writeUInt16LE(type, 4);
  return Buffer.concat([header, ...payload]);
}

/** Collects a stream's chunks and gives its whole frames. */
export class FrameReader {
  private chunks: Buffer[] = [];
  private bytes = 0;

  /** Throws when a frame is longer than either side may send: the stream cannot be read further. */
  push(chunk: Buffer): Frame[] {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    const frames: Frame[] = [];
    for (let frame = this.take(); frame !== undefined; frame = this.take()) frames.push(frame);
    return frames;
  }

  private take(): Frame | undefined {
    if (this.bytes < headerBytes) return undefined;
    let data = this.chunks[0] ?? Buffer.alloc(0);
    if (data.length < headerBytes) data = this.join();
    const length = data.readUInt32LE(0);
    if (length > frameBytesMax)
      throw new RangeError(`a frame of ${length} bytes, ${frameBytesMax} are possible`);
    const total = headerBytes + length;
    if (this.bytes < total) return undefined;
    if (data.length < total) data = this.join();
    this.chunks[0] = data.subarray(total);
    this.bytes -= total;
    return { type: data.readUInt16LE(4), payload: data.subarray(headerBytes, total) };
  }

  private join(): Buffer {
    const data = Buffer.concat(this.chunks);
    this.chunks = [data];
    return data;
  }
}

export function u16(value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16LE(value);
  return buffer;
}

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value >>> 0);
  return buffer;
}

/** Two's complement: -1n is all ones. */
export function u64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt.asUintN(64, value));
  return buffer;
}

/** Length, bytes, and a NUL that is not counted. */
export function bytes(value: Buffer): Buffer {
  return Buffer.concat([u32(value.length), value, Buffer.from([0])]);
}

export function text(value: string): Buffer {
  return bytes(Buffer.from(value));
}

/** Reads a payload in order; throws a RangeError when it is too short. */
export class PayloadReader {
  private offset = 0;

  constructor(private readonly payload: Buffer) {}

  u16(): number {
    this.offset += 2;
    return this.payload.readUInt16LE(this.offset - 2);
  }

  u32(): number {
    this.offset += 4;
    return this.payload.readUInt32LE(this.offset - 4);
  }

  i32(): number {
    this.offset += 4;
    return this.payload.readInt32LE(this.offset - 4);
  }

  u64(): bigint {
    this.offset += 8;
    return this.payload.readBigUInt64LE(this.offset - 8);
  }

  bytes(): Buffer {
    const length = this.u32();
    this.offset += length + 1;
    if (this.offset > this.payload.length) throw new RangeError('a payload that ends inside a string');
    return this.payload.subarray(this.offset - length - 1, this.offset - 1);
  }

  text(): string {
    return this.bytes().toString();
  }
}
