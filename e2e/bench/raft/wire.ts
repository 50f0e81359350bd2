/**
 * Unary gRPC calls on bare HTTP/2, server and client: at these rates a gRPC library would be most of what is
 * measured, on either side.
 */
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type Http2Server,
  type ServerHttp2Stream,
} from 'node:http2';

export const prefixBytes = 5;
const contentType = 'application/grpc';
const unavailable = '14';

export const respondHeaders = { ':status': 200, 'content-type': contentType };

export function requestHeaders(path: string): Record<string, string> {
  return { ':method': 'POST', ':path': path, 'content-type': contentType, te: 'trailers' };
}

export function frame(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(prefixBytes + message.length);
  bytes.writeUInt8(0, 0);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, prefixBytes);
  return bytes;
}

function unframe(chunks: readonly Buffer[]): Buffer {
  const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  return bytes.subarray(prefixBytes, prefixBytes + bytes.readUInt32BE(1));
}

export type Handler = (request: Buffer) => Promise<Uint8Array>;

export function createKvServer(
  handlers: Readonly<Record<string, Handler>>,
  streams: Readonly<Record<string, (stream: ServerHttp2Stream) => void>>,
): Http2Server {
  const server = createServer();
  server.on('stream', (stream, headers) => {
    const path = String(headers[':path']);
    if (path in streams) return streams[path]?.(stream);
    const handler = handlers[path];
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', () => undefined);
    stream.on('end', () => {
      if (handler === undefined) return refuse(stream, '12', 'no such method');
      handler(unframe(chunks)).then(
        (response) => answer(stream, response),
        (error: Error) => refuse(stream, unavailable, error.message),
      );
    });
  });
  return server;
}

function answer(stream: ServerHttp2Stream, response: Uint8Array): void {
  if (stream.destroyed) return;
  stream.respond(respondHeaders, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(frame(response));
}

function refuse(stream: ServerHttp2Stream, status: string, message: string): void {
  if (stream.destroyed) return;
  stream.respond(
    { ...respondHeaders, 'grpc-status': status, 'grpc-message': encodeURIComponent(message) },
    { endStream: true },
  );
}

export class UnaryClient {
  private readonly session: ClientHttp2Session;

  /** `target` is host:port. */
  constructor(target: string) {
    this.session = connect(`http://${target}`);
    // Each call hears of it, too.
    this.session.on('error', () => undefined);
  }

  /** Rejects with the server's words. */
  call(path: string, request: Uint8Array, timeoutMs = 30_000): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const stream = this.session.request(requestHeaders(path));
      const chunks: Buffer[] = [];
      let status: string | undefined;
      let words = 'the connection is gone';
      const heed = (headers: Record<string, unknown>): void => {
        if (headers['grpc-status'] === undefined) return;
        status = String(headers['grpc-status']);
        words = decodeURIComponent(String(headers['grpc-message'] ?? `status ${status}`));
      };
      stream.on('response', heed);
      stream.on('trailers', heed);
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', (error) => {
        words = error.message;
      });
      stream.on('close', () => (status === '0' ? resolve(unframe(chunks)) : reject(new Error(words))));
      stream.setTimeout(timeoutMs, () => stream.close());
      stream.end(frame(request));
    });
  }

  close(): void {
    this.session.destroy();
  }
}
