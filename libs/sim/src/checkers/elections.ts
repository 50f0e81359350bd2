/**
 * Election safety: at most one leader in a term. Leader completeness: whoever becomes leader holds every entry that
 * was committed before (Raft paper, figure 3).
 */
import type { Command, MemberId } from '#libs/raft';
import type { CommittedLog } from './committed-log.js';
import type { Observed, Observer, Report } from './observer.js';

export class Elections implements Observer {
  private readonly leaders = new Map<number, MemberId>();

  constructor(
    private readonly committed: CommittedLog,
    private readonly report: Report,
  ) {}

  get count(): number {
    return this.leaders.size;
  }

  stepped(member: Observed, commands: readonly Command[]): void {
    for (const command of commands) {
      if (command.kind === 'role-changed' && command.role === 'leader') this.elected(member, command.term);
    }
  }

  private elected(member: Observed, term: number): void {
    const other = this.leaders.get(term);
    if (other !== undefined && other !== member.id) {
      this.report(`election safety: term ${term} has two leaders, ${other} and ${member.id}`);
    }
    this.leaders.set(term, member.id);
    const { firstIndex, lastIndex } = member.status();
    for (let index = firstIndex; index <= this.committed.lastIndex; index++) {
      const known = this.committed.at(index);
      // A later term may have gone on while this election was on its way.
      if (known === undefined || known.committedInTerm >= term) continue;
      const own = index > lastIndex ? undefined : member.termAt(index);
      if (own === known.term) continue;
      this.report(
        `leader completeness: ${member.id} leads term ${term} without entry ${index} of term ${known.term}, ` +
          `which was committed in term ${known.committedInTerm}; it has term ${own ?? 'nothing'} there`,
      );
      return;
    }
  }
}
