/**
 * One request on one connection, before any route: plain requests and those that ask to upgrade look alike, so that
 * routing, errors and proxying are written once.
 */
import { EnxameError } from '#libs/model';
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable, type Duplex } from 'node:stream';
import type { ApiRequest } from './port.js';

export type Caller = ApiRequest['caller'];

export interface Exchange {
  readonly request: IncomingMessage;
  /** Answers on the same connection, also for a request that asked to upgrade. */
  readonly response: ServerResponse;
  /** The request's body. */
  readonly body: Readable;
  /** The client asked to upgrade; its body has been read already. */
  readonly upgrade: boolean;
  readonly version: readonly [number, number];
  /** Without version prefix and query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly caller: Caller;
  /** Aborts when the client is gone before the answer is whole. */
  readonly signal: AbortSignal;
  /** Takes the connection away from HTTP: nothing has been written to it yet. */
  takeConnection(): Duplex;
}

const upgradeBodyBytesMax = 1024 * 1024;
const upgradeBodyWaitMs = 30_000;

export interface RequestTarget {
  version: readonly [number, number];
  path: string;
  query: URLSearchParams;
  caller: Caller;
}

export function plainExchange(
  request: IncomingMessage,
  response: ServerResponse,
  target: RequestTarget,
): Exchange {
  const abort = new AbortController();
  const onClose = (): void => {
    if (!response.writableFinished) abort.abort();
  };
  response.once('close', onClose);
  return {
    ...target,
    request,
    response,
    body: request,
    upgrade: false,
    signal: abort.signal,
    takeConnection() {
      const socket = request.socket;
      response.off('close', onClose);
      response.detachSocket(socket);
      releaseFromParser(socket);
      socket.once('close', () => abort.abort());
      return socket;
    },
  };
}

/** An answer on a connection that Node's HTTP server has let go of. */
export function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  // Node types it for net.Socket; TLS sockets and duplexes serve as well.
  response.assignSocket(socket as Socket);
  response.once('finish', () => {
    response.detachSocket(socket as Socket);
    socket.end();
    // The client may still be sending: without a reader its bytes would hold the connection open.
    socket.resume();
  });
  return response;
}

export function upgradeExchange(
  request: IncomingMessage,
  response: ServerResponse,
  socket: Duplex,
  body: Buffer,
  target: RequestTarget,
): Exchange {
  const abort = new AbortController();
  socket.once('close', () => abort.abort());
  return {
    ...target,
    request,
    response,
    body: Readable.from(body.length === 0 ? [] : [body], { objectMode: false }),
    upgrade: true,
    signal: abort.signal,
    takeConnection() {
      response.detachSocket(socket as Socket);
      return socket;
    },
  };
}

/**
 * Reads a request body that Node left on the connection because the request asks to upgrade. Part of it may be in
 * `head`, part still to come; what follows the body is put back for whoever takes the connection over.
 */
export async function readUpgradeBody(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<Buffer> {
  if (request.headers['transfer-encoding'] !== undefined) {
    throw new EnxameError('invalid-argument', 'a request that upgrades must give its Content-Length');
  }
  const length = Number(request.headers['content-length'] ?? 0);
  if (!Number.isSafeInteger(length) || length < 0 || length > upgradeBodyBytesMax) {
    throw new EnxameError(
      'invalid-argument',
      `the body of a request that upgrades may have at most ${upgradeBodyBytesMax} bytes`,
    );
  }
  if (head.length > 0) socket.unshift(head);
  if (length === 0) return Buffer.alloc(0);
  return readExactly(socket, length);
}

function readExactly(socket: Duplex, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let missing = length;
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(
      () => finish(new EnxameError('deadline-exceeded', 'the request body did not come before the deadline')),
      upgradeBodyWaitMs,
    );
    function finish(error?: Error): void {
      clearTimeout(deadline);
      socket.off('readable', onReadable);
      socket.off('close', onClose);
      socket.off('end', onClose);
      if (error === undefined) resolve(Buffer.concat(chunks));
      else reject(error);
    }
    function onReadable(): void {
      while (missing > 0) {
        const chunk = socket.read(Math.min(missing, socket.readableLength)) as Buffer | null;
        if (chunk === null || chunk.length === 0) return;
        chunks.push(chunk);
        missing -= chunk.length;
      }
      finish();
    }
    function onClose(): void {
      finish(new EnxameError('invalid-argument', 'the connection ended inside the request body'));
    }
    socket.on('readable', onReadable);
    socket.on('close', onClose);
    socket.on('end', onClose);
    onReadable();
  });
}

/**
 * Clients that hijack without asking to upgrade (Docker before 1.21) keep writing to the connection as if it were
 * raw. Node's server would parse those bytes as another request, so its listeners are taken off; adding a `data`
 * listener first makes it hand reading back from its native parser.
 */
function releaseFromParser(socket: Socket): void {
  const nothing = (): void => undefined;
  socket.on('data', nothing);
  for (const event of ['data', 'end', 'drain', 'timeout', 'error', 'close']) socket.removeAllListeners(event);
  socket.on('error', nothing);
  socket.setTimeout(0);
  // Neither flowing nor paused, as Node leaves an upgraded connection: the first reader starts it.
  socket.pause();
  (socket as { readableFlowing: boolean | null }).readableFlowing = null;
}
