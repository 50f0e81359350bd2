/** Calls to the manager process beside this agent, over its private socket. */
import { EnxameError, managerFailureFile, type ManagerFailure, type NodeConfig } from '#libs/model';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';

const probeWaitMs = 10_000;
const answerBytesMax = 64 * 1024 * 1024;

export interface ManagerCall {
  method: 'GET' | 'POST' | 'DELETE';
  /** With its query. */
  path: string;
  body?: unknown;
  waitMs: number;
}

export interface ManagerAnswer {
  status: number;
  /** Undefined for an empty answer. */
  body: unknown;
}

/** Sends and reads JSON. Rejects with `unavailable` when nobody listens or the answer is none; any status resolves. */
export function callManager(socketPath: string, call: ManagerCall): Promise<ManagerAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(
        new EnxameError('unavailable', `cannot reach ${socketPath}: ${error.message}`, { cause: error }),
      );
    const payload = call.body === undefined ? undefined : JSON.stringify(call.body);
    const sent = request(
      {
        socketPath,
        path: call.path,
        method: call.method,
        agent: false,
        timeout: call.waitMs,
        headers: payload === undefined ? {} : { 'content-type': 'application/json' },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax) answer.destroy(new Error(`answer over ${answerBytesMax} bytes`));
          else chunks.push(chunk);
        });
        answer.on('error', fail);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          try {
            resolve({
              status: answer.statusCode ?? 500,
              body: text === '' ? undefined : (JSON.parse(text) as unknown),
            });
          } catch (error) {
            fail(error instanceof Error ? error : new Error(String(error)));
          }
        });
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer in ${call.waitMs} ms`)));
    sent.on('error', fail);
    sent.end(payload);
  });
}

/** Why the manager could not go on. Undefined when it left no word, or is just writing it. */
export function readManagerFailure(config: Pick<NodeConfig, 'managerSocket'>): ManagerFailure | undefined {
  try {
    return JSON.parse(readFileSync(managerFailureFile(config), 'utf8')) as ManagerFailure;
  } catch {
    // Its absence is the usual case: the manager is running, or only starting.
    return undefined;
  }
}

/** True when a process listens on the socket. */
export function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const done = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.setTimeout(probeWaitMs, () => done(false));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
