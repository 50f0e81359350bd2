/** The driver's end of the log's thread: joins what is to be written while a write is under way (group commit). */
import { Worker } from 'node:worker_threads';
import { EnxameError } from '#libs/model';
import type { WalReply, WalRequest, WalWorkerData } from './protocol.js';
import type { Entry } from '../core/types.js';
import { packBatch, type WalBatch } from './records.js';
import type { WalContent } from './wal.js';

export interface WalThreadEvents {
  persisted(sequence: number): void;
  /** Called once; nothing is written after it. */
  failed(error: EnxameError): void;
}

export class WalThread {
  private waiting: (WalBatch & { entries: Entry[]; sequence: number }) | undefined;
  private isWriting = false;
  private hasFailed = false;
  private whenClosed: (() => void) | undefined;

  private constructor(
    private readonly worker: Worker,
    private readonly events: WalThreadEvents,
  ) {}

  static async open(
    data: WalWorkerData,
    events: WalThreadEvents,
  ): Promise<{ thread: WalThread; content: WalContent }> {
    const worker = new Worker(new URL('./wal-worker.js', import.meta.url), { workerData: data });
    const thread = new WalThread(worker, events);
    const content = await new Promise<WalContent>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (reply: WalReply) => {
        if (reply.kind === 'opened') resolve(reply.content);
        else reject(new EnxameError(reply.kind === 'failed' ? reply.code : 'internal', messageOf(reply)));
      });
    });
    worker.removeAllListeners('error');
    worker.on('message', (reply: WalReply) => thread.receive(reply));
    worker.on('error', (error) =>
      thread.fail(new EnxameError('internal', 'the raft log thread died', { cause: error })),
    );
    return { thread, content };
  }

  /** `sequence` only grows; `persisted` is called for the last one of each group. */
  append(batch: WalBatch, sequence: number): void {
    if (this.hasFailed) return;
    if (this.waiting === undefined || batch.snapshot !== undefined) {
      this.waiting = { ...batch, entries: [...batch.entries], sequence };
    } else {
      // One after the other: a later entry replaces an earlier one of its index when the log is read.
      this.waiting.hardState = batch.hardState;
      this.waiting.sequence = sequence;
      for (const entry of batch.entries) this.waiting.entries.push(entry);
    }
    this.writeNext();
  }

  release(index: number): void {
    if (!this.hasFailed) this.post({ kind: 'release', index });
  }

  /** Waits for everything appended before. */
  async close(): Promise<void> {
    if (!this.hasFailed) {
      await new Promise<void>((resolve) => {
        this.whenClosed = resolve;
        if (!this.isWriting) this.post({ kind: 'close' });
      });
    }
    await this.worker.terminate();
  }

  private writeNext(): void {
    if (this.isWriting || this.waiting === undefined) return;
    this.isWriting = true;
    const batch = packBatch(this.waiting);
    const { sequence } = this.waiting;
    this.waiting = undefined;
    this.worker.postMessage({ kind: 'append', batch, sequence } satisfies WalRequest, [batch.payload.buffer]);
  }

  private receive(reply: WalReply): void {
    switch (reply.kind) {
      case 'opened':
        return;
      case 'persisted':
        this.isWriting = false;
        this.events.persisted(reply.sequence);
        this.writeNext();
        if (!this.isWriting && this.whenClosed !== undefined) this.post({ kind: 'close' });
        return;
      case 'closed':
        this.whenClosed?.();
        return;
      case 'failed':
        this.fail(new EnxameError(reply.code, reply.message));
        return;
    }
  }

  private fail(error: EnxameError): void {
    if (this.hasFailed) return;
    this.hasFailed = true;
    this.whenClosed?.();
    this.events.failed(error);
  }

  private post(request: WalRequest): void {
    this.worker.postMessage(request);
  }
}

function messageOf(reply: WalReply): string {
  return reply.kind === 'failed' ? reply.message : `the raft log thread answered ${reply.kind} first`;
}
