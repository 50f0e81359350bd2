/**
 * Calls as messages on one bidirectional gRPC stream, as the product's own sessions carry them: an HTTP/2 stream for
 * each call costs more than the call. A message is a number and the request, the answer the same number.
 */
import type { ClientHttp2Session, ClientHttp2Stream, ServerHttp2Stream } from 'node:http2';
import { frame, type Handler, prefixBytes, requestHeaders, respondHeaders } from './wire.js';

const numberBytes = 4;

/** Cuts a stream of bytes into gRPC messages. */
class Splitter {
  private rest: Buffer = Buffer.alloc(0);

  *take(chunk: Buffer): Iterable<Buffer> {
    let bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (bytes.length >= prefixBytes) {
      const end = prefixBytes + bytes.readUInt32BE(1);
      if (bytes.length < end) break;
      yield bytes.subarray(prefixBytes, end);
      bytes = bytes.subarray(end);
    }
    this.rest = bytes;
  }
}

/** Writes what comes in one turn of the event loop at once. */
class Gatherer {
  private waiting: Buffer[] = [];

  constructor(private readonly stream: { write(bytes: Buffer): unknown; destroyed: boolean }) {}

  add(number: number, message: Uint8Array): void {
    const bytes = Buffer.allocUnsafe(numberBytes + message.length);
    bytes.writeUInt32BE(number, 0);
    bytes.set(message, numberBytes);
    if (this.waiting.push(frame(bytes)) > 1) return;
    setImmediate(() => {
      const all = Buffer.concat(this.waiting);
      this.waiting = [];
      if (!this.stream.destroyed) this.stream.write(all);
    });
  }
}

/** Answers each message of the stream; a failure ends it. */
export function serveStream(stream: ServerHttp2Stream, handler: Handler): void {
  const splitter = new Splitter();
  const gatherer = new Gatherer(stream);
  stream.respond(respondHeaders);
  stream.on('data', (chunk: Buffer) => {
    for (const message of splitter.take(chunk)) {
      const number = message.readUInt32BE(0);
      handler(message.subarray(numberBytes)).then(
        (answer) => gatherer.add(number, answer),
        (error: Error) => stream.destroy(error),
      );
    }
  });
}

export class StreamClient {
  private readonly stream: ClientHttp2Stream;
  private readonly gatherer: Gatherer;
  private readonly waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  private next = 1;

  constructor(session: ClientHttp2Session, path: string) {
    this.stream = session.request(requestHeaders(path));
    this.gatherer = new Gatherer(this.stream);
    const splitter = new Splitter();
    this.stream.on('data', (chunk: Buffer) => {
      for (const message of splitter.take(chunk)) this.answered(message.readUInt32BE(0));
    });
    this.stream.on('error', () => undefined);
    this.stream.on('close', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the stream is gone'));
      this.waiting.clear();
    });
  }

  call(request: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const number = this.next++;
      this.waiting.set(number, { resolve, reject });
      this.gatherer.add(number, request);
    });
  }

  private answered(number: number): void {
    this.waiting.get(number)?.resolve();
    this.waiting.delete(number);
  }
}
