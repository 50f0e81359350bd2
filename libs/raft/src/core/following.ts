/** Log replication as a follower does it: what it takes, what it answers. */
import { takeMembership } from './applying.js';
import type { CoreState } from './state.js';
import type { MemberId, Message } from './types.js';

type Of<K extends Message['kind']> = Extract<Message, { kind: K }>;

/** A message of this term's leader: there is only one. */
export function followLeader(state: CoreState, from: MemberId, term: number): void {
  if (state.role === 'leader') throw new Error(`raft: two leaders in term ${term}: ${from} and this member`);
  if (state.role !== 'follower' || state.leader !== from) state.becomeFollower(term, from);
  state.ticksSinceContact = 0;
  state.ticksSinceLeader = 0;
}

export function onAppendRequest(state: CoreState, from: MemberId, request: Of<'append-request'>): void {
  const { prevIndex, prevTerm, entries } = request;
  if (prevIndex < state.commit) {
    // All through the commit index is equal on every member: say so and let the leader go on from there.
    respond(state, from, { accepted: true, match: state.commit });
    return;
  }
  if (!state.rules.logMatches(state.log, prevIndex, prevTerm)) {
    const hintIndex = state.log.lastIndexOfTermAtMost(prevIndex, prevTerm);
    const hintTerm = state.log.term(hintIndex) ?? 0;
    respond(state, from, { accepted: false, rejectedPrev: prevIndex, hintIndex, hintTerm });
    return;
  }
  const match = prevIndex + entries.length;
  // Entries that are there already stay: an older request that comes late must not cut newer entries off.
  const firstNew = state.rules.firstNew(state.log, entries);
  const at = entries[firstNew]?.index;
  if (at !== undefined && at <= state.commit) {
    throw new Error(`raft: leader ${from} replaces committed entry ${at}`);
  }
  // Before the write, so that the disk never holds entries without what their leader knew to be committed: a change
  // of membership that follows another must not outlive the knowledge that the first one holds.
  state.commit = Math.max(state.commit, Math.min(request.commit, match));
  if (at !== undefined) state.persist(entries.slice(firstNew));
  respond(state, from, { accepted: true, match });
}

function respond(state: CoreState, to: MemberId, result: Of<'append-response'>['result']): void {
  state.sendDurably(to, { kind: 'append-response', term: state.term, result });
}

export function onHeartbeat(state: CoreState, from: MemberId, message: Of<'heartbeat'>): void {
  // The leader sends no more than this member has acknowledged to it in this term, so the entries are equal.
  state.commit = Math.max(state.commit, Math.min(message.commit, state.log.lastIndex));
  const { term } = state;
  state.sendNow(from, { kind: 'heartbeat-response', term, readSequence: message.readSequence });
}

export function onSnapshot(state: CoreState, from: MemberId, message: Of<'snapshot'>): void {
  const { snapshot } = message;
  if (snapshot.index <= state.commit) {
    respond(state, from, { accepted: true, match: state.commit });
    return;
  }
  if (state.log.term(snapshot.index) === snapshot.term) {
    // The log has it all; the leader knew no better. Entries after it stay (Raft paper, figure 13, step 6).
    state.commit = snapshot.index;
    respond(state, from, { accepted: true, match: snapshot.index });
    return;
  }
  state.commit = snapshot.index;
  state.replaceLog(snapshot);
  state.applying = snapshot.index;
  state.applyingBatches = [];
  state.applyingBytes = 0;
  const afterPersist = state.disk.sequence;
  state.emit({ kind: 'install-snapshot', snapshot, afterPersist });
  takeMembership(state, { index: snapshot.index, membership: snapshot.membership, afterPersist });
  respond(state, from, { accepted: true, match: snapshot.index });
}
