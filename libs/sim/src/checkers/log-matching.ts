/**
 * Log matching: entries of the same index and term are the same, and so is all before them (Raft paper, figure 3).
 * The second half follows by induction from "the same index and term follow the same term".
 */
import type { Command, Entry, Recovered } from '#libs/raft';
import type { Observed, Observer, Report } from './observer.js';

export class LogMatching implements Observer {
  private readonly known = new Map<string, { entry: Entry; termBefore: number }>();

  constructor(private readonly report: Report) {}

  recovered(member: Observed, { entries }: Recovered): void {
    for (const entry of entries) this.check(member, entry);
  }

  stepped(member: Observed, commands: readonly Command[]): void {
    for (const command of commands) {
      if (command.kind !== 'persist') continue;
      for (const entry of command.entries) this.check(member, entry);
    }
  }

  private check(member: Observed, entry: Entry): void {
    // A later command of the same step may have replaced it again; then it was never anybody's log.
    if (member.termAt(entry.index) !== entry.term) return;
    const termBefore = entry.index === 1 ? 0 : member.termAt(entry.index - 1);
    if (termBefore === undefined) return;
    const key = `${entry.index} ${entry.term}`;
    const known = this.known.get(key);
    if (known === undefined) {
      this.known.set(key, { entry, termBefore });
      return;
    }
    if (known.termBefore !== termBefore) {
      this.report(
        `log matching: entry ${entry.index} of term ${entry.term} follows term ${termBefore} at ${member.id}, ` +
          `elsewhere term ${known.termBefore}`,
      );
    }
    const isSame =
      known.entry === entry ||
      (known.entry.kind === entry.kind && Buffer.compare(known.entry.data, entry.data) === 0);
    if (!isSame) {
      this.report(
        `log matching: ${member.id} has another entry ${entry.index} of term ${entry.term} than others`,
      );
    }
  }
}
