/** Snapshots of this member: taken when due, sent to members that are far behind, taken over from a leader. */
import { describeError, EnxameError } from '#libs/model';
import type { Input, MemberId, SnapshotMeta } from '../core/types.js';
import type { OutgoingSnapshot, RaftLimits, RaftTransport, SnapshotIntake } from '../port.js';
import type { RaftStorage, SnapshotWriter } from '../wal/storage.js';
import type { Replica } from './replica.js';

export interface SnapshotsHost {
  limits: RaftLimits;
  transport: RaftTransport | undefined;
  storage(): RaftStorage | undefined;
  replica: Replica;
  step(input: Input): void;
  commitIndex(): number;
  /** Of members that answer, how far the slowest is; undefined on a member that does not lead. */
  slowestMatch(): number | undefined;
}

interface Incoming {
  from: MemberId;
  id: string;
  message: OutgoingSnapshot['message'];
  writer: SnapshotWriter;
  wanted: number;
}

export class Snapshots implements SnapshotIntake {
  private index = 0;
  private bytesAtLast = 0;
  private notBefore = 0;
  private taking: Promise<void> | undefined;
  private readonly sending = new Map<MemberId, Promise<void>>();
  private incoming: Incoming | undefined;
  private isStopped = false;
  /** Applied bytes at the snapshots of before: how much log lies behind each. */
  private marks: { index: number; bytes: number }[] = [];
  error: EnxameError | undefined;

  constructor(private readonly host: SnapshotsHost) {}

  recovered(index: number): void {
    this.index = index;
  }

  takeWhenDue(): void {
    const { limits, replica } = this.host;
    const storage = this.host.storage();
    const { index } = replica.lastApplied;
    const bytes = replica.appliedBytes - this.bytesAtLast;
    if (storage === undefined || this.taking !== undefined || index < this.notBefore) return;
    if (index - this.index < limits.snapshotEntries && bytes < limits.snapshotBytes) return;
    this.bytesAtLast = replica.appliedBytes;
    // The picture is taken here, before anything else is applied; its chunks are made as they are written.
    const { meta, chunks } = replica.snapshot();
    this.taking = storage
      .writeSnapshot(meta, chunks)
      .then(() => this.taken(meta))
      .catch((cause: unknown) => {
        // Without it the log only grows longer: that is no reason to stop, and room may come.
        const what = `raft: snapshot at ${meta.index} failed: ${describeError(cause)}`;
        this.error = new EnxameError('internal', what, { cause });
        this.notBefore = meta.index + Math.ceil(limits.snapshotEntries / 10);
      })
      .finally(() => {
        this.taking = undefined;
      });
  }

  private taken(meta: SnapshotMeta): void {
    this.index = Math.max(this.index, meta.index);
    this.error = undefined;
    const compactThrough = this.compactThrough(meta.index);
    this.host.step({ kind: 'snapshot-taken', snapshot: meta, compactThrough });
    this.host.storage()?.release(compactThrough);
  }

  /** Entries behind the snapshot stay for members that are a little late, as long as they are not too many bytes. */
  private compactThrough(index: number): number {
    const { keptEntries, keptBytes } = this.host.limits;
    const { appliedBytes } = this.host.replica;
    this.marks.push({ index, bytes: appliedBytes });
    while (this.marks.length > 1 && appliedBytes - (this.marks[0]?.bytes ?? 0) > keptBytes)
      this.marks.shift();
    const usual = index - keptEntries;
    const slowest = Math.min(usual, this.host.slowestMatch() ?? usual);
    return Math.max(0, slowest, Math.min(usual, this.marks[0]?.index ?? usual));
  }

  /** The newest snapshot, in place of the one that the message names. */
  send(to: MemberId, message: OutgoingSnapshot['message']): void {
    if (this.sending.has(to)) return;
    const sending = this.stream(to, message)
      .then(
        () => this.host.step({ kind: 'snapshot-status', peer: to, outcome: 'delivered' }),
        () => this.host.step({ kind: 'snapshot-status', peer: to, outcome: 'failed' }),
      )
      .finally(() => this.sending.delete(to));
    this.sending.set(to, sending);
  }

  private async stream(to: MemberId, message: OutgoingSnapshot['message']): Promise<void> {
    const reader = await this.host.storage()?.openSnapshot();
    if (reader === undefined || this.host.transport === undefined) throw new Error('there is no snapshot');
    try {
      await this.host.transport.sendSnapshot(to, {
        message: { ...message, snapshot: reader.meta },
        id: reader.id,
        read: (number) => (this.isStopped ? Promise.reject(stopping()) : reader.read(number)),
      });
    } finally {
      if (!this.isStopped) await reader.close();
    }
  }

  async begin(from: MemberId, { message, id }: Pick<OutgoingSnapshot, 'message' | 'id'>): Promise<number> {
    const storage = this.host.storage();
    if (storage === undefined) throw new EnxameError('unavailable', 'raft: this member is not running');
    const { index } = message.snapshot;
    if (index <= this.host.commitIndex()) {
      // The core's own answer tells the leader where to go on.
      this.host.step({ kind: 'message', from, message });
      throw new EnxameError('conflict', `raft: this member is past the snapshot at ${index} already`);
    }
    const held = this.incoming;
    if (held?.id === id) {
      // The same content: what another leader, or a stream that broke, has brought is as good.
      held.from = from;
      held.message = message;
      return held.wanted;
    }
    this.incoming = undefined;
    await held?.writer.abort();
    const writer = await storage.receiveSnapshot(message.snapshot, id);
    this.incoming = { from, id, message, writer, wanted: 0 };
    return 0;
  }

  async chunk(from: MemberId, number: number, chunk: Uint8Array): Promise<number> {
    const incoming = this.held(from);
    incoming.wanted = await incoming.writer.write(number, chunk);
    return incoming.wanted;
  }

  async end(from: MemberId): Promise<void> {
    const { writer, message } = this.held(from);
    this.incoming = undefined;
    await writer.finish();
    this.index = Math.max(this.index, message.snapshot.index);
    this.host.step({ kind: 'message', from, message });
  }

  private held(from: MemberId): Incoming {
    if (this.incoming?.from === from) return this.incoming;
    throw new EnxameError('conflict', 'raft: another snapshot took the place of this one');
  }

  /** Before the storage closes. A stream to another member is left: it may stand still for long. */
  async stop(): Promise<void> {
    this.isStopped = true;
    await this.taking;
  }
}

function stopping(): EnxameError {
  return new EnxameError('unavailable', 'raft: this member is stopping');
}
