/**
 * Leadership transfer (thesis, 3.10): the leader takes no more proposals, brings the target's log up to its own, and
 * tells it to start an election at once. Should that come to nothing within an election timeout, it goes on leading.
 */
import type { CoreState, Leadership } from './state.js';
import type { MemberId } from './types.js';

export function onTransfer(state: CoreState, ref: number, to: MemberId): void {
  const { leadership } = state;
  if (leadership === undefined) return state.refuse(ref, 'not-leader');
  if (to === state.config.id) {
    return state.refuse(ref, 'transfer-target-invalid', `${to} is the leader already`);
  }
  if (!state.membership.voters.includes(to)) {
    return state.refuse(ref, 'transfer-target-invalid', `${to} is no voter`);
  }
  if (leadership.transfer !== undefined) abortTransfer(state, leadership);
  leadership.transfer = { ref, to, ticks: 0 };
  offerTakeover(state, leadership, to);
}

/** Called with every answer: the target may have all the entries now, or the first offer may be lost. */
export function offerTakeover(state: CoreState, leadership: Leadership, peer: MemberId): void {
  if (leadership.transfer?.to !== peer) return;
  if (leadership.progress.get(peer)?.match !== state.log.lastIndex) return;
  askForTakeover(state, leadership, peer);
}

function askForTakeover(state: CoreState, leadership: Leadership, peer: MemberId): void {
  leadership.hasAskedForTakeover = true;
  state.sendNow(peer, { kind: 'timeout-now', term: state.term });
}

export function tickTransfer(state: CoreState, leadership: Leadership): void {
  if (leadership.transfer === undefined) return;
  leadership.transfer.ticks++;
  if (leadership.transfer.ticks >= state.config.electionTicks) abortTransfer(state, leadership);
}

export function abortTransfer(state: CoreState, leadership: Leadership): void {
  const { transfer } = leadership;
  if (transfer === undefined) return;
  leadership.transfer = undefined;
  state.emit({ kind: 'transfer-ended', ref: transfer.ref, outcome: 'aborted', afterPersist: 0 });
}

/** A leader that left the voters names a successor, so that nobody has to wait for a timeout. */
export function handOverAtExit(state: CoreState, leadership: Leadership): void {
  let best: MemberId | undefined;
  for (const voter of state.membership.voters) {
    const match = leadership.progress.get(voter)?.match ?? -1;
    if (match > (best === undefined ? -1 : (leadership.progress.get(best)?.match ?? -1))) best = voter;
  }
  if (best !== undefined) askForTakeover(state, leadership, best);
}
