/**
 * The driver's end of the storage: joins what is to be written while a write is under way (group commit), and hands
 * snapshots over in pieces.
 */
import { EnxameError } from '#libs/model';
import type { Entry, SnapshotMeta } from '../core/types.js';
import { packBatch, type WalBatch } from './records.js';
import type {
  RaftStorage,
  SnapshotReader,
  SnapshotWriter,
  StorageAdjustment,
  StorageChannel,
  StorageEvents,
  StorageOptions,
  StorageReply,
  StorageRequest,
  StoredSnapshot,
} from './storage.js';

/** Chunks of a snapshot handed over together. */
const handOverBytes = 256 * 1024;

export class QueuedStorage implements RaftStorage {
  private waiting: (WalBatch & { entries: Entry[]; sequence: number }) | undefined;
  private isWriting = false;
  private failure: EnxameError | undefined;
  private whenIdle: (() => void) | undefined;
  private nextHandle = 1;

  constructor(
    private readonly channel: StorageChannel,
    private readonly events: StorageEvents,
    private options: StorageOptions,
    private readonly readNewest: (options: StorageOptions) => StoredSnapshot | undefined,
  ) {}

  append(batch: WalBatch, sequence: number): void {
    if (this.failure !== undefined) return;
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
    if (this.failure === undefined)
      this.channel.send({ kind: 'release', index }, (reply) => this.check(reply));
  }

  newestSnapshot(): StoredSnapshot | undefined {
    return this.readNewest(this.options);
  }

  async writeSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>): Promise<void> {
    const handle = this.nextHandle++;
    await this.request({ kind: 'snapshot-begin', handle, meta });
    try {
      let number = 0;
      let gathered: Uint8Array[] = [];
      let gatheredBytes = 0;
      const handOver = async (): Promise<void> => {
        await this.request({ kind: 'snapshot-write', handle, number, chunks: gathered });
        number += gathered.length;
        gathered = [];
        gatheredBytes = 0;
      };
      for (const chunk of chunks) {
        gathered.push(chunk);
        gatheredBytes += chunk.length;
        // Each wait also lets the event loop turn.
        if (gatheredBytes >= handOverBytes) await handOver();
      }
      await handOver();
      await this.request({ kind: 'snapshot-finish', handle, id: undefined });
    } catch (error) {
      await this.abortSnapshot(handle);
      throw error;
    }
  }

  async openSnapshot(): Promise<SnapshotReader | undefined> {
    const handle = this.nextHandle++;
    const { snapshot } = await this.ask({ kind: 'snapshot-open', handle }, 'snapshot');
    if (snapshot === undefined) return undefined;
    return {
      ...snapshot,
      read: async (number) => (await this.ask({ kind: 'snapshot-read', handle, number }, 'chunk')).chunk,
      close: async () => {
        if (this.failure === undefined) await this.request({ kind: 'snapshot-close', handle });
      },
    };
  }

  async receiveSnapshot(meta: SnapshotMeta, id: string): Promise<SnapshotWriter> {
    const handle = this.nextHandle++;
    await this.request({ kind: 'snapshot-begin', handle, meta });
    return {
      write: async (number, chunk) =>
        (await this.ask({ kind: 'snapshot-write', handle, number, chunks: [chunk] }, 'wanted')).number,
      finish: async () => {
        try {
          await this.request({ kind: 'snapshot-finish', handle, id });
        } catch (error) {
          await this.abortSnapshot(handle);
          throw error;
        }
      },
      abort: () => this.abortSnapshot(handle),
    };
  }

  async adjust(options: StorageAdjustment): Promise<void> {
    this.options = { ...this.options, ...options };
    await this.request({ kind: 'adjust', options });
  }

  async keyIdsInUse(): Promise<readonly string[]> {
    return (await this.ask({ kind: 'key-ids' }, 'key-ids')).ids;
  }

  async close(): Promise<void> {
    if (this.isWriting) {
      await new Promise<void>((resolve) => {
        this.whenIdle = resolve;
      });
    }
    if (this.failure === undefined) await this.request({ kind: 'close' });
    await this.channel.end();
  }

  private writeNext(): void {
    if (this.isWriting || this.waiting === undefined) return;
    this.isWriting = true;
    const batch = packBatch(this.waiting);
    const { sequence } = this.waiting;
    this.waiting = undefined;
    this.channel.send({ kind: 'append', batch }, (reply) => {
      this.isWriting = false;
      if (this.check(reply)) {
        this.events.persisted(sequence);
        this.writeNext();
      }
      if (!this.isWriting) this.whenIdle?.();
    });
  }

  /** False after a failure; a fatal one ends everything. */
  private check(reply: StorageReply): boolean {
    if (reply.kind !== 'failed') return true;
    if (reply.isFatal && this.failure === undefined) {
      this.failure = new EnxameError(reply.code, reply.message);
      this.events.failed(this.failure);
    }
    return false;
  }

  private request(request: StorageRequest): Promise<StorageReply> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      this.channel.send(request, (reply) => {
        this.check(reply);
        if (reply.kind === 'failed') reject(new EnxameError(reply.code, reply.message));
        else resolve(reply);
      });
    });
  }

  private async ask<K extends StorageReply['kind']>(
    request: StorageRequest,
    kind: K,
  ): Promise<Extract<StorageReply, { kind: K }>> {
    const reply = await this.request(request);
    if (reply.kind !== kind) throw new Error(`the raft storage answered ${reply.kind} where ${kind} was due`);
    return reply as Extract<StorageReply, { kind: K }>;
  }

  /** A failure here hides no other: what is left is removed at the next start. */
  private async abortSnapshot(handle: number): Promise<void> {
    if (this.failure !== undefined) return;
    await this.request({ kind: 'snapshot-abort', handle }).catch(() => undefined);
  }
}
