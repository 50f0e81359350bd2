/** Log replication as the leader does it: what it sends, what it counts. */
import { isVoter, membersOf } from './membership/membership.js';
import { releaseEarlyReads, settleReads } from './reads.js';
import type { CoreState, Leadership } from './state.js';
import { Progress } from './tracker/progress.js';
import { abortTransfer, handOverAtExit, offerTakeover } from './transfer.js';
import type { Entry, MemberId, Message } from './types.js';

type Of<K extends Message['kind']> = Extract<Message, { kind: K }>;

/** Writes own-term entries to the log and sends them; the disk here and those of the others work at the same time. */
export function appendAsLeader(state: CoreState, leadership: Leadership, entries: readonly Entry[]): void {
  for (const entry of entries) leadership.uncommittedBytes += entry.data.length;
  state.persist(entries);
  broadcastAppend(state, leadership);
}

/** Sends every member what it lacks: entries, or the news of a commit. */
export function broadcastAppend(state: CoreState, leadership: Leadership): void {
  for (const [peer, progress] of leadership.progress) {
    const lacksEntries = progress.next <= state.log.lastIndex;
    const lacksCommit = progress.sentCommit < Math.min(state.commit, progress.next - 1);
    if (lacksEntries || lacksCommit) sendAppend(state, peer, progress);
  }
}

/** One request, perhaps an empty one, unless the member is waited for. False when nothing went out. */
function sendAppend(state: CoreState, peer: MemberId, progress: Progress): boolean {
  if (!progress.maySend) return false;
  const { log, config, term, commit } = state;
  const prevIndex = progress.next - 1;
  const prevTerm = log.term(prevIndex);
  if (prevTerm === undefined) {
    sendSnapshot(state, peer, progress);
    return true;
  }
  const entries =
    progress.state === 'replicate' && progress.inflights.isFull
      ? []
      : log.slice(progress.next, log.lastIndex, config.appendBytesMax, config.appendEntriesMax);
  const last = prevIndex + entries.length;
  state.sendNow(peer, { kind: 'append-request', term, prevIndex, prevTerm, entries, commit });
  progress.sent(entries.length, log.bytesOf(prevIndex + 1, last), Math.min(commit, last));
  return true;
}

/** As many requests as the window holds. */
function sendWaitingEntries(state: CoreState, peer: MemberId, progress: Progress): void {
  while (progress.next <= state.log.lastIndex && sendAppend(state, peer, progress));
}

function sendSnapshot(state: CoreState, peer: MemberId, progress: Progress): void {
  if (state.snapshot === undefined) {
    throw new Error(`raft: entries before ${state.log.firstIndex} are gone but there is no snapshot`);
  }
  progress.becomeSnapshot(state.snapshot.index);
  state.sendNow(peer, { kind: 'snapshot', term: state.term, snapshot: state.snapshot });
}

/** The commit rule: what a quorum has on its disks, this member's own among them. True when it is news. */
export function maybeCommit(state: CoreState): boolean {
  const { leadership, rules } = state;
  if (leadership === undefined) return false;
  const index = rules.quorumIndex(state.membership, (member) =>
    member === state.config.id ? state.disk.index : (leadership.progress.get(member)?.match ?? 0),
  );
  if (index <= state.commit || !rules.commitsByCounting(state.log.term(index), state.term)) return false;
  const bytes = state.log.bytesOf(state.commit + 1, index);
  // Entries of earlier terms were never counted in.
  leadership.uncommittedBytes = Math.max(0, leadership.uncommittedBytes - bytes);
  state.commit = index;
  releaseEarlyReads(state, leadership);
  broadcastAppend(state, leadership);
  return true;
}

export function onAppendResponse(state: CoreState, from: MemberId, { result }: Of<'append-response'>): void {
  const { leadership } = state;
  const progress = leadership?.progress.get(from);
  if (leadership === undefined || progress === undefined) return;
  progress.recentlyActive = true;
  if (!result.accepted) {
    const retryAfter = state.log.lastIndexOfTermAtMost(result.hintIndex, result.hintTerm);
    if (progress.reject(result.rejectedPrev, retryAfter + 1)) sendAppend(state, from, progress);
    return;
  }
  const wasPaused = progress.isPaused;
  const isNews = progress.accept(result.match);
  settleState(state, progress, isNews || result.match === progress.match);
  if (isNews) maybeCommit(state);
  // A full window kept the news of commits from it, and entries.
  if (wasPaused && progress.sentCommit < Math.min(state.commit, progress.next - 1)) {
    sendAppend(state, from, progress);
  }
  sendWaitingEntries(state, from, progress);
  offerTakeover(state, leadership, from);
}

