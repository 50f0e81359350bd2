/** A few calls of a node's own Docker API, for showing and ending a local cluster. */
import { request } from 'node:http';
import { UserError } from '../user-error.js';

export interface EngineAnswer {
  status: number;
  body: string;
}

export function callEngine(options: {
  socketPath: string;
  method: string;
  path: string;
  body?: unknown;
  timeoutMs: number;
}): Promise<EngineAnswer> {
  return new Promise((resolve, reject) => {
    const payload = options.body === undefined ? undefined : JSON.stringify(options.body);
    const call = request(
      {
        socketPath: options.socketPath,
        method: options.method,
        path: options.path,
        timeout: options.timeoutMs,
        agent: false,
        headers: payload
          ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
          : {},
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
        response.on('error', reject);
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${options.timeoutMs} ms`)));
    call.on('error', reject);
    call.end(payload);
  });
}

export async function readEngine<T>(socketPath: string, path: string): Promise<T> {
  const answer = await callEngine({ socketPath, method: 'GET', path, timeoutMs: 10_000 });
  if (answer.status >= 300) throw new Error(`GET ${path}: ${answer.status} ${answer.body}`);
  return JSON.parse(answer.body) as T;
}

/** Asks until the answer satisfies, or says what the last try gave. A `UserError` of the probe ends it at once. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last = 'no answer yet';
  while (performance.now() < deadline) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
    } catch (error) {
      if (error instanceof UserError) throw error;
      last = error instanceof Error ? error.message : String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen within ${timeoutMs / 1000} s (${last})`);
}
