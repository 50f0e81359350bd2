/** Callers that wait: for a proposal to be applied, for a read to be allowed. */
import type { EnxameError } from '#libs/model';

export interface Waiter<T> {
  resolve: (value: T) => void;
  reject: (error: EnxameError) => void;
}

export interface ProposalResult {
  index: number;
  result: unknown;
}

interface PendingProposal extends Waiter<ProposalResult> {
  bytes: number;
}

/** Proposals by the number they were proposed under, then by the place in the log that they were given. */
export class PendingProposals {
  private readonly unplaced = new Map<number, PendingProposal>();
  private readonly placed = new Map<number, PendingProposal & { term: number }>();
  bytes = 0;

  get count(): number {
    return this.unplaced.size + this.placed.size;
  }

  add(ref: number, proposal: PendingProposal): void {
    this.unplaced.set(ref, proposal);
    this.bytes += proposal.bytes;
  }

  place(ref: number, index: number, term: number): void {
    const proposal = this.unplaced.get(ref);
    if (proposal === undefined) return;
    this.unplaced.delete(ref);
    this.placed.set(index, { ...proposal, term });
  }

  refuse(ref: number, error: EnxameError): void {
    const proposal = this.unplaced.get(ref);
    if (proposal === undefined) return;
    this.unplaced.delete(ref);
    this.bytes -= proposal.bytes;
    proposal.reject(error);
  }

  /** The entry that was applied at `index`: the one that was proposed, or another leader's in its place. */
  settle(index: number, term: number, result: unknown, replaced: () => EnxameError): void {
    const proposal = this.placed.get(index);
    if (proposal === undefined) return;
    this.placed.delete(index);
    this.bytes -= proposal.bytes;
    if (proposal.term === term) proposal.resolve({ index, result });
    else proposal.reject(replaced());
  }

  rejectAll(error: EnxameError): void {
    const all = [...this.unplaced.values(), ...this.placed.values()];
    this.unplaced.clear();
    this.placed.clear();
    this.bytes = 0;
    for (const proposal of all) proposal.reject(error);
  }
}

/** Reads: first until the leader is sure, then until the state machine has come to the index. */
export class PendingReads {
  private readonly unconfirmed = new Map<number, Waiter<number>>();
  private confirmed: { index: number; waiter: Waiter<number> }[] = [];

  add(ref: number, waiter: Waiter<number>): void {
    this.unconfirmed.set(ref, waiter);
  }

  confirm(ref: number, index: number, applied: number): void {
    const waiter = this.unconfirmed.get(ref);
    if (waiter === undefined) return;
    this.unconfirmed.delete(ref);
    if (index <= applied) waiter.resolve(index);
    else this.confirmed.push({ index, waiter });
  }

  refuse(ref: number, error: EnxameError): void {
    this.unconfirmed.get(ref)?.reject(error);
    this.unconfirmed.delete(ref);
  }

  applied(index: number): void {
    if (this.confirmed.length === 0) return;
    const ready = this.confirmed.filter((read) => read.index <= index);
    this.confirmed = this.confirmed.filter((read) => read.index > index);
    for (const read of ready) read.waiter.resolve(read.index);
  }

  rejectAll(error: EnxameError): void {
    const all = [...this.unconfirmed.values(), ...this.confirmed.map((read) => read.waiter)];
    this.unconfirmed.clear();
    this.confirmed = [];
    for (const waiter of all) waiter.reject(error);
  }
}
