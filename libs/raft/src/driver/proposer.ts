/**
 * Proposals on their way, on any member. Each carries this process's session and a number of its own; it is handed to
 * the core here or sent to the leader, and done when it is applied here. Whenever it may have been lost (the leader
 * changed, no answer came) it is proposed again: the session table lets it be applied once.
 */
import { EnxameError } from '#libs/model';
import type { Input, MemberId, Refusal } from '../core/types.js';
import type { PeerMessage, RaftLimits } from '../port.js';
import { envelopeBytes, type SessionHeader, unwrapProposal, wrapProposal } from './sessions/envelope.js';
import type { SessionTable, Verdict } from './sessions/session-table.js';

export interface ProposalResult {
  index: number;
  result: unknown;
}

interface Pending {
  /** In its envelope. */
  entry: Uint8Array;
  resolve: (value: ProposalResult) => void;
  reject: (error: EnxameError) => void;
  attempts: number;
  /** When it is proposed again though nothing was heard of the leader. */
  retryAtTick: number;
  expiresAtTick: number;
}

export interface ProposerHost {
  limits: RaftLimits;
  random(): number;
  soon(callback: () => void): void;
  step(input: Input): void;
  send(to: MemberId, message: PeerMessage): void;
  appliedIndex(): number;
  failure(): EnxameError | undefined;
}

/** Sequences that the session table must tell apart, for each proposal that may be pending. */
const windowFactor = 8;

export class Proposer {
  /** By sequence, which only grows: the oldest first. */
  private readonly pending = new Map<number, Pending>();
  private bytes = 0;
  private session: { session: number; bornAt: number } | undefined;
  private nextSequence = 1;
  /** Sequences to be handed on at the end of this turn. */
  private fresh: number[] = [];
  private isFlushScheduled = false;
  private leader: MemberId | 'self' | undefined;
  private tickCount = 0;
  /** Proposals of other members that the core has not placed yet, by the negative number they were given. */
  private readonly foreign = new Map<number, { from: MemberId; sequence: number }>();
  private nextForeign = -1;

  constructor(private readonly host: ProposerHost) {}

  propose(data: Uint8Array): Promise<ProposalResult> {
    const refusal = this.refusalOf(data);
    if (refusal !== undefined) return Promise.reject(refusal);
    const sequence = this.nextSequence++;
    return new Promise((resolve, reject) => {
      this.pending.set(sequence, {
        entry: wrapProposal(this.headerOf(sequence), data),
        resolve,
        reject,
        attempts: 0,
        retryAtTick: Number.POSITIVE_INFINITY,
        expiresAtTick: this.tickCount + this.host.limits.proposalTimeoutTicks,
      });
      this.bytes += envelopeBytes + data.length;
      this.schedule(sequence);
    });
  }

  private refusalOf(data: Uint8Array): EnxameError | undefined {
    const { proposalBytesMax, pendingProposalsMax, pendingBytesMax } = this.host.limits;
    const failure = this.host.failure();
    if (failure !== undefined) return failure;
    if (data.length > proposalBytesMax) {
      return new EnxameError(
        'invalid-argument',
        `raft: a proposal of ${data.length} bytes is over the limit of ${proposalBytesMax}`,
      );
    }
    const isFull =
      this.pending.size >= pendingProposalsMax ||
      (this.bytes + data.length > pendingBytesMax && this.pending.size > 0) ||
      this.nextSequence - this.settled() > windowFactor * pendingProposalsMax;
    if (!isFull) return undefined;
    return new EnxameError(
      'resource-exhausted',
      `raft: ${this.pending.size} proposals of ${this.bytes} bytes are waiting, try again`,
    );
  }

  /** Everything up to here has its answer. */
  private settled(): number {
    const oldest = this.pending.keys().next();
    return (oldest.done === true ? this.nextSequence : oldest.value) - 1;
  }

  private headerOf(sequence: number): SessionHeader {
    this.session ??= { session: Math.floor(this.host.random() * 2 ** 48), bornAt: this.host.appliedIndex() };
    return { ...this.session, sequence, settled: Math.min(this.settled(), sequence - 1) };
  }

  private schedule(sequence: number): void {
    this.fresh.push(sequence);
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    this.host.soon(() => {
      this.isFlushScheduled = false;
      const sequences = this.fresh;
      this.fresh = [];
      this.handOn(sequences);
    });
  }

  private handOn(sequences: readonly number[]): void {
    const { leader } = this;
    if (leader === undefined) return;
    const proposals: { ref: number; data: Uint8Array }[] = [];
    for (const sequence of sequences) {
      const pending = this.pending.get(sequence);
      if (pending === undefined) continue;
      pending.attempts++;
      pending.retryAtTick = leader === 'self' ? Number.POSITIVE_INFINITY : this.retryTick(pending.attempts);
      proposals.push({ ref: sequence, data: pending.entry });
    }
    if (proposals.length === 0) return;
    if (leader === 'self') this.host.step({ kind: 'propose', proposals });
    else this.forward(leader, proposals);
  }

