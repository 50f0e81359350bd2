/** What a route's handler sees of an exchange, and how it answers. */
import { EnxameError } from '#libs/model';
import type { IncomingHttpHeaders } from 'node:http';
import { Readable, type Duplex } from 'node:stream';
import type { Exchange } from './exchange.js';
import { whyNotJson } from './json-syntax.js';
import type { ApiRequest, ApiResponse } from './port.js';

/** Far above any spec a person writes, far below what would hurt the process. */
export const jsonBodyBytesMax = 4 * 1024 * 1024;

const exchanges = new WeakMap<ApiRequest, Exchange>();

/** The exchange behind a request, for handlers that pass it on to another server with `proxyTo`. */
export function exchangeOf(request: ApiRequest): Exchange {
  const exchange = exchanges.get(request);
  if (exchange === undefined) throw new Error('this request did not come from an ApiServer');
  return exchange;
}

export function requestOf(exchange: Exchange, params: Record<string, string>): ApiRequest {
  const request: ApiRequest = {
    method: exchange.request.method ?? 'GET',
    path: exchange.path,
    version: exchange.version,
    params,
    query: exchange.query,
    headers: exchange.request.headers,
    json: async () => {
      requireJson(exchange.request.headers);
      return readJson(exchange.body, exchange.request.headers['content-length']);
    },
    raw: exchange.body,
    signal: exchange.signal,
    caller: exchange.caller,
  };
  exchanges.set(request, exchange);
  return request;
}

/** A body that says it is something else than JSON is refused before it is looked at, as Docker does. */
function requireJson(headers: IncomingHttpHeaders): void {
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const isEmpty = headers['content-length'] === '0' || headers['content-length'] === undefined;
  if (type === '' || type === 'application/json') return;
  if (isEmpty && headers['transfer-encoding'] === undefined) return;
  throw new EnxameError(
    'invalid-argument',
    `unsupported Content-Type header (${type}): must be 'application/json'`,
  );
}

/** The whole body as JSON; undefined when empty. `invalid-argument` when it is over the limit or not JSON. */
export async function readJson(body: Readable, contentLength: string | undefined): Promise<unknown> {
  return parseJson(await readBytes(body, contentLength));
}

/** The body as JSON, and the exchange as if nobody had read it: for a handler that may have to pass it on. */
export function peekJson(request: ApiRequest): Promise<{ body: unknown; exchange: Exchange }> {
  return peekJsonOf(exchangeOf(request));
}

/** The same, before any route. */
export async function peekJsonOf(exchange: Exchange): Promise<{ body: unknown; exchange: Exchange }> {
  requireJson(exchange.request.headers);
  const bytes = await readBytes(exchange.body, exchange.request.headers['content-length']);
  return { body: parseJson(bytes), exchange: { ...exchange, body: Readable.from([bytes]) } };
}

async function readBytes(body: Readable, contentLength: string | undefined): Promise<Buffer> {
  if (Number(contentLength ?? 0) > jsonBodyBytesMax) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > jsonBodyBytesMax) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  // Go's decoder takes spaces alone for an empty body, too.
  if (/^\s*$/.test(bytes.toString('latin1', 0, 64)) && bytes.toString('utf8').trim() === '') return undefined;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new EnxameError('invalid-argument', whyNotJson(bytes.toString('utf8')), { cause: error });
  }
}

function tooLarge(): EnxameError {
  return new EnxameError(
    'invalid-argument',
    `the request body is larger than the limit of ${jsonBodyBytesMax} bytes`,
  );
}

export function responseOf(exchange: Exchange): ApiResponse {
  const { response } = exchange;
  return {
    json(status, body, headers) {
      const text = Buffer.from(`${JSON.stringify(body)}\n`);
      response.writeHead(status, {
        'Content-Type': 'application/json',
        'Content-Length': text.length,
        ...headers,
      });
      response.end(text);
    },
    empty(status, headers) {
      const mayCarryBody = status !== 204 && status !== 304;
      response.writeHead(status, { ...(mayCarryBody ? { 'Content-Length': '0' } : {}), ...headers });
      response.end();
    },
    stream(status, headers) {
      response.writeHead(status, headers);
      response.flushHeaders();
      return response;
    },
    hijack: (contentType) => hijack(exchange, contentType),
  };
}

function hijack(exchange: Exchange, contentType: string): Duplex {
  const connection = exchange.takeConnection();
  // Node wants `Connection: Upgrade` besides; Docker does not.
  const upgrades = exchange.upgrade || exchange.request.headers.upgrade !== undefined;
  const head = upgrades
    ? ['HTTP/1.1 101 UPGRADED', `Content-Type: ${contentType}`, 'Connection: Upgrade', 'Upgrade: tcp']
    : ['HTTP/1.1 200 OK', `Content-Type: ${contentType}`];
  connection.write(`${head.join('\r\n')}\r\n\r\n`);
  return connection;
}
