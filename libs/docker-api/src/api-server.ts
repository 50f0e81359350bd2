/** Routes, errors and connection take-over on top of Node's HTTP server, for any number of listeners. */
import { EnxameError, isEnxameError } from '#libs/model';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { requestOf, responseOf } from './api-exchange.js';
import { splitVersion } from './api-version.js';
import {
  type Caller,
  type Exchange,
  plainExchange,
  readUpgradeBody,
  responseOn,
  upgradeExchange,
} from './exchange.js';
import type { Route } from './port.js';
import { createRouteTable } from './route-table.js';

export interface ApiServerOptions {
  routes: readonly Route[];
  /** Sees every request before the routes; true when it has answered (or will). */
  before?: (exchange: Exchange) => Promise<boolean>;
  /** Sees requests that no route answers; true when it has answered (or will). */
  fallback?: (exchange: Exchange) => Promise<boolean>;
  /** Who is at the other end. A throw is answered to the client. */
  caller?: (connection: Duplex) => Caller;
  /** Headers of every answer, such as Docker's `Api-Version`. */
  headers?: () => Record<string, string>;
  /** Unexpected errors, with what was being answered. */
  log?: (error: unknown, what: string) => void;
}

export interface ApiServer {
  /** Answers the requests of this server and sets its timeouts. Call it once for each listener. */
  attach(server: Server | TlsServer): void;
  /** Closes every attached server and cuts what is open, connections that were taken over included. */
  close(): Promise<void>;
}

const headersWaitMs = 60_000;
/** Longer than the idle time of the clients' pools, so that it is never the server that closes first. */
const keepAliveMs = 90_000;
const unreadBodyBytesMax = 256 * 1024;
const unreadBodyWaitMs = 500;

export function createApiServer(options: ApiServerOptions): ApiServer {
  const table = createRouteTable(options.routes);

  async function dispatch(exchange: Exchange): Promise<void> {
    if (options.before !== undefined && (await options.before(exchange))) return;
    // Docker answers it everywhere, for browsers that ask before they ask.
    if (exchange.request.method === 'OPTIONS') return responseOf(exchange).empty(200);
    const found = table.find(exchange.request.method ?? 'GET', exchange.path);
    if (found !== undefined) {
      const request = requestOf(exchange, found.params);
      await found.route.handler(request, responseOf(exchange));
      return;
    }
    if (options.fallback !== undefined && (await options.fallback(exchange))) return;
    throw new EnxameError('not-found', 'page not found');
  }

  function target(request: IncomingMessage, connection: Duplex) {
    const url = request.url ?? '/';
    const at = url.indexOf('?');
    const rawPath = at < 0 ? url : url.slice(0, at);
    const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
    const caller = options.caller?.(connection) ?? { kind: 'local' as const };
    return { ...splitVersion(rawPath), query, caller };
  }

  function answerHeaders(response: ServerResponse): void {
    for (const [name, value] of Object.entries(options.headers?.() ?? {})) response.setHeader(name, value);
  }

  async function onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    answerHeaders(response);
    try {
      await dispatch(plainExchange(request, response, target(request, request.socket)));
    } catch (error) {
      if (!response.headersSent) await restOfBody(request);
      answerError(error, request, response);
    }
  }

  async function onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    let response: ServerResponse | undefined;
    try {
      const body = await readUpgradeBody(request, socket, head);
      response = responseOn(request, socket);
      answerHeaders(response);
      await dispatch(upgradeExchange(request, response, socket, body, target(request, socket)));
    } catch (error) {
      if (socket.destroyed) return;
      if (response !== undefined && response.socket === null && !response.writableEnded) {
        // The connection was taken over: there is no place for an answer any more.
        reportUnexpected(error, request);
        socket.destroy();
        return;
      }
      answerError(error, request, response ?? responseOn(request, socket));
    }
  }

  function answerError(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    reportUnexpected(error, request);
    if (response.headersSent || response.destroyed) {
      // Cutting the connection is the only way left to say that the answer is not whole.
      response.destroy();
      return;
    }
    const status = isEnxameError(error) ? error.httpStatus : 500;
    const message = error instanceof Error ? error.message : String(error);
    // A body that nobody reads must not be taken for the next request.
    if (!request.complete) response.setHeader('Connection', 'close');
    sendJson(response, status, { message });
  }

  function reportUnexpected(error: unknown, request: IncomingMessage): void {
    const unexpected = !isEnxameError(error) || error.code === 'internal' || error.code === 'data-damaged';
    if (unexpected) options.log?.(error, `${request.method} ${request.url}`);
  }

  const servers = new Set<Server | TlsServer>();
  const connections = new Set<Duplex>();

  return {
    attach(server) {
      servers.add(server);
      server.on('connection', (connection: Duplex) => {
        connections.add(connection);
        connection.once('close', () => connections.delete(connection));
      });
      server.requestTimeout = 0;
      server.headersTimeout = headersWaitMs;
      server.keepAliveTimeout = keepAliveMs;
      server.timeout = 0;
      server.on('request', (request, response) => void onRequest(request, response));
      server.on('upgrade', (request, socket, head) => void onUpgrade(request, socket, head));
      server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
        if (error.code === 'ECONNRESET' || !socket.writable) {
          socket.destroy();
          return;
        }
        const body = JSON.stringify({ message: `malformed HTTP request: ${error.message}` });
        socket.end(
          `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
        );
      });
    },
    async close() {
      const closed = [...servers].map(
        (server) => new Promise<void>((resolve) => server.close(() => resolve())),
      );
      // Node forgets connections that were taken over, and those still shaking hands.
      for (const connection of connections) connection.destroy();
      await Promise.all(closed);
    },
  };
}

/**
 * A client that still sends its body when the answer and the end of the connection come may see only a broken pipe, so
 * what is left of a short body is taken first. A long one is not waited for.
 */
function restOfBody(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      clearTimeout(timer);
      request.off('data', count);
      for (const name of ['end', 'close', 'error']) request.off(name, done);
      resolve();
    };
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > unreadBodyBytesMax) done();
    };
    const timer = setTimeout(done, unreadBodyWaitMs);
    for (const name of ['end', 'close', 'error']) request.once(name, done);
    request.on('data', count);
    request.resume();
  });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': text.length });
  response.end(text);
}
