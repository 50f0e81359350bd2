/**
 * What a member asks of the cluster beside proposals: changes of membership and the transfer of leadership. The
 * leader does it; another member asks the leader. Both are tried again until they are done, cannot be done, or time
 * is up: each attempt begins by looking whether it is done already.
 */
import { EnxameError, errorCatalogue, type ErrorCode } from '#libs/model';
import { isJoint, isVoter } from '../core/membership/membership.js';
import type { Command, Input, MemberId, Membership, PeerProgress } from '../core/types.js';
import type { MembershipChange, PeerCall, PeerMessage, RaftLimits } from '../port.js';

/** `again`: nothing was begun. `unknown`: it was, or may have been, and nobody here knows how it ended. */
type Outcome = 'done' | 'again' | 'unknown' | EnxameError;
type Answer = Extract<PeerMessage, { kind: 'answer' }>;

export interface CallsHost {
  id: MemberId;
  limits: RaftLimits;
  step(input: Input): void;
  send(to: MemberId, message: PeerMessage): void;
  leader(): MemberId | 'self' | undefined;
  /** As applied here. */
  membership(): Membership;
  appliedIndex(): number;
  /** It was a member once, as far as is known here. */
  isRemoved(member: MemberId): boolean;
  peers(): readonly PeerProgress[];
  failure(): EnxameError | undefined;
}

interface Change {
  index: number;
  settle: (outcome: Outcome) => void;
}

export class Calls {
  private nextRef = 1;
  private tickCount = 0;
  private tickWaiters: (() => void)[] = [];
  /** Asked of the core, by number; those that were placed wait for their entry. */
  private readonly asked = new Map<number, (outcome: Outcome) => void>();
  private changes: Change[] = [];
  private transferring: Promise<Outcome> | undefined;
  /** Asked of the leader. */
  private readonly remote = new Map<number, (outcome: Outcome) => void>();

  constructor(private readonly host: CallsHost) {}

  changeMembership(changes: readonly MembershipChange[]): Promise<void> {
    if (changes.length === 0) {
      return Promise.reject(
        new EnxameError('invalid-argument', 'raft: changes must hold at least one change'),
      );
    }
    return this.untilDone({ kind: 'change-membership', changes });
  }

  async transferLeadership(to?: MemberId): Promise<void> {
    await this.untilDone({ kind: 'transfer-leadership', ...(to === undefined ? {} : { to }) });
    const deadline = this.tickCount + this.host.limits.callTimeoutTicks;
    // The leader of before has stepped down; the new one may not have been heard yet.
    while (this.host.leader() === undefined && this.tickCount < deadline) await this.nextTick();
  }

  private nextTick(): Promise<void> {
    return new Promise((resolve) => this.tickWaiters.push(resolve));
  }

  private async untilDone(call: PeerCall): Promise<void> {
    const deadline = this.tickCount + this.host.limits.callTimeoutTicks;
    let firstLeader: MemberId | 'self' | undefined;
    let mayBeDone = false;
    for (let attempt = 0; ; attempt++) {
      // A leader that removed itself is not asked any more, but it knows that it is done.
      if (attempt > 0 && call.kind === 'change-membership' && this.isMade(call.changes)) return;
      const failure = this.host.failure();
      if (failure !== undefined) throw failure;
      const leader = this.host.leader();
      firstLeader ??= leader;
      let outcome: Outcome = 'again';
      if (call.kind === 'transfer-leadership' && isHandedOver(call.to, firstLeader, leader)) outcome = 'done';
      else if (leader === 'self') outcome = await this.carryOut(call);
      else if (leader !== undefined) outcome = await this.ask(leader, call);
      if (outcome === 'done') return;
      if (outcome === 'unknown') mayBeDone = true;
      else if (outcome !== 'again') throw mayBeDone ? overtaken(call, outcome) : outcome;
      if (this.tickCount >= deadline) {
        throw new EnxameError('unavailable', `raft: no leader confirmed ${inWords(call)} in time`);
      }
      await this.nextTick();
    }
  }

  private carryOut(call: PeerCall): Promise<Outcome> {
    return call.kind === 'change-membership' ? this.change(call.changes) : this.transfer(call.to);
  }

  private isMade(changes: readonly MembershipChange[]): boolean {
    const membership = this.host.membership();
    if (isJoint(membership)) return false;
    return changes.every(({ kind, id }) => {
      const isLearner = membership.learners.includes(id);
      if (kind === 'add-voter') return isVoter(membership, id);
      return kind === 'add-learner' ? isLearner : !isLearner && !isVoter(membership, id);
    });
  }

  private change(changes: readonly MembershipChange[]): Promise<Outcome> {
    if (this.isMade(changes)) return Promise.resolve('done');
    // Others tell a member that was removed to leave: it could never come back. The ask may be an old one, sent again.
    const back = changes.find(({ kind, id }) => kind !== 'remove' && this.host.isRemoved(id));
    if (back !== undefined) {
      const rule = `raft: member ${back.id} was removed; an id is never used again`;
      return Promise.resolve(new EnxameError('failed-precondition', rule));
    }
    return new Promise((settle) => {
      const ref = this.nextRef++;
      this.asked.set(ref, settle);
      this.host.step({ kind: 'propose-membership', ref, changes, transition: 'auto' });
    });
  }

  private transfer(wanted: MemberId | undefined): Promise<Outcome> {
    // Another target would end the transfer that is under way.
    if (wanted === undefined && this.transferring !== undefined) return this.transferring;
    const to = wanted ?? this.furthestVoter();
    if (to === undefined) {
      const words = 'raft: there is no other voter that could lead';
      return Promise.resolve(new EnxameError('failed-precondition', words));
    }
    if (to === this.host.id) return Promise.resolve('done');
    const transferring = new Promise<Outcome>((settle) => {
      const ref = this.nextRef++;
      this.asked.set(ref, settle);
      this.host.step({ kind: 'transfer', ref, to });
    }).finally(() => {
      if (this.transferring === transferring) this.transferring = undefined;
    });
    this.transferring = transferring;
    return transferring;
  }

