/**
 * The one true log: what any member has called committed. Commit indexes only grow, and no member ever says anything
 * else about an index (state machine safety, Raft paper, figure 3).
 */
import type { Entry, SnapshotMeta } from '#libs/raft';
import type { Observed, Observer, Report } from './observer.js';

interface Committed {
  term: number;
  /** The term of the member that called it committed first. */
  committedInTerm: number;
  entry?: Entry;
  hash?: number;
}

export class CommittedLog implements Observer {
  private readonly log: Committed[] = [];
  private readonly commits = new Map<string, number>();
  private readonly appliedIndexes = new Map<string, number>();

  constructor(private readonly report: Report) {}

  get lastIndex(): number {
    return this.log.length;
  }

  at(index: number): Committed | undefined {
    return this.log[index - 1];
  }

  stepped(member: Observed): void {
    const run = runOf(member);
    const { commit, term, firstIndex } = member.status();
    const before = this.commits.get(run) ?? 0;
    if (commit === before) return;
    if (commit < before) this.report(`monotonic commit: ${member.id} went from ${before} back to ${commit}`);
    this.commits.set(run, commit);
    for (let index = Math.max(before + 1, firstIndex); index <= commit; index++) {
      this.agree(member, index, { term: member.termAt(index) ?? -1, committedInTerm: term });
    }
  }

  applied(member: Observed, entry: Entry, hash: number): void {
    const run = runOf(member);
    const before = this.appliedIndexes.get(run);
    if (before !== undefined && entry.index !== before + 1) {
      this.report(`state machine safety: ${member.id} applied ${entry.index} after ${before}`);
    }
    this.appliedIndexes.set(run, entry.index);
    const known = this.at(entry.index);
    if (known === undefined) {
      this.report(`state machine safety: ${member.id} applied ${entry.index}, which nobody has committed`);
      return;
    }
    known.entry ??= entry;
    if (known.term !== entry.term || !isSame(known.entry, entry)) {
      this.report(`state machine safety: ${member.id} applied another entry at ${entry.index} than others`);
    }
    this.agreeOnState(member, entry.index, hash);
  }

  restored(member: Observed, { index, term }: SnapshotMeta, hash: number): void {
    this.appliedIndexes.set(runOf(member), index);
    if (this.at(index)?.term !== term) {
      this.report(
        `state machine safety: ${member.id} restored a snapshot at ${index} of term ${term}, which nobody committed`,
      );
      return;
    }
    this.agreeOnState(member, index, hash);
  }

  private agree(member: Observed, index: number, said: { term: number; committedInTerm: number }): void {
    const known = this.at(index);
    if (known === undefined) {
      if (index !== this.log.length + 1) {
        this.report(
          `monotonic commit: ${member.id} calls ${index} committed, others came to ${this.log.length}`,
        );
      }
      this.log.push(said);
    } else if (known.term !== said.term) {
      this.report(
        `state machine safety: ${member.id} committed term ${said.term} at index ${index}, others term ${known.term}`,
      );
    }
  }

  private agreeOnState(member: Observed, index: number, hash: number): void {
    const known = this.at(index);
    if (known === undefined) return;
    known.hash ??= hash;
    if (known.hash !== hash) this.report(`state machine safety: ${member.id} has another state at ${index}`);
  }
}

function runOf(member: Observed): string {
  return `${member.id} ${member.incarnation}`;
}

function isSame(a: Entry, b: Entry): boolean {
  return a === b || (a.kind === b.kind && a.term === b.term && Buffer.compare(a.data, b.data) === 0);
}
