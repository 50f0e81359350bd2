import { createConnection, type Socket } from 'node:net';
import { EnxameError } from '#libs/model';
import { encodeFrame, FrameReader, type Frame } from './wire.js';

/** `sun_path` of Linux holds 107 bytes and a NUL; Node cuts a longer one without a word. */
const socketPathBytesMax = 107;

/** The last: a shim that ended while the connection waited to be accepted. */
const nobodyListens = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET']);

export interface FrameListener {
  frame(frame: Frame): void;
  /** Once. With an error when the peer broke the protocol or the socket failed. */
  closed(error?: Error): void;
}

/** A unix socket that speaks frames. */
export class FrameConnection {
  private readonly reader = new FrameReader();
  private failure: Error | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly listener: FrameListener,
  ) {
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', (error) => {
      this.failure ??= error;
    });
    socket.on('close', () => listener.closed(this.failure));
  }

  /** Resolves with undefined when nobody listens there. */
  static async open(path: string, listener: FrameListener): Promise<FrameConnection | undefined> {
    if (Buffer.byteLength(path) > socketPathBytesMax) {
      throw new EnxameError(
        'invalid-argument',
        `socket path of more than ${socketPathBytesMax} bytes: ${path}`,
      );
    }
    const socket = createConnection(path);
    const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined));
      socket.once('error', resolve);
    });
    if (error === undefined) return new FrameConnection(socket, listener);
    if (error.code !== undefined && nobodyListens.has(error.code)) return undefined;
    throw new EnxameError('unavailable', `connect to ${path}`, { cause: error });
  }

  /** False: the peer is slow; `drained` tells when to go on. */
  send(type: number, ...payload: Buffer[]): boolean {
    return this.socket.write(encodeFrame(type, ...payload));
  }

  drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.socket.off('drain', done);
        this.socket.off('close', done);
        resolve();
      };
      if (this.socket.destroyed || !this.socket.writableNeedDrain) return resolve();
      this.socket.on('drain', done);
      this.socket.on('close', done);
    });
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  close(): void {
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    try {
      for (const frame of this.reader.push(chunk)) this.listener.frame(frame);
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error));
      this.socket.destroy();
    }
  }
}
