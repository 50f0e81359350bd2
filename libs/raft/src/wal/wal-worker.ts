/**
 * The log's own thread. Its synchronous writes block nobody, and a busy thread pool does not delay them. It stops at
 * the first failure: after a failed fsync the kernel may have dropped the very pages that were to be written.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { describeError, type ErrorCode, isEnxameError } from '#libs/model';
import type { WalReply, WalRequest, WalWorkerData } from './protocol.js';
import { openWal, type Wal } from './wal.js';

const port = parentPort;
if (port === null) throw new Error('the log is written by a worker thread');
const { dir, options } = workerData as WalWorkerData;

function reply(message: WalReply): void {
  port?.postMessage(message);
}

function fail(error: unknown): void {
  reply({ kind: 'failed', code: codeOf(error), message: `raft log ${dir}: ${describeError(error)}` });
  port?.close();
}

function codeOf(error: unknown): ErrorCode {
  if (isEnxameError(error)) return error.code;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'resource-exhausted' : 'internal';
}

function serve(wal: Wal): void {
  port?.on('message', (request: WalRequest) => {
    try {
      switch (request.kind) {
        case 'append':
          wal.append(request.batch);
          reply({ kind: 'persisted', sequence: request.sequence });
          return;
        case 'release':
          wal.release(request.index);
          return;
        case 'close':
          wal.close();
          reply({ kind: 'closed' });
          port?.close();
          return;
      }
    } catch (error) {
      fail(error);
    }
  });
}

try {
  const { wal, content } = openWal(dir, options);
  reply({ kind: 'opened', content });
  serve(wal);
} catch (error) {
  fail(error);
}
