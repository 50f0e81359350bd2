/** Calls to the manager process beside this agent, over its private socket. */
import { EnxameError } from '#libs/model';
import { request } from 'node:http';
import { connect } from 'node:net';

const timeoutMs = 10_000;
const answerBytesMax = 1024 * 1024;

/** Posts JSON. Rejects with `unavailable` when nobody listens or the answer is an error. */
export function postToManager(socketPath: string, path: string, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void =>
      reject(new EnxameError('unavailable', `the manager of this node: ${reason}`, { cause }));
    const call = request(
      {
        socketPath,
        path,
        method: 'POST',
        timeout: timeoutMs,
        headers: { 'content-type': 'application/json' },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > answerBytesMax) answer.destroy(new Error(`answer over ${answerBytesMax} bytes`));
          else chunks.push(chunk);
        });
        answer.on('error', (error) => fail(error.message, error));
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          if (answer.statusCode === undefined || answer.statusCode >= 300) {
            fail(`status ${answer.statusCode ?? 'unknown'} for ${path}: ${text.slice(0, 500)}`);
            return;
          }
          try {
            resolve(JSON.parse(text));
          } catch (error) {
            fail(`${path} did not answer with JSON`, error);
          }
        });
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    call.on('error', (error) => fail(error.message, error));
    call.end(JSON.stringify(body));
  });
}

/** True when a process listens on the socket. */
export function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const done = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.setTimeout(timeoutMs, () => done(false));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
