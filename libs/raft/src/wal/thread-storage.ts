/** The storage in a worker thread over this machine's disk, with the folder locked against other processes. */
import { Worker } from 'node:worker_threads';
import { EnxameError } from '#libs/model';
import { readNewestSnapshot } from './disk-storage.js';
import { type FolderLock, lockFolder } from './folder-lock.js';
import { nodeDisk } from './node-disk.js';
import { decodeBatch } from './records.js';
import { QueuedStorage } from './queued-storage.js';
import { Mailbox } from './mailbox.js';
import type { OpenStorage, StorageChannel, StorageReply, StorageRequest } from './storage.js';
import type { WorkerData, WorkerReply } from './storage-worker.js';
import { EntryList, type WalContent } from './wal-content.js';

export const threadStorage: OpenStorage = async (options, events) => {
  const lock = await lockFolder(options.dir);
  try {
    const mailbox = new Mailbox();
    const { worker, content } = await startWorker({ options, mailbox: mailbox.workerEnd });
    const channel = new ThreadChannel(worker, mailbox, lock);
    return {
      storage: new QueuedStorage(channel, events, options, (now) => readNewestSnapshot(nodeDisk, now)),
      content,
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
};

async function startWorker(workerData: WorkerData): Promise<{ worker: Worker; content: WalContent }> {
  const worker = new Worker(new URL('./storage-worker.js', import.meta.url), {
    workerData,
    transferList: [workerData.mailbox.port],
  });
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
  private death: Extract<StorageReply, { kind: 'failed' }> | undefined;

  constructor(
    private readonly worker: Worker,
    private readonly mailbox: Mailbox,
    private readonly lock: FolderLock,
  ) {
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
    this.mailbox.send(request, (reply) => {
      done(reply);
      if (reply.kind === 'failed' && reply.isFatal) this.die(reply);
    });
  }

  async end(): Promise<void> {
    await this.worker.terminate();
    this.mailbox.end(ended);
    await this.lock.release();
  }

  private die(death: Extract<StorageReply, { kind: 'failed' }>): void {
    this.death ??= death;
    this.mailbox.end(death);
  }
}

const ended: StorageReply = {
  kind: 'failed',
  code: 'unavailable',
  message: 'the raft storage is closed',
  isFatal: true,
};
