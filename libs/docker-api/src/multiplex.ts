/** The framing of Docker's output streams without a TTY: stream number, three zero bytes, length, data. */
export function multiplexFrame(stream: 0 | 1 | 2, data: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(8 + data.length);
  frame.writeUInt32BE(stream << 24, 0);
  frame.writeUInt32BE(data.length, 4);
  frame.set(data, 8);
  return frame;
}

export interface DemultiplexedFrame {
  stream: 0 | 1 | 2;
  data: Buffer;
}

const frameBytesMax = 64 * 1024 * 1024;

/** Cuts a multiplexed stream back into frames, whatever the chunks it comes in. Throws when the bytes are no frames. */
export class Demultiplexer {
  #buffered: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): DemultiplexedFrame[] {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    const frames: DemultiplexedFrame[] = [];
    while (this.#buffered.length >= 8) {
      const stream = this.#buffered.readUInt8(0);
      const length = this.#buffered.readUInt32BE(4);
      if (stream > 2 || length > frameBytesMax) throw new Error('not a multiplexed stream');
      if (this.#buffered.length < 8 + length) break;
      frames.push({ stream: stream as 0 | 1 | 2, data: this.#buffered.subarray(8, 8 + length) });
      this.#buffered = this.#buffered.subarray(8 + length);
    }
    return frames;
  }
}
