/**
 * What a data folder holds, read and never written: segments, snapshots, the newest hard state, who takes part, and
 * the entries one by one. The folder may be in use; a write that is under way shows as an unfinished one.
 */
import { join } from 'node:path';
import { decodeMembershipEntry, type MembershipEntry } from '../core/membership/codec.js';
import { nextMembership } from '../core/membership/changer.js';
import { emptyMembership } from '../core/membership/membership.js';
import type { Entry, HardState, Membership, SnapshotMeta } from '../core/types.js';
import { unwrapProposal } from '../driver/sessions/envelope.js';
import type { Disk } from '../wal/disk.js';
import type { FileOwner } from '../wal/file-header.js';
import { readLog } from '../wal/log-reader.js';
import { snapshotPaths, SnapshotFileReader } from '../wal/snapshot-file.js';
import type { WalContent } from '../wal/wal-content.js';

export interface InspectedSegment {
  file: string;
  /** Index of the first and last entry as they were written; undefined when there is none. */
  first: number | undefined;
  last: number | undefined;
  /** Later ones may have taken the place of some. */
  entries: number;
  keyId: string | undefined;
  clusterId: string | undefined;
}

export interface InspectedSnapshot {
  file: string;
  meta: SnapshotMeta;
  /** Chunks, bytes and checksum are in it. */
  id: string;
  keyId: string | undefined;
}

export interface InspectedRaft {
  hardState: HardState;
  /** Index range of the log as it stands; undefined when it is empty. */
  first: number | undefined;
  last: number | undefined;
  /** At the commit index of the hard state. */
  membership: Membership;
  segments: InspectedSegment[];
  snapshots: InspectedSnapshot[];
  torn: WalContent['torn'];
}

/** An entry, and what is in it: a change of membership, or the bytes for the state machine. */
export interface InspectedEntry extends Entry {
  membership?: MembershipEntry;
  session?: { id: string; sequence: number };
}

export interface InspectOptions extends FileOwner {
  /** The data folder: the one that holds `wal` and `snapshots`. */
  dir: string;
}

export function inspectRaft(disk: Disk, { dir, ...owner }: InspectOptions): InspectedRaft {
  const snapshots = snapshotPaths(disk, join(dir, 'snapshots')).map((file): InspectedSnapshot => {
    const reader = new SnapshotFileReader(disk, file, owner);
    try {
      return { file, meta: reader.meta, id: reader.id(), keyId: reader.keyId };
    } finally {
      reader.close();
    }
  });
  const segments = new Map<string, InspectedSegment>();
  const standing = new StandingLog();
  const changes = new Map<number, MembershipEntry>();
  const log = readLog(disk, join(dir, 'wal'), owner, (batch, _payload, { path, keyId, clusterId }) => {
    if (batch.snapshot !== undefined) standing.clear();
    let segment = segments.get(path);
    if (segment === undefined) {
      segment = { file: path, first: undefined, last: undefined, entries: 0, keyId, clusterId };
      segments.set(path, segment);
    }
    for (const entry of batch.entries) {
      segment.first ??= entry.index;
      segment.last = entry.index;
      segment.entries++;
      standing.add(entry);
      changes.delete(entry.index);
      if (entry.kind === 'membership') changes.set(entry.index, decodeMembershipEntry(entry.data));
    }
  });
  for (const { path, keyId, clusterId } of log.segments) {
    if (segments.has(path)) continue;
    segments.set(path, { file: path, first: undefined, last: undefined, entries: 0, keyId, clusterId });
  }
  const base = snapshots.at(-1)?.meta;
  return {
    hardState: log.hardState,
    first: standing.first,
    last: standing.last,
    membership: membershipAt(Math.max(log.hardState.commit, base?.index ?? 0), base, changes),
    segments: [...segments.values()].sort((a, b) => (a.file < b.file ? -1 : 1)),
    snapshots,
    torn: log.torn,
  };
}

/** Every entry of the log as it stands, from one index to another; what a later leader replaced is left out. */
export function visitRaftEntries(
  disk: Disk,
  options: InspectOptions & { from: number; to: number },
  visit: (entry: InspectedEntry) => void,
): void {
  const { dir, from, to, ...owner } = options;
  const wal = join(dir, 'wal');
  const standing = new StandingLog();
  readLog(disk, wal, owner, (batch) => {
    if (batch.snapshot !== undefined) standing.clear();
    for (const entry of batch.entries) standing.add(entry);
  });
  readLog(disk, wal, owner, (batch) => {
    for (const entry of batch.entries) {
      if (entry.index < from || entry.index > to || !standing.has(entry)) continue;
      visit(inspected(entry));
    }
  });
}

function inspected(entry: Entry): InspectedEntry {
  if (entry.kind === 'membership') return { ...entry, membership: decodeMembershipEntry(entry.data) };
  const proposal = entry.kind === 'data' ? unwrapProposal(entry.data) : undefined;
  if (proposal === undefined) return entry;
  const { session, sequence } = proposal.header;
  return { ...entry, data: proposal.data, session: { id: session.toString(16), sequence } };
}

function membershipAt(
  index: number,
  base: SnapshotMeta | undefined,
  changes: ReadonlyMap<number, MembershipEntry>,
): Membership {
  let membership = base?.membership ?? emptyMembership;
  for (const [at, change] of [...changes].sort(([a], [b]) => a - b)) {
    if (at <= (base?.index ?? 0) || at > index) continue;
    const next = nextMembership(membership, change);
    // A change that was refused when it was applied changed nothing.
    if (next.ok) membership = next.membership;
  }
  return membership;
}

/** Which entries hold, by index and term alone. */
class StandingLog {
  first: number | undefined;
  private terms: number[] = [];

  get last(): number | undefined {
    return this.first === undefined ? undefined : this.first + this.terms.length - 1;
  }

  clear(): void {
    this.first = undefined;
    this.terms = [];
  }

  add({ index, term }: Entry): void {
    if (this.first === undefined || index < this.first) {
      this.first = index;
      this.terms = [];
    }
    this.terms.length = index - this.first;
    this.terms.push(term);
  }

  has({ index, term }: Entry): boolean {
    return this.first !== undefined && this.terms[index - this.first] === term;
  }
}
