/**
 * Linearizable reads without a log entry (thesis, 6.4): the leader notes its commit index and makes sure, by one
 * round of heartbeats, that it still was the leader after the read had been asked for.
 */
import { majorityOf } from './quorum/majority.js';
import type { CoreState } from './state.js';
import type { MemberId } from './types.js';

export function onRead(state: CoreState, refs: readonly number[]): void {
  if (state.role !== 'leader') {
    for (const ref of refs) state.refuse(ref, 'not-leader');
    return;
  }
  if (!state.hasCommittedInTerm) {
    // Until then the commit index of earlier terms is only a lower bound.
    state.earlyReads.push(...refs);
    return;
  }
  if (state.isSoleVoter) {
    state.emit({ kind: 'read-ready', refs, index: state.commit, afterPersist: 0 });
    return;
  }
  // A fresh round for every read: an answer to a heartbeat sent before the read was asked proves nothing.
  state.readSequence++;
  state.pendingReads.push({ refs, index: state.commit, sequence: state.readSequence });
  broadcastHeartbeat(state);
}

export function releaseEarlyReads(state: CoreState): void {
  if (state.earlyReads.length === 0 || !state.hasCommittedInTerm) return;
  const refs = state.earlyReads;
  state.earlyReads = [];
  onRead(state, refs);
}

export function broadcastHeartbeat(state: CoreState): void {
  state.ticksSinceHeartbeat = 0;
  for (const [peer, progress] of state.progress) {
    state.sendNow(peer, {
      kind: 'heartbeat',
      term: state.term,
      // Never past what the member is known to hold: its log may differ after that.
      commit: Math.min(state.commit, progress.match),
      readSequence: state.readSequence,
    });
  }
}

export function onReadAck(state: CoreState, from: MemberId, sequence: number): void {
  state.readAcks.set(from, Math.max(sequence, state.readAcks.get(from) ?? 0));
  const needed = majorityOf(state.membership.voters.length) - 1;
  const isConfirmed = (wanted: number): boolean =>
    state.peers.filter((peer) => (state.readAcks.get(peer) ?? 0) >= wanted).length >= needed;
  while (state.pendingReads[0] !== undefined && isConfirmed(state.pendingReads[0].sequence)) {
    const read = state.pendingReads.shift();
    if (read !== undefined) {
      state.emit({ kind: 'read-ready', refs: read.refs, index: read.index, afterPersist: 0 });
    }
  }
}
