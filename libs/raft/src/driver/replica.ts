/**
 * The replicated state of this member: the state machine, the session table and who was removed from the cluster.
 * It takes committed entries in order, a slice at a time, so that a long backlog does not keep the event loop from
 * heartbeats.
 */
import { describeError, EnxameError } from '#libs/model';
import { emptyMembership, membersOf } from '../core/membership/membership.js';
import type { Command, Entry, MemberId, Membership, SnapshotMeta } from '../core/types.js';
import type { StateMachine } from '../port.js';
import type { StoredSnapshot } from '../wal/storage.js';
import { type SessionHeader, unwrapProposal } from './sessions/envelope.js';
import { SessionTable, type Verdict } from './sessions/session-table.js';

export interface ReplicaHost {
  stateMachine: StateMachine;
  /** Entries, and bytes of them, that are applied before the event loop gets a turn. */
  limits: { applySliceEntries: number; applySliceBytes: number };
  soon(callback: () => void): void;
  newestSnapshot(): StoredSnapshot | undefined;
  applied(header: SessionHeader, verdict: Verdict, outcome: { index: number; result: unknown }): void;
  /** Everything through `index` has been applied. */
  advanced(index: number): void;
  membershipChanged(membership: Membership): void;
  /** The state was replaced by a snapshot's. */
  restored(sessions: SessionTable): void;
  fail(error: EnxameError): void;
}

export type ReplicaWork = Extract<
  Command,
  { kind: 'apply' } | { kind: 'membership-changed' } | { kind: 'install-snapshot' }
>;

/** Ids of members that were removed last; who was removed before them has been told long ago. */
const removedMembersMax = 256;

interface Head {
  sessions: string;
  removed: MemberId[];
}

/** The first chunk of every snapshot. */
export function encodeHead({ sessions, removed }: { sessions: SessionTable; removed: MemberId[] }): Buffer {
  const head: Head = { sessions: Buffer.from(sessions.encode()).toString('utf8'), removed };
  return Buffer.from(JSON.stringify(head), 'utf8');
}

export class Replica {
  /** In order. `at` is the first entry of the first piece of work that is not applied yet. */
  private work: ReplicaWork[] = [];
  private at = 0;
  private isDraining = false;
  private hasFailed = false;
  private sessions = new SessionTable();
  private removed: MemberId[] = [];

  membership: Membership = emptyMembership;
  lastApplied: { index: number; term: number } = { index: 0, term: 0 };
  /** Bytes of all entries applied since the start of the process. */
  appliedBytes = 0;

  constructor(private readonly host: ReplicaHost) {}

  /** At the start, before any work. */
  recover(snapshot: StoredSnapshot | undefined): void {
    if (snapshot !== undefined) this.load(snapshot);
  }

  isRemoved(member: MemberId): boolean {
    return this.removed.includes(member);
  }

  add(work: ReplicaWork): void {
    this.work.push(work);
  }

  /** Applies a slice; the rest follows in later turns. */
  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    try {
      this.applySlice();
    } catch (cause) {
      this.stop();
      const what = `raft: entry ${this.lastApplied.index + 1} cannot be applied: ${describeError(cause)}`;
      this.host.fail(new EnxameError('internal', what, { cause }));
    } finally {
      this.isDraining = false;
    }
  }

  stop(): void {
    this.hasFailed = true;
    this.work = [];
  }

  private applySlice(): void {
    const { applySliceEntries, applySliceBytes } = this.host.limits;
    let entriesLeft = applySliceEntries;
    let bytesLeft = applySliceBytes;
    while (!this.hasFailed) {
      const next = this.work[0];
      if (next === undefined) return;
      if (next.kind === 'apply') {
        const taken = this.applyEntries(next.entries, entriesLeft, bytesLeft);
        entriesLeft -= taken.entries;
        bytesLeft -= taken.bytes;
        if (this.at < next.entries.length) return this.host.soon(() => this.drain());
        this.at = 0;
      }
      this.work.shift();
      // What belongs to this very index comes first: a snapshot taken now must name the right members.
      if (next.kind === 'membership-changed') this.changeMembership(next.membership);
      if (next.kind === 'install-snapshot') this.install(next.snapshot);
      if (this.work[0]?.kind === 'membership-changed') continue;
      if (next.kind === 'apply') this.host.advanced(this.lastApplied.index);
    }
  }

  private applyEntries(
    entries: readonly Entry[],
    entriesMax: number,
    bytesMax: number,
  ): { entries: number; bytes: number } {
    const from = this.at;
    let bytes = 0;
    while (this.at < entries.length && this.at - from < entriesMax && bytes < bytesMax) {
      const entry = entries[this.at] as Entry;
      this.at++;
      // A snapshot that was newer than asked for may have brought it already.
      if (entry.index <= this.lastApplied.index) continue;
      this.applyEntry(entry);
      bytes += entry.data.length;
    }
    this.appliedBytes += bytes;
    const isPart = this.at < entries.length;
    if (isPart && this.at > from) this.host.advanced(this.lastApplied.index);
    return { entries: this.at - from, bytes };
  }

  private applyEntry(entry: Entry): void {
    const { stateMachine } = this.host;
    const { index, term } = entry;
    if (entry.kind !== 'data') {
      stateMachine.advance(index);
      this.lastApplied = { index, term };
      return;
    }
    const proposal = unwrapProposal(entry.data);
    if (proposal === undefined) throw new Error('it is no proposal of this version');
    const { header, data } = proposal;
    const verdict = this.sessions.take(header, index);
    let result: unknown;
    if (verdict === 'first') result = stateMachine.apply({ index, term, data });
    else stateMachine.advance(index);
    this.lastApplied = { index, term };
    this.host.applied(header, verdict, { index, result });
  }

  private changeMembership(membership: Membership): void {
    const now = membersOf(membership);
    const gone = membersOf(this.membership).filter((member) => !now.includes(member));
    this.removed = [...this.removed, ...gone].slice(-removedMembersMax);
    this.membership = membership;
    this.host.membershipChanged(membership);
    this.host.advanced(this.lastApplied.index);
  }

  private install(wanted: SnapshotMeta): void {
    if (wanted.index <= this.lastApplied.index) return;
    const snapshot = this.host.newestSnapshot();
    if (snapshot === undefined || snapshot.meta.index < wanted.index) {
      throw new Error(`the snapshot at ${wanted.index} is not on the disk`);
    }
    this.load(snapshot);
    this.host.restored(this.sessions);
    this.host.membershipChanged(this.membership);
    this.host.advanced(this.lastApplied.index);
  }

  private load({ meta, chunks }: StoredSnapshot): void {
    const rest = chunks[Symbol.iterator]();
    const first = rest.next();
    if (first.done === true) throw new Error(`the snapshot at ${meta.index} is empty`);
    const head = JSON.parse(Buffer.from(first.value).toString('utf8')) as Head;
    this.sessions = SessionTable.decode(Buffer.from(head.sessions, 'utf8'));
    this.removed = head.removed;
    this.membership = meta.membership;
    this.host.stateMachine.restore({ [Symbol.iterator]: () => rest }, meta.index);
    this.lastApplied = { index: meta.index, term: meta.term };
  }

  /** A picture of this moment; the state machine's chunks are made as they are asked for. */
  snapshot(): { meta: SnapshotMeta; chunks: Iterable<Uint8Array> } {
    const first = encodeHead({ sessions: this.sessions, removed: this.removed });
    const machine = this.host.stateMachine.snapshot();
    return {
      meta: { ...this.lastApplied, membership: this.membership },
      chunks: (function* () {
        yield first;
        yield* machine;
      })(),
    };
  }
}
