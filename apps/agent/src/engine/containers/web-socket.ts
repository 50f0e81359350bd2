/** The server's half of a web socket (RFC 6455), as far as a terminal in a browser needs it. */
import { createHash } from 'node:crypto';
import { Duplex } from 'node:stream';

const handshakeGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const messageBytesMax = 1024 * 1024;
const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** The head that answers a client's `Sec-WebSocket-Key`. */
export function acceptHead(key: string): string {
  const accept = createHash('sha1').update(`${key}${handshakeGuid}`).digest('base64');
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${accept}`,
    '',
    '',
  ].join('\r\n');
}

function frame(opcode: number, data: Buffer): Buffer {
  const { length } = data;
  const head = length < 126 ? Buffer.alloc(2) : length < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10);
  head.writeUInt8(0x80 | opcode, 0);
  if (length < 126) head.writeUInt8(length, 1);
  else if (length < 65_536) {
    head.writeUInt8(126, 1);
    head.writeUInt16BE(length, 2);
  } else {
    head.writeUInt8(127, 1);
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, data]);
}

/** Its readable side gives what the client types; what is written becomes binary messages. */
export class WebSocketStream extends Duplex {
  readonly #connection: Duplex;
  #buffered: Buffer = Buffer.alloc(0);

  constructor(connection: Duplex) {
    super({ allowHalfOpen: true });
    this.#connection = connection;
    connection.on('data', (chunk: Buffer) => this.#take(chunk));
    connection.on('end', () => this.#leave());
    connection.on('close', () => this.destroy());
    connection.on('error', () => this.destroy());
  }

  override _read(): void {
    this.#connection.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#connection.destroyed) return done();
    if (this.#connection.write(frame(opcodes.binary, chunk))) done();
    else this.#connection.once('drain', () => done());
  }

  override _final(done: () => void): void {
    this.#connection.end(frame(opcodes.close, Buffer.from([0x03, 0xe8])));
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#connection.destroy();
    done(error);
  }

  /** A web socket has no half that stays open: whoever says that it closes is answered with the same (RFC 6455, 5.5.1). */
  #leave(): void {
    if (this.readableEnded || this.writableEnded) return;
    this.push(null);
    this.end();
  }

  #take(chunk: Buffer): void {
    this.#buffered = Buffer.concat([this.#buffered, chunk]);
    for (let message = this.#next(); message !== undefined; message = this.#next()) this.#handle(message);
  }

  #next(): { opcode: number; data: Buffer } | undefined {
    const all = this.#buffered;
    if (all.length < 2) return undefined;
    const opcode = all.readUInt8(0) & 0x0f;
    const isMasked = (all.readUInt8(1) & 0x80) !== 0;
    let length = all.readUInt8(1) & 0x7f;
    let at = 2;
    if (length === 126) {
      if (all.length < 4) return undefined;
      length = all.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (all.length < 10) return undefined;
      length = Number(all.readBigUInt64BE(2));
      at = 10;
    }
    // A client's frames are masked, always; and nobody types that much at once.
    if (!isMasked || length > messageBytesMax) {
      this.destroy();
      return undefined;
    }
    if (all.length < at + 4 + length) return undefined;
    const mask = all.subarray(at, at + 4);
    const data = Buffer.from(all.subarray(at + 4, at + 4 + length));
    for (let index = 0; index < length; index++) data[index] = (data[index] ?? 0) ^ (mask[index & 3] ?? 0);
    this.#buffered = all.subarray(at + 4 + length);
    return { opcode, data };
  }

  #handle({ opcode, data }: { opcode: number; data: Buffer }): void {
    switch (opcode) {
      case opcodes.ping:
        this.#connection.write(frame(opcodes.pong, data));
        return;
      case opcodes.close:
        this.#leave();
        return;
      case opcodes.pong:
        return;
      default:
        if (data.length > 0 && !this.push(data)) this.#connection.pause();
    }
  }
}