/** The logs are known to agree through `match`. */
function settleState(state: CoreState, progress: Progress, agrees: boolean): void {
  if (progress.state === 'probe' && agrees) progress.becomeReplicate();
  // Whatever brought it there, the log goes on where the member is.
  if (progress.state === 'snapshot' && progress.match + 1 >= state.log.firstIndex) progress.becomeReplicate();
}

export function onHeartbeatResponse(
  state: CoreState,
  from: MemberId,
  message: Of<'heartbeat-response'>,
): void {
  const { leadership } = state;
  const progress = leadership?.progress.get(from);
  if (leadership === undefined || progress === undefined) return;
  progress.recentlyActive = true;
  // Once for each timed heartbeat: rounds for reads may come much faster than answers to requests.
  if (message.readSequence >= leadership.timedRound && progress.probedRound < leadership.timedRound) {
    progress.probedRound = leadership.timedRound;
    findLosses(state, from, progress);
  }
  const answered = leadership.answeredRound.get(from) ?? 0;
  leadership.answeredRound.set(from, Math.max(answered, message.readSequence));
  settleReads(state, leadership);
  offerTakeover(state, leadership, from);
}

/** What was sent may be lost. A request after `next - 1` finds out: it is taken, or rejected with a hint. */
function findLosses(state: CoreState, peer: MemberId, progress: Progress): void {
  progress.isPaused = false;
  if (progress.state === 'probe' || progress.match < state.log.lastIndex) sendAppend(state, peer, progress);
}

/** Messages are being lost: what is under way will not arrive. */
export function onUnreachable(state: CoreState, peer: MemberId): void {
  const progress = state.leadership?.progress.get(peer);
  if (progress?.state === 'replicate') progress.becomeProbe();
}

export function onSnapshotStatus(state: CoreState, peer: MemberId, outcome: 'delivered' | 'failed'): void {
  state.leadership?.progress.get(peer)?.snapshotEnded(outcome);
}

/** CheckQuorum (thesis, 6.2): a leader that was cut off must not go on answering. True when a quorum was heard. */
export function hearsQuorum(state: CoreState, leadership: Leadership): boolean {
  const heard = new Map<MemberId, boolean>([[state.config.id, true]]);
  for (const [peer, progress] of leadership.progress) {
    heard.set(peer, progress.recentlyActive);
    progress.recentlyActive = false;
  }
  return state.rules.countVotes(state.membership, heard) === 'won';
}

/** Everybody gets the log from now on who is in the membership, and nobody else. */
export function trackMembers(state: CoreState, leadership: Leadership): void {
  const { progress } = leadership;
  const members = membersOf(state.membership);
  for (const peer of progress.keys()) if (!members.includes(peer)) progress.delete(peer);
  for (const member of members) {
    if (member === state.config.id || progress.has(member)) continue;
    const fresh = new Progress(state.log.lastIndex + 1, state.config);
    // A member that is new cannot have been heard yet; the next quorum check must not hold that against it.
    fresh.recentlyActive = true;
    progress.set(member, fresh);
  }
}

/** The leader's part when a membership begins to hold. */
export function onMembershipAsLeader(state: CoreState): void {
  const { leadership } = state;
  if (leadership === undefined) return;
  if (!isVoter(state.membership, state.config.id)) {
    // Removed or demoted (thesis, 4.2.2). The news of the commit is with the others already.
    handOverAtExit(state, leadership);
    state.becomeFollower(state.term, undefined);
    return;
  }
  trackMembers(state, leadership);
  const { transfer } = leadership;
  if (transfer !== undefined && !state.membership.voters.includes(transfer.to)) {
    abortTransfer(state, leadership);
  }
  // A promise of the old voters says nothing of the new ones.
  leadership.leaseFrom = Number.NEGATIVE_INFINITY;
  // The quorum may have become smaller: what waited for it need not wait any more.
  maybeCommit(state);
  settleReads(state, leadership);
  broadcastAppend(state, leadership);
}
