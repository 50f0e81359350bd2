import { PassThrough, Writable } from 'node:stream';
import type { ContainerExit } from '../port.js';
import { EnxameError } from '#libs/model';
import { readExit } from './answers.js';
import { FrameConnection } from './connection.js';
import { frameTypes, PayloadReader, type Frame } from './wire.js';

/** A write larger than this goes in parts, so that one frame never holds the shim's memory. */
const stdinBytesMax = 65_536;
const outputBytesBuffered = 65_536;

/** One connection to a shim as three streams and an end. A reader that does not read slows the process down. */
export class ShimStreams {
  readonly stdout = new PassThrough({ highWaterMark: outputBytesBuffered });
  readonly stderr = new PassThrough({ highWaterMark: outputBytesBuffered });
  readonly stdin: Writable;
  /** Undefined when the connection ended before the process did. Resolves once all output was handed on. */
  readonly ended: Promise<ContainerExit | undefined>;

  private connection: FrameConnection | undefined;
  private exit: ContainerExit | undefined;
  /** Outputs whose reader is behind. */
  private readonly full = new Set<PassThrough>();
  private answer: ((frame: Frame | undefined) => void) | undefined;
  private finish: (exit: ContainerExit | undefined) => void = () => undefined;

  constructor() {
    this.ended = new Promise((resolve) => {
      this.finish = resolve;
    });
    this.stdin = new Writable({
      highWaterMark: stdinBytesMax,
      write: (chunk: Buffer, _encoding, done) => {
        this.writeStdin(chunk).then(() => done(), done);
      },
      final: (done) => {
        this.connection?.send(frameTypes.stdinEnd);
        done();
      },
    });
  }

  async open(socketPath: string): Promise<void> {
    this.connection = await FrameConnection.open(socketPath, {
      frame: (frame) => this.take(frame),
      closed: () => this.closed(),
    });
    if (this.connection === undefined) throw new EnxameError('not-found', 'the container has ended');
  }

  /** Undefined: the shim ended before it answered. */
  request(type: number, ...payload: Buffer[]): Promise<Frame | undefined> {
    return new Promise((resolve) => {
      this.answer = resolve;
      this.connection?.send(type, ...payload);
    });
  }

  close(): void {
    this.connection?.close();
  }

  private async writeStdin(chunk: Buffer): Promise<void> {
    for (let start = 0; start < chunk.length; start += stdinBytesMax) {
      const sent = this.connection?.send(frameTypes.stdin, chunk.subarray(start, start + stdinBytesMax));
      if (sent === false) await this.connection?.drained();
    }
  }

  private take(frame: Frame): void {
    if (frame.type === frameTypes.stdout) return this.hand(this.stdout, frame.payload);
    if (frame.type === frameTypes.stderr) return this.hand(this.stderr, frame.payload);
    const answer = this.answer;
    this.answer = undefined;
    if (frame.type === frameTypes.exit) this.exit = readExit(new PayloadReader(frame.payload));
    answer?.(frame);
  }

  private hand(stream: PassThrough, data: Buffer): void {
    if (stream.destroyed || stream.write(data)) return;
    this.connection?.pause();
    // Frames that had been read already come in spite of the pause.
    if (this.full.has(stream)) return;
    this.full.add(stream);
    const resume = () => {
      stream.off('drain', resume);
      stream.off('close', resume);
      this.full.delete(stream);
      if (this.full.size === 0) this.connection?.resume();
    };
    stream.on('drain', resume);
    stream.on('close', resume);
  }

  private closed(): void {
    this.connection = undefined;
    this.stdout.end();
    this.stderr.end();
    this.stdin.destroy();
    this.answer?.(undefined);
    this.finish(this.exit);
  }
}
