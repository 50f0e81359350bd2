/**
 * What the disk has called durable is there after every restart: term, vote and entries. And nothing is given to the
 * state machine that is not.
 */
import type { Command, Entry, MemberId, Recovered } from '#libs/raft';
import type { Observed, Observer, Report } from './observer.js';

type Persist = Extract<Command, { kind: 'persist' }>;

interface Durable {
  term: number;
  votedFor: MemberId | undefined;
  /** Terms by index. */
  terms: Map<number, number>;
}

export class Durability implements Observer {
  private readonly durable = new Map<MemberId, Durable>();
  private readonly underWay = new Map<MemberId, Persist[]>();

  constructor(private readonly report: Report) {}

  stepped(member: Observed, commands: readonly Command[]): void {
    for (const command of commands) {
      if (command.kind === 'apply') this.checkApplied(member, command.entries);
      if (command.kind !== 'persist') continue;
      const list = this.underWay.get(member.id) ?? [];
      list.push(command);
      this.underWay.set(member.id, list);
    }
  }

  private checkApplied(member: Observed, entries: readonly Entry[]): void {
    const terms = this.durable.get(member.id)?.terms;
    const hasty = entries.find(({ index, term }) => terms?.get(index) !== term);
    if (hasty === undefined) return;
    this.report(`durability: ${member.id} is to apply ${hasty.index} before it is on its disk`);
  }

  persisted(member: Observed, sequence: number): void {
    const list = this.underWay.get(member.id) ?? [];
    const durable = this.durable.get(member.id);
    while (durable !== undefined && list[0] !== undefined && list[0].sequence <= sequence) {
      fold(durable, list.shift() as Persist);
    }
  }

  recovered(member: Observed, { hardState, snapshot, entries }: Recovered): void {
    const before = this.durable.get(member.id);
    // Writes that were under way may have replaced what was durable.
    const replacedFrom = Math.min(
      ...(this.underWay.get(member.id) ?? []).map((write) =>
        write.snapshot === undefined ? (write.entries[0]?.index ?? Number.POSITIVE_INFINITY) : 0,
      ),
    );
    this.underWay.set(member.id, []);
    const terms = new Map(entries.map(({ index, term }) => [index, term]));
    this.durable.set(member.id, { term: hardState.term, votedFor: hardState.votedFor, terms });
    if (before === undefined) return;
    const isVoteKept =
      hardState.term > before.term ||
      (hardState.term === before.term &&
        (before.votedFor === undefined || hardState.votedFor === before.votedFor));
    if (!isVoteKept) {
      this.report(
        `durability: ${member.id} came back with term ${hardState.term} and a vote for ${hardState.votedFor}, ` +
          `its disk had taken term ${before.term} and a vote for ${before.votedFor}`,
      );
    }
    const snapshotIndex = snapshot?.index ?? 0;
    // A snapshot from the leader came to the disk, and no word of it to the core: what went another way is over.
    const termAtSnapshot = before.terms.get(snapshotIndex);
    if (termAtSnapshot !== undefined && termAtSnapshot !== snapshot?.term) return;
    for (const [index, term] of before.terms) {
      if (index <= snapshotIndex || index >= replacedFrom || terms.get(index) === term) continue;
      this.report(`durability: ${member.id} came back without entry ${index} of term ${term}`);
      return;
    }
  }
}

function fold(durable: Durable, { hardState, entries, snapshot }: Persist): void {
  durable.term = hardState.term;
  durable.votedFor = hardState.votedFor;
  if (snapshot !== undefined) durable.terms.clear();
  const first = entries[0]?.index;
  if (first === undefined) return;
  for (const index of durable.terms.keys()) if (index >= first) durable.terms.delete(index);
  for (const { index, term } of entries) durable.terms.set(index, term);
}
