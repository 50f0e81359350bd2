/** The storage in a worker thread over this machine's disk, with the folder locked against other processes. */
import { Worker } from 'node:worker_threads';
import { EnxameError } from '#libs/model';
import { readNewestSnapshot } from './disk-storage.js';
import { type FolderLock, lockFolder } from './folder-lock.js';
import { nodeDisk } from './node-disk.js';
import { decodeBatch } from './records.js';
import { QueuedStorage } from './queued-storage.js';
import type { OpenStorage, StorageChannel, StorageOptions, StorageReply, StorageRequest } from './storage.js';
import type { WorkerReply } from './storage-worker.js';
import { EntryList, type WalContent } from './wal-content.js';

export const threadStorage: OpenStorage = async (options, events) => {
  const lock = await lockFolder(options.dir);
  try {
    const { worker, content } = await startWorker(options);
    const channel = new ThreadChannel(worker, lock);
    return {
      storage: new QueuedStorage(channel, events, options, (now) => readNewestSnapshot(nodeDisk, now)),
      content,
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
};

async function startWorker(options: StorageOptions): Promise<{ worker: Worker; content: WalContent }> {
  const worker = new Worker(new URL('./storage-worker.js', import.meta.url), { workerData: options });
  try {
    const content = await new Promise<WalContent>((resolve, reject) => {
      worker.once('error', reject);
      const entries = new EntryList();
      worker.on('message', (reply: WorkerReply) => {
        if (reply.kind === 'log') {
          for (const payload of reply.payloads) entries.add(decodeBatch(Buffer.from(payload.buffer)));
        } else if (reply.kind === 'opened') {
          resolve({ ...reply.found, entries: entries.take() });
        } else if (reply.kind === 'failed') {
          reject(new EnxameError(reply.code, reply.message));
        } else {
          reject(new Error(`the raft storage's thread answered ${reply.kind} first`));
        }
      });
    });
    worker.removeAllListeners('message');
    worker.removeAllListeners('error');
    return { worker, content };
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}

class ThreadChannel implements StorageChannel {
  /** Callers in the order of their requests, which is the order of the replies. */
  private readonly waiting: ((reply: StorageReply) => void)[] = [];
  private death: Extract<StorageReply, { kind: 'failed' }> | undefined;

  constructor(
    private readonly worker: Worker,
    private readonly lock: FolderLock,
  ) {
    worker.on('message', (reply: StorageReply) => {
      this.waiting.shift()?.(reply);
      if (reply.kind === 'failed' && reply.isFatal) this.die(reply);
    });
    worker.on('error', (error) =>
      this.die({
        kind: 'failed',
        code: 'internal',
        message: `the raft storage's thread died: ${error.message}`,
        isFatal: true,
      }),
    );
  }

  send(request: StorageRequest, done: (reply: StorageReply) => void): void {
    const { death } = this;
    if (death !== undefined) return queueMicrotask(() => done(death));
    this.waiting.push(done);
    const transfer = request.kind === 'append' ? [request.batch.payload.buffer] : [];
    this.worker.postMessage(request, transfer);
  }

  async end(): Promise<void> {
    await this.worker.terminate();
    await this.lock.release();
  }

  private die(death: Extract<StorageReply, { kind: 'failed' }>): void {
    this.death ??= death;
    for (const done of this.waiting.splice(0)) done(death);
  }
}
