/** The storage's own thread. Its synchronous writes block nobody, and a busy thread pool does not delay them. */
import { parentPort, workerData } from 'node:worker_threads';
import { DiskStorage, failure, type Found } from './disk-storage.js';
import { nodeDisk } from './node-disk.js';
import { type MailboxEnd, serveMailbox } from './mailbox.js';
import type { StorageOptions, StorageReply } from './storage.js';

export interface WorkerData {
  options: StorageOptions;
  mailbox: MailboxEnd;
}

export type WorkerReply =
  | StorageReply
  /** First the payloads of frames, in order, */
  | { kind: 'log'; payloads: readonly Uint8Array<ArrayBuffer>[] }
  /** then the rest. */
  | { kind: 'opened'; found: Found };

const port = parentPort;
if (port === null) throw new Error('the raft storage works in a worker thread');
const { options, mailbox } = workerData as WorkerData;

/** Of the log, handed over at once. */
const handOverBytes = 1024 * 1024;

function reply(message: WorkerReply): void {
  port?.postMessage(message);
}

/** The reader takes the bytes themselves: the log is in memory once, however long it is. */
class LogSender {
  private payloads: Uint8Array<ArrayBuffer>[] = [];
  private bytes = 0;

  add(payload: Uint8Array): void {
    this.payloads.push(Uint8Array.from(payload));
    this.bytes += payload.length;
    if (this.bytes >= handOverBytes) this.flush();
  }

  flush(): void {
    const { payloads } = this;
    port?.postMessage(
      { kind: 'log', payloads } satisfies WorkerReply,
      payloads.map((payload) => payload.buffer),
    );
    this.payloads = [];
    this.bytes = 0;
  }
}

try {
  const log = new LogSender();
  const { storage, found } = DiskStorage.open(nodeDisk, options, (_batch, payload) => log.add(payload));
  log.flush();
  reply({ kind: 'opened', found });
  serveMailbox(mailbox, (request) => {
    const answer = storage.handle(request);
    const isLast = request.kind === 'close' || (answer.kind === 'failed' && answer.isFatal);
    return { reply: answer, isLast };
  });
} catch (error) {
  reply(failure(options.dir, error, true));
}
