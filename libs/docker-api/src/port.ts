/**
 * The Docker Engine API's wire conventions, shared by the agent's front door and the manager: how a route is
 * declared, what a handler gets, how it answers, streams and takes over a connection.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Duplex, Readable } from 'node:stream';

export interface ApiRequest {
  method: string;
  /** Without the version prefix and the query. */
  path: string;
  /** `[1, 50]` from `/v1.50/...`; the newest supported one when the path has no prefix. */
  version: readonly [number, number];
  params: Record<string, string>;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  /** The whole body as JSON. `invalid-argument` when it is not JSON or over the limit; undefined when empty. */
  json(): Promise<unknown>;
  /** The body as a stream, for tar uploads. Use either this or `json`. */
  raw: Readable;
  /** Aborts when the client is gone. */
  signal: AbortSignal;
  /** Who calls: the local socket (root), or a node by its certificate. */
  caller: { kind: 'local' } | { kind: 'node'; nodeId: string; role: 'manager' | 'worker' };
}

export interface ApiResponse {
  json(status: number, body: unknown, headers?: Record<string, string>): void;
  empty(status: number, headers?: Record<string, string>): void;
  /** Sends the head now and returns the response to write chunks to; each write is flushed. */
  stream(status: number, headers: Record<string, string>): ServerResponse;
  /**
   * Takes over the connection: `101 UPGRADED` when the client asked to upgrade, `200` otherwise; what the client has
   * already sent after its request body comes out of the duplex first. The duplex is half-open: the client may end
   * its side and still receive.
   */
  hijack(
    contentType: 'application/vnd.docker.raw-stream' | 'application/vnd.docker.multiplexed-stream',
  ): Duplex;
}

export interface Route {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /**
   * `/containers/:id/json`. `:name+` takes slashes, too: `/images/:name+/json`. Literal segments win over
   * parameters.
   */
  path: string;
  handler(request: ApiRequest, response: ApiResponse): Promise<void>;
}

/** Docker's filters, whichever of the two encodings the client used. */
export type Filters = ReadonlyMap<string, readonly string[]>;
