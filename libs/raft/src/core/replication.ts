/** Log replication: what a leader sends and counts, what a follower takes. */
import { majorityIndex } from './quorum/majority.js';
import { releaseEarlyReads } from './reads.js';
import type { CoreState } from './state.js';
import type { Progress } from './tracker/progress.js';
import type { Entry, MemberId, Message } from './types.js';

type Of<K extends Message['kind']> = Extract<Message, { kind: K }>;

export function propose(state: CoreState, proposals: readonly { ref: number; data: Uint8Array }[]): void {
  if (state.role !== 'leader') {
    for (const { ref } of proposals) {
      state.refuse(ref, 'not-leader');
    }
    return;
  }
  const entries: Entry[] = [];
  for (const { ref, data } of proposals) {
    const index = state.log.lastIndex + 1 + entries.length;
    entries.push({ index, term: state.term, kind: 'data', data });
    state.emit({ kind: 'proposed', ref, index, term: state.term, afterPersist: 0 });
  }
  if (entries.length === 0) return;
  state.persist(entries);
  broadcastAppend(state);
}

export function broadcastAppend(state: CoreState): void {
  for (const [peer, progress] of state.progress) sendAppend(state, peer, progress);
}

function sendAppend(state: CoreState, peer: MemberId, progress: Progress): void {
  if (progress.state === 'snapshot') return;
  if (progress.state === 'probe' && progress.awaitingAnswer) return;
  const prevIndex = progress.next - 1;
  const prevTerm = state.log.term(prevIndex);
  if (prevTerm === undefined) {
    sendSnapshot(state, peer, progress);
    return;
  }
  const entries = state.log.slice(progress.next, state.log.lastIndex, state.config.appendBytesMax);
  const { term, commit } = state;
  state.sendNow(peer, { kind: 'append-request', term, prevIndex, prevTerm, entries, commit });
  if (progress.state === 'replicate') progress.next += entries.length;
  else progress.awaitingAnswer = true;
}

function sendSnapshot(state: CoreState, peer: MemberId, progress: Progress): void {
  if (state.snapshot === undefined) {
    throw new Error(`raft: entries before ${state.log.firstIndex} are gone but there is no snapshot`);
  }
  progress.becomeSnapshot(state.snapshot.index);
  state.sendNow(peer, { kind: 'snapshot', term: state.term, snapshot: state.snapshot });
}

/** The commit rule (Raft paper, 5.4.2): by counting, only an entry of the leader's own term. */
export function maybeCommit(state: CoreState): void {
  if (state.role !== 'leader') return;
  const matched = state.membership.voters.map((voter) =>
    voter === state.config.id ? state.durableIndex : (state.progress.get(voter)?.match ?? 0),
  );
  const index = majorityIndex(matched);
  if (index <= state.commit || state.log.term(index) !== state.term) return;
  state.commit = index;
  releaseEarlyReads(state);
  // Followers learn of the commit with the next append or heartbeat; an empty append now makes them apply sooner.
  broadcastAppend(state);
}

export function onAppendRequest(state: CoreState, from: MemberId, request: Of<'append-request'>): void {
  const { prevIndex, prevTerm } = request;
  if (prevIndex < state.commit) {
    // All through the commit index is equal on every member: say so and let the leader go on from there.
    respond(state, from, { accepted: true, match: state.commit });
    return;
  }
  if (state.log.term(prevIndex) !== prevTerm) {
    const hintIndex = state.log.lastIndexOfTermAtMost(Math.min(prevIndex, state.log.lastIndex), prevTerm);
    const hintTerm = state.log.term(hintIndex) ?? 0;
    respond(state, from, { accepted: false, rejectedPrev: prevIndex, hintIndex, hintTerm });
    return;
  }
  // Entries that are there already stay: an older request that comes late must not cut newer entries off.
  const firstNew = request.entries.findIndex((entry) => state.log.term(entry.index) !== entry.term);
  if (firstNew >= 0) {
    const fresh = request.entries.slice(firstNew);
    const at = fresh[0]?.index ?? 0;
    if (at <= state.commit) throw new Error(`raft: leader ${from} replaces committed entry ${at}`);
    state.persist(fresh);
  }
  const match = prevIndex + request.entries.length;
  state.commit = Math.max(state.commit, Math.min(request.commit, match));
  respond(state, from, { accepted: true, match });
}

function respond(state: CoreState, to: MemberId, result: Of<'append-response'>['result']): void {
  state.sendDurably(to, { kind: 'append-response', term: state.term, result });
}

export function onAppendResponse(state: CoreState, from: MemberId, { result }: Of<'append-response'>): void {
  const progress = state.role === 'leader' ? state.progress.get(from) : undefined;
  if (progress === undefined) return;
  progress.recentlyActive = true;
  if (!result.accepted) {
    const retryAfter = state.log.lastIndexOfTermAtMost(result.hintIndex, result.hintTerm);
    if (progress.reject(result.rejectedPrev, retryAfter + 1)) sendAppend(state, from, progress);
    return;
  }
  const isNews = progress.accept(result.match);
  if (progress.state === 'probe') progress.becomeReplicate();
  if (progress.state === 'snapshot' && progress.match >= progress.pendingSnapshot) progress.becomeReplicate();
  if (isNews) maybeCommit(state);
  if (progress.state === 'replicate' && progress.next <= state.log.lastIndex)
    sendAppend(state, from, progress);
}

export function onHeartbeat(state: CoreState, from: MemberId, message: Of<'heartbeat'>): void {
  // The leader sends no more than this member has acknowledged to it in this term, so the entries are equal.
  state.commit = Math.max(state.commit, Math.min(message.commit, state.log.lastIndex));
  state.sendNow(from, {
    kind: 'heartbeat-response',
    term: state.term,
    readSequence: message.readSequence,
  });
}

export function resumeAfterHeartbeat(state: CoreState, from: MemberId, progress: Progress): void {
  progress.recentlyActive = true;
  progress.awaitingAnswer = false;
  // A snapshot may have been lost on the way: probe again and find out.
  if (progress.state === 'snapshot') progress.becomeProbe();
  if (progress.match < state.log.lastIndex) {
    if (progress.state === 'replicate') progress.becomeProbe();
    sendAppend(state, from, progress);
  }
}

export function onSnapshot(state: CoreState, from: MemberId, message: Of<'snapshot'>): void {
  const { snapshot } = message;
  if (snapshot.index <= state.commit) {
    respond(state, from, { accepted: true, match: state.commit });
    return;
  }
  state.commit = snapshot.index;
  state.applying = snapshot.index;
  state.replaceLog(snapshot);
  state.emit({ kind: 'install-snapshot', snapshot, afterPersist: 0 });
  respond(state, from, { accepted: true, match: snapshot.index });
}
