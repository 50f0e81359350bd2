/**
 * Linearizable reads without a log entry (thesis, 6.4): the leader notes its commit index and makes sure, by one
 * round of heartbeats, that it still was the leader after the read had been asked for. While a round is out further
 * reads wait and share the next one, so any number of readers costs one round at a time.
 */
import { hasLease, noteConfirmedRound } from './lease.js';
import type { CoreState, Leadership, ReadOrigin } from './state.js';
import type { MemberId, Message } from './types.js';

type Of<K extends Message['kind']> = Extract<Message, { kind: K }>;

export function onRead(state: CoreState, refs: readonly number[]): void {
  if (state.leadership !== undefined) {
    readAsLeader(state, state.leadership, { kind: 'local', refs });
    return;
  }
  if (state.leader === undefined) {
    for (const ref of refs) state.refuse(ref, 'not-leader');
    return;
  }
  const context = state.nextReadContext++;
  state.forwardedReads.set(context, refs);
  state.sendNow(state.leader, { kind: 'read-request', term: state.term, context });
}

export function onReadRequest(state: CoreState, from: MemberId, { context }: Of<'read-request'>): void {
  if (state.leadership === undefined) return;
  readAsLeader(state, state.leadership, { kind: 'remote', from, context });
}

export function onReadResponse(state: CoreState, { context, index }: Of<'read-response'>): void {
  const refs = state.forwardedReads.get(context);
  if (refs === undefined) return;
  state.forwardedReads.delete(context);
  state.emit({ kind: 'read-ready', refs, index, afterPersist: 0 });
}

function readAsLeader(state: CoreState, leadership: Leadership, origin: ReadOrigin): void {
  if (!state.rules.mayServeReads(state.hasCommittedInTerm)) {
    leadership.earlyReads.push(origin);
    return;
  }
  if (hasLease(state, leadership)) {
    answer(state, origin, state.commit);
    return;
  }
  const isRoundOut = leadership.pendingReads.length > 0;
  // An answer to a heartbeat that was sent before the read was asked proves nothing: the read waits for the next.
  leadership.pendingReads.push({ origin, index: state.commit, round: leadership.round + 1 });
  if (!isRoundOut) broadcastHeartbeat(state, leadership);
  settleReads(state, leadership);
}

export function releaseEarlyReads(state: CoreState, leadership: Leadership): void {
  if (leadership.earlyReads.length === 0 || !state.hasCommittedInTerm) return;
  const origins = leadership.earlyReads;
  leadership.earlyReads = [];
  for (const origin of origins) readAsLeader(state, leadership, origin);
}

/** Every broadcast is a round of its own: its answers confirm the reads asked before it, and renew the lease. */
export function broadcastHeartbeat(state: CoreState, leadership: Leadership): void {
  state.ticksSinceHeartbeat = 0;
  leadership.round++;
  leadership.sentRounds.push({ round: leadership.round, tick: state.ticks });
  for (const [peer, progress] of leadership.progress) {
    state.sendNow(peer, {
      kind: 'heartbeat',
      term: state.term,
      // Never past what the member is known to hold: its log may differ after that.
      commit: Math.min(state.commit, progress.match),
      readSequence: leadership.round,
    });
  }
}

/** Answers the reads whose round a quorum has answered; sends the next round when reads wait for one. */
export function settleReads(state: CoreState, leadership: Leadership): void {
  const confirmed = state.rules.quorumIndex(state.membership, (member) =>
    member === state.config.id ? leadership.round : (leadership.answeredRound.get(member) ?? 0),
  );
  noteConfirmedRound(leadership, confirmed);
  let done = 0;
  for (const { origin, index, round } of leadership.pendingReads) {
    if (!state.rules.isReadConfirmed(round, leadership.confirmedRound)) break;
    answer(state, origin, index);
    done++;
  }
  if (done === 0) return;
  leadership.pendingReads.splice(0, done);
  const next = leadership.pendingReads[0];
  if (next === undefined || next.round <= leadership.round) return;
  broadcastHeartbeat(state, leadership);
  settleReads(state, leadership);
}

function answer(state: CoreState, origin: ReadOrigin, index: number): void {
  if (origin.kind === 'local') {
    state.emit({ kind: 'read-ready', refs: origin.refs, index, afterPersist: 0 });
    return;
  }
  const { from, context } = origin;
  state.sendNow(from, { kind: 'read-response', term: state.term, context, index });
}

/** The driver waits for these no longer. */
export function forgetReads(state: CoreState, refs: readonly number[]): void {
  const gone = new Set(refs);
  const keep = (all: readonly number[]): number[] => all.filter((ref) => !gone.has(ref));
  for (const [context, waiting] of state.forwardedReads) {
    const kept = keep(waiting);
    if (kept.length === 0) state.forwardedReads.delete(context);
    else state.forwardedReads.set(context, kept);
  }
  const { leadership } = state;
  if (leadership === undefined) return;
  const without = (origin: ReadOrigin): ReadOrigin =>
    origin.kind === 'local' ? { kind: 'local', refs: keep(origin.refs) } : origin;
  const isWaiting = (origin: ReadOrigin): boolean => origin.kind === 'remote' || origin.refs.length > 0;
  leadership.earlyReads = leadership.earlyReads.map(without).filter(isWaiting);
  leadership.pendingReads = leadership.pendingReads
    .map((read) => ({ ...read, origin: without(read.origin) }))
    .filter((read) => isWaiting(read.origin));
}
