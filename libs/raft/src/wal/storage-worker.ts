/** The storage's own thread. Its synchronous writes block nobody, and a busy thread pool does not delay them. */
import { parentPort, workerData } from 'node:worker_threads';
import { DiskStorage, failure } from './disk-storage.js';
import { nodeDisk } from './node-disk.js';
import type { StorageOptions, StorageReply, StorageRequest } from './storage.js';
import type { WalContent } from './wal.js';

export type WorkerReply =
  | StorageReply
  /** The first one. */
  | { kind: 'opened'; content: WalContent };

const port = parentPort;
if (port === null) throw new Error('the raft storage works in a worker thread');
const options = workerData as StorageOptions;

function reply(message: WorkerReply): void {
  port?.postMessage(message);
}

try {
  const { storage, content } = DiskStorage.open(nodeDisk, options);
  reply({ kind: 'opened', content });
  port.on('message', (request: StorageRequest) => {
    const answer = storage.handle(request);
    reply(answer);
    if (request.kind === 'close' || (answer.kind === 'failed' && answer.isFatal)) port.close();
  });
} catch (error) {
  reply(failure(options.dir, error, true));
  port.close();
}
