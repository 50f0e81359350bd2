/**
 * Passes an exchange on to another HTTP server, raw: bodies stream both ways, an upgraded connection becomes two
 * pipes with each direction ending on its own. The agent uses it towards its manager, the manager towards the engine
 * port of any node.
 */
import { EnxameError } from '#libs/model';
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { connect as netConnect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import type { Exchange } from './exchange.js';

export type ProxyTarget =
  | { socketPath: string }
  | { host: string; port: number; tls?: { ca: string; cert: string; key: string; servername: string } };

export interface ProxyOptions {
  /** Path and query to ask for instead of the client's own. */
  path?: string;
  /** Headers to add to the request. */
  headers?: Record<string, string>;
  connectWaitMs?: number;
}

const connectWaitMsDefault = 5_000;
/** Headers that belong to one connection (RFC 9110 section 7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Resolves when the exchange is over. Rejects with `unavailable` when the target cannot be reached; nothing has been
 * answered to the client then.
 */
export async function proxyTo(
  target: ProxyTarget,
  exchange: Exchange,
  options: ProxyOptions = {},
): Promise<void> {
  const connection = await connectTo(target, options.connectWaitMs ?? connectWaitMsDefault);
  const upstream = httpRequest({
    method: exchange.request.method,
    path: options.path ?? exchange.request.url,
    headers: { ...requestHeaders(exchange), ...options.headers },
    createConnection: () => connection,
    setHost: false,
  });
  const stop = (): void => void upstream.destroy();
  exchange.signal.addEventListener('abort', stop, { once: true });
  try {
    await relay(exchange, upstream);
  } finally {
    exchange.signal.removeEventListener('abort', stop);
  }
}

/** Opens the connection: half-open, since a client without input closes its side at once and still reads. */
export function connectTo(target: ProxyTarget, waitMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = open(target);
    const readyEvent = 'host' in target && target.tls !== undefined ? 'secureConnect' : 'connect';
    const deadline = setTimeout(() => socket.destroy(new Error(`no answer in ${waitMs} ms`)), waitMs);
    const onError = (error: Error): void => {
      clearTimeout(deadline);
      reject(
        new EnxameError('unavailable', `cannot reach ${nameOf(target)}: ${error.message}`, { cause: error }),
      );
    };
    socket.once('error', onError);
    socket.once(readyEvent, () => {
      clearTimeout(deadline);
      socket.off('error', onError);
      resolve(socket);
    });
  });
}

function open(target: ProxyTarget): Socket {
  if ('socketPath' in target) return netConnect({ path: target.socketPath, allowHalfOpen: true });
  const { host, port, tls } = target;
  if (tls === undefined) return netConnect({ host, port, allowHalfOpen: true, noDelay: true });
  const secure = { host, port, ...tls, minVersion: 'TLSv1.3' as const, allowHalfOpen: true };
  const socket = tlsConnect(secure);
  socket.setNoDelay(true);
  return socket;
}

function nameOf(target: ProxyTarget): string {
  return 'socketPath' in target ? target.socketPath : `${target.host}:${target.port}`;
}

function requestHeaders(exchange: Exchange): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(exchange.request.headers)) {
    if (value !== undefined && !hopByHop.has(name)) headers[name] = value;
  }
  headers['host'] ??= 'api.moby.localhost';
  if (exchange.upgrade) {
    headers['connection'] = 'Upgrade';
    headers['upgrade'] = exchange.request.headers.upgrade ?? 'tcp';
  } else if (exchange.request.headers['transfer-encoding'] !== undefined) {
    headers['transfer-encoding'] = 'chunked';
  }
  return headers;
}

function relay(exchange: Exchange, upstream: ClientRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    let answered = false;
    upstream.once('error', (error) => {
      if (answered) return resolve();
      reject(new EnxameError('unavailable', `the connection broke: ${error.message}`, { cause: error }));
    });
    upstream.once('response', (answer) => {
      answered = true;
      passAnswer(exchange, answer).then(resolve, reject);
    });
    upstream.once('upgrade', (answer, socket, head) => {
      answered = true;
      joinConnections(exchange, answer, socket, head).then(resolve, reject);
    });
    exchange.body.on('error', (error) => upstream.destroy(error));
    exchange.body.pipe(upstream);
  });
}

function passAnswer(exchange: Exchange, answer: IncomingMessage): Promise<void> {
  const { response } = exchange;
  return new Promise((resolve) => {
    if (response.destroyed) {
      answer.destroy();
      return resolve();
    }
    // The names that this server sets by itself give way to the answer's own.
    for (const [name, value] of Object.entries(answer.headers)) {
      if (value !== undefined && !hopByHop.has(name)) response.setHeader(name, value);
    }
    if (isRawStream(answer)) {
      response.shouldKeepAlive = false;
      response.useChunkedEncodingByDefault = false;
    }
    response.writeHead(answer.statusCode ?? 502);
    response.flushHeaders();
    response.once('close', () => {
      answer.destroy();
      resolve();
    });
    answer.once('error', () => response.destroy());
    answer.once('aborted', () => response.destroy());
    answer.pipe(response);
  });
}

/** An answer to a hijack without upgrade has no length and no chunks: it ends with the connection. */
function isRawStream(answer: IncomingMessage): boolean {
  return (
    (answer.headers['content-type'] ?? '').startsWith('application/vnd.docker.') &&
    answer.headers['transfer-encoding'] === undefined &&
    answer.headers['content-length'] === undefined
  );
}

function joinConnections(
  exchange: Exchange,
  answer: IncomingMessage,
  upstream: Duplex,
  upstreamHead: Buffer,
): Promise<void> {
  const client = exchange.takeConnection();
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let i = 0; i + 1 < answer.rawHeaders.length; i += 2) {
    lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`);
  }
  client.write(`${lines.join('\r\n')}\r\n\r\n`);
  if (upstreamHead.length > 0) client.write(upstreamHead);
  return joinDuplexes(client, upstream);
}

/** Each direction ends by itself; an error or an early close of one side ends the other. */
export function joinDuplexes(a: Duplex, b: Duplex): Promise<void> {
  return new Promise((resolve) => {
    let open = 2;
    const closed = (other: Duplex) => () => {
      open -= 1;
      // A side that closed without having ended its own output leaves nothing to wait for.
      destroyWhenFlushed(other);
      if (open === 0) resolve();
    };
    a.on('error', () => a.destroy());
    b.on('error', () => b.destroy());
    a.once('close', closed(b));
    b.once('close', closed(a));
    a.pipe(b);
    b.pipe(a);
  });
}

function destroyWhenFlushed(stream: Duplex): void {
  if (stream.destroyed) return;
  if (!stream.writableEnded) stream.end();
  if (stream.writableFinished) stream.destroy();
  else stream.once('finish', () => stream.destroy());
}