  private retryTick(attempts: number): number {
    return this.tickCount + this.host.limits.proposalRetryTicks * 2 ** Math.min(attempts - 1, 4);
  }

  private forward(leader: MemberId, proposals: readonly { data: Uint8Array }[]): void {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    for (const { data } of proposals) {
      batch.push(data);
      bytes += data.length;
      if (bytes < this.host.limits.appendBytesMax) continue;
      this.host.send(leader, { kind: 'forward', proposals: batch });
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) this.host.send(leader, { kind: 'forward', proposals: batch });
  }

  /** Whatever was on its way to another leader may never arrive. */
  leaderChanged(leader: MemberId | 'self' | undefined): void {
    if (leader === this.leader) return;
    this.leader = leader;
    this.foreign.clear();
    this.handOn([...this.pending.keys()]);
  }

  tick(): void {
    this.tickCount++;
    const late: number[] = [];
    for (const [sequence, pending] of this.pending) {
      if (pending.expiresAtTick <= this.tickCount) {
        this.take(sequence)?.reject(
          new EnxameError(
            'unavailable',
            this.leader === undefined
              ? 'raft: the cluster has no leader now'
              : 'raft: the proposal was not confirmed in time, its outcome is not known',
          ),
        );
      } else if (pending.retryAtTick <= this.tickCount) late.push(sequence);
    }
    this.handOn(late);
  }

  /** An entry with this header was applied here. */
  applied(header: SessionHeader, verdict: Verdict, outcome: ProposalResult): void {
    const { session } = this;
    if (header.session !== session?.session || header.bornAt !== session.bornAt) return;
    if (verdict === 'expired') {
      this.renewSession();
      return;
    }
    this.take(header.sequence)?.resolve(outcome);
  }

  /** The table forgot this session; what is pending was not applied, or this member would have seen it. */
  private renewSession(): void {
    this.session = undefined;
    for (const [sequence, pending] of this.pending) {
      pending.entry = wrapProposal(this.headerOf(sequence), pending.entry.subarray(envelopeBytes));
    }
    this.handOn([...this.pending.keys()]);
  }

  /** A snapshot took the place of entries that this member never saw. */
  restored(sessions: SessionTable): void {
    for (const sequence of this.pending.keys()) {
      const outcome = this.session && sessions.outcomeOf({ ...this.session, sequence });
      if (outcome === undefined || outcome === 'open') continue;
      this.take(sequence)?.reject(
        outcome === 'applied'
          ? new EnxameError('conflict', 'raft: the proposal was applied, its result went by in a snapshot')
          : new EnxameError('unavailable', 'raft: the outcome of the proposal went by in a snapshot'),
      );
    }
  }

  placed(ref: number): void {
    if (ref < 0) this.foreign.delete(ref);
  }

  refused(ref: number, reason: Refusal): void {
    if (ref < 0) return this.refuseForeign(ref, reason);
    const pending = this.pending.get(ref);
    if (pending === undefined) return;
    if (reason === 'uncommitted-full' && pending.attempts === 1) {
      this.take(ref)?.reject(
        new EnxameError('resource-exhausted', 'raft: too much is waiting to be committed, try again'),
      );
      return;
    }
    // A new leader will be told, or this one is asked again.
    pending.retryAtTick = this.tickCount + 1;
  }

  /** To this member as the leader. */
  forwarded(from: MemberId, entries: readonly Uint8Array[]): void {
    const proposals: { ref: number; data: Uint8Array }[] = [];
    for (const data of entries) {
      const header = unwrapProposal(data)?.header;
      if (header === undefined) continue;
      const ref = this.nextForeign--;
      this.foreign.set(ref, { from, sequence: header.sequence });
      proposals.push({ ref, data });
    }
    this.host.step({ kind: 'propose', proposals });
  }

  private refuseForeign(ref: number, refusal: Refusal): void {
    const origin = this.foreign.get(ref);
    if (origin === undefined) return;
    this.foreign.delete(ref);
    const reason = refusal === 'uncommitted-full' ? 'overloaded' : 'not-leader';
    this.host.send(origin.from, { kind: 'forward-refused', sequences: [origin.sequence], reason });
  }

  forwardRefused(sequences: readonly number[]): void {
    // An earlier copy may be on its way all the same: only asking again is safe.
    for (const sequence of sequences) {
      const pending = this.pending.get(sequence);
      if (pending !== undefined) pending.retryAtTick = this.tickCount + 1;
    }
  }

  rejectAll(error: EnxameError): void {
    for (const sequence of this.pending.keys()) this.take(sequence)?.reject(error);
    this.foreign.clear();
  }

  private take(sequence: number): Pending | undefined {
    const pending = this.pending.get(sequence);
    if (pending === undefined) return undefined;
    this.pending.delete(sequence);
    this.bytes -= pending.entry.length;
    return pending;
  }
}
