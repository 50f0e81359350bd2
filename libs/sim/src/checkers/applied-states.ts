/**
 * What shows of the promises from outside a driver: every state machine goes through the same states, one entry after
 * the other, and a term has one leader.
 */
import type { MemberId } from '#libs/raft';
import type { KeyValueMachine } from '../machine.js';
import type { Report } from './observer.js';

interface Run {
  id: MemberId;
  incarnation: number;
}

export class AppliedStates {
  private readonly hashes = new Map<number, number>();
  private readonly indexes = new Map<string, number>();
  private readonly leaders = new Map<number, MemberId>();
  lastIndex = 0;

  constructor(private readonly report: Report) {}

  get elections(): number {
    return this.leaders.size;
  }

  applied(run: Run, { index, hash }: KeyValueMachine): void {
    const name = `${run.id} ${run.incarnation}`;
    const before = this.indexes.get(name);
    if (before !== undefined && index !== before + 1) {
      this.report(`state machine safety: ${run.id} applied ${index} after ${before}`);
    }
    this.at(run, { index, hash });
  }

  restored(run: Run, { index, hash }: KeyValueMachine): void {
    if (index > this.lastIndex) this.report(`${run.id} restored ${index}, which nobody has applied`);
    this.at(run, { index, hash });
  }

  elected({ id }: Run, term: number): void {
    const other = this.leaders.get(term);
    if (other !== undefined && other !== id) {
      this.report(`election safety: term ${term} has two leaders, ${other} and ${id}`);
    }
    this.leaders.set(term, id);
  }

  private at(run: Run, { index, hash }: { index: number; hash: number }): void {
    this.indexes.set(`${run.id} ${run.incarnation}`, index);
    this.lastIndex = Math.max(this.lastIndex, index);
    const known = this.hashes.get(index);
    if (known === undefined) this.hashes.set(index, hash);
    else if (known !== hash) this.report(`state machine safety: ${run.id} has another state at ${index}`);
  }
}