  /** Once, without trying again: who leads next is no matter. */
  handOver(): void {
    void this.transfer(undefined);
  }

  private furthestVoter(): MemberId | undefined {
    const voters = this.host.peers().filter((peer) => !peer.isLearner && peer.isActive);
    return voters.sort((a, b) => b.match - a.match || (a.id < b.id ? -1 : 1))[0]?.id;
  }

  placed(ref: number, index: number): void {
    const settle = this.asked.get(ref);
    if (settle === undefined) return;
    this.asked.delete(ref);
    this.changes.push({ index, settle });
  }

  refused(command: Extract<Command, { kind: 'refused' }>): void {
    const settle = this.asked.get(command.ref);
    if (settle === undefined) return;
    this.asked.delete(command.ref);
    const { reason, detail } = command;
    const isForGood = reason === 'membership-invalid' || reason === 'transfer-target-invalid';
    const words =
      detail ?? (reason === 'transfer-target-invalid' ? 'it is no voter that could lead' : reason);
    settle(isForGood ? new EnxameError('failed-precondition', `raft: ${words}`) : 'again');
  }

  transferEnded(ref: number, outcome: 'stepped-down' | 'aborted'): void {
    const settle = this.asked.get(ref);
    this.asked.delete(ref);
    settle?.(
      outcome === 'stepped-down'
        ? 'done'
        : new EnxameError('unavailable', 'raft: the other member did not take over in time'),
    );
  }

  /** After every change of membership and every leap of the applied index. */
  applied(): void {
    if (this.changes.length === 0 || isJoint(this.host.membership())) return;
    const index = this.host.appliedIndex();
    const done = this.changes.filter((change) => change.index <= index);
    this.changes = this.changes.filter((change) => change.index > index);
    for (const change of done) change.settle('done');
  }

  leaderChanged(): void {
    const { changes } = this;
    this.changes = [];
    for (const change of changes) change.settle('unknown');
    for (const settle of this.remote.values()) settle('unknown');
    this.remote.clear();
  }

  private ask(leader: MemberId, call: PeerCall): Promise<Outcome> {
    return new Promise((resolve) => {
      const ref = this.nextRef++;
      this.remote.set(ref, resolve);
      this.host.send(leader, { kind: 'call', ref, call });
      // An answer may be lost as well as the question.
      const giveUpAt = this.tickCount + this.host.limits.callRetryTicks;
      const watch = (): void => {
        if (!this.remote.has(ref)) return;
        if (this.tickCount < giveUpAt) {
          this.tickWaiters.push(watch);
          return;
        }
        this.remote.delete(ref);
        resolve('unknown');
      };
      this.tickWaiters.push(watch);
    });
  }

  /** Another member's call. Only a leader answers with more than "again". */
  async called(from: MemberId, ref: number, call: PeerCall): Promise<void> {
    const outcome = this.host.leader() === 'self' ? await this.carryOut(call) : 'again';
    this.host.send(from, {
      kind: 'answer',
      ref,
      ...(outcome === 'done' ? {} : { error: errorOf(outcome) }),
    });
  }

  answered({ ref, error }: Answer): void {
    const settle = this.remote.get(ref);
    this.remote.delete(ref);
    if (error === undefined) settle?.('done');
    else if (error.code === 'not-manager') settle?.('again');
    else if (error.code === 'unavailable') settle?.('unknown');
    else settle?.(new EnxameError(error.code in errorCatalogue ? error.code : 'internal', error.message));
  }

  tick(): void {
    this.tickCount++;
    this.wake();
  }

  rejectAll(error: EnxameError): void {
    for (const settle of [...this.asked.values(), ...this.remote.values()]) settle(error);
    for (const change of this.changes) change.settle(error);
    this.asked.clear();
    this.remote.clear();
    this.changes = [];
    // Whoever waits for a tick finds the failure.
    this.wake();
  }

  private wake(): void {
    const waiters = this.tickWaiters;
    this.tickWaiters = [];
    for (const wake of waiters) wake();
  }
}

/** Without a wish who is to lead, another leader than at first will do: asking it again would move it on for nothing. */
function isHandedOver(
  wanted: MemberId | undefined,
  first: MemberId | undefined,
  leader: MemberId | undefined,
): boolean {
  if (leader === undefined) return false;
  return wanted === undefined ? leader !== first : leader === wanted;
}

function errorOf(outcome: 'again' | 'unknown' | EnxameError): { code: ErrorCode; message: string } {
  if (outcome === 'again') return { code: 'not-manager', message: 'raft: not the leader' };
  if (outcome === 'unknown') return { code: 'unavailable', message: 'raft: the leader changed meanwhile' };
  return { code: outcome.code, message: outcome.message };
}

/** The refusal is about a later state: what was asked for may have been done, and undone, in between. */
function overtaken(call: PeerCall, refusal: EnxameError): EnxameError {
  if (refusal.code !== 'failed-precondition') return refusal;
  const words = `raft: nobody knows whether ${inWords(call)} was made; asked for again, it was refused`;
  return new EnxameError('unavailable', words, { cause: refusal });
}

function inWords(call: PeerCall): string {
  if (call.kind === 'transfer-leadership') return 'the transfer of leadership';
  return `the change of membership (${call.changes.map(({ kind, id }) => `${kind} ${id}`).join(', ')})`;
}
