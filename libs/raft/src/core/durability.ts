/**
 * What this member's disk holds while writes are under way. The core never waits for the disk; it numbers its writes
 * and learns later which of them are done (thesis, 10.2.1: a leader writes beside its followers).
 */
import type { CoreLog } from './log.js';
import type { Rules } from './rules.js';
import type { Command, Entry, HardState, MemberId, SnapshotMeta } from './types.js';

interface Write {
  sequence: number;
  term: number;
  votedFor: MemberId | undefined;
  commit: number;
  /** Last index that this write makes durable, lowered when a later write replaces entries. */
  index: number;
}

export class Durability {
  /** Of the newest write asked for. */
  sequence = 0;
  /** Entries through here are on the disk. */
  index: number;
  /** What the disk knows to be committed. */
  commit: number;
  /** The same, once the writes under way are done. */
  writtenCommit: number;
  /** The newest vote on the disk. */
  vote: { term: number; votedFor: MemberId | undefined };
  private readonly writes: Write[] = [];

  constructor(
    private readonly log: CoreLog,
    private readonly rules: Rules,
    { term, votedFor, commit }: HardState,
  ) {
    this.index = log.lastIndex;
    this.commit = commit;
    this.writtenCommit = commit;
    this.vote = { term, votedFor };
  }

  /** The command that writes the hard state with entries (already in the log) or a snapshot in place of the log. */
  write(hardState: HardState, entries: readonly Entry[], snapshot?: SnapshotMeta): Command {
    this.sequence++;
    const { term, votedFor, commit } = hardState;
    this.writtenCommit = commit;
    this.writes.push({ sequence: this.sequence, term, votedFor, commit, index: this.log.lastIndex });
    return {
      kind: 'persist',
      sequence: this.sequence,
      hardState: this.rules.durableHardState(hardState),
      entries,
      ...(snapshot === undefined ? {} : { snapshot }),
    };
  }

  /**
   * The log after `keptThrough` was replaced. Should equal indexes come to the disk by an old write, they are not
   * what the log holds now: such a write must not vouch for them.
   */
  cut(keptThrough: number): void {
    this.index = this.rules.durableAfterCut(this.index, keptThrough);
    for (const write of this.writes) {
      write.index = this.rules.durableAfterCut(write.index, keptThrough);
    }
  }

  /** Every write through `sequence` is done. */
  done(sequence: number): void {
    let count = 0;
    for (const write of this.writes) {
      if (write.sequence > sequence) break;
      this.index = Math.max(this.index, write.index);
      this.vote = { term: write.term, votedFor: write.votedFor };
      this.commit = write.commit;
      count++;
    }
    this.writes.splice(0, count);
  }
}
