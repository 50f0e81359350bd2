/** Elections: PreVote, votes, and the start of a term. */
import { countVotes } from './quorum/majority.js';
import { broadcastAppend, maybeCommit } from './replication.js';
import type { CoreState } from './state.js';
import { Progress } from './tracker/progress.js';
import type { MemberId, Message } from './types.js';

type VoteRequest = Extract<Message, { kind: 'pre-vote-request' | 'vote-request' }>;
type VoteResponse = Extract<Message, { kind: 'pre-vote-response' | 'vote-response' }>;

/** Asks first whether it could win: a member that was cut off must not depose a healthy leader when it comes back. */
export function preCampaign(state: CoreState): void {
  if (state.isSoleVoter) {
    campaign(state);
    return;
  }
  state.role = 'pre-candidate';
  state.leader = undefined;
  state.resetElectionTimeout();
  state.votes = new Map([[state.config.id, true]]);
  state.announceRole();
  for (const peer of state.peers) {
    state.sendNow(peer, {
      kind: 'pre-vote-request',
      term: state.term + 1,
      lastIndex: state.log.lastIndex,
      lastTerm: state.log.lastTerm,
    });
  }
}

export function campaign(state: CoreState): void {
  state.role = 'candidate';
  state.leader = undefined;
  state.term++;
  state.votedFor = state.config.id;
  state.votes.clear();
  state.resetElectionTimeout();
  state.writeHardState();
  state.announceRole();
  for (const peer of state.peers) {
    state.sendDurably(peer, {
      kind: 'vote-request',
      force: false,
      term: state.term,
      lastIndex: state.log.lastIndex,
      lastTerm: state.log.lastTerm,
    });
  }
}

/** A candidate's own vote counts once it is on disk, as everybody else's does. */
export function countOwnVote(state: CoreState): void {
  if (state.role !== 'candidate') return;
  if (state.durableVote.term !== state.term || state.durableVote.votedFor !== state.config.id) return;
  state.votes.set(state.config.id, true);
  decide(state);
}

export function onVoteRequest(state: CoreState, from: MemberId, request: VoteRequest): void {
  const isUpToDate = state.log.isUpToDate(request.lastIndex, request.lastTerm);
  if (request.kind === 'pre-vote-request') {
    const granted = request.term > state.term && isUpToDate && !hasLiveLeader(state);
    state.sendNow(from, {
      kind: 'pre-vote-response',
      term: granted ? request.term : state.term,
      granted,
    });
    return;
  }
  // The caller has already taken over a higher term, so an older one is refused and an equal one is voted on once.
  const isFree = state.votedFor === undefined ? state.leader === undefined : state.votedFor === from;
  const granted = request.term === state.term && isFree && isUpToDate;
  if (granted && state.votedFor === undefined) {
    state.votedFor = from;
    state.ticksSinceContact = 0;
    state.writeHardState();
  }
  state.sendDurably(from, { kind: 'vote-response', term: state.term, granted });
}

export function onVoteResponse(state: CoreState, from: MemberId, response: VoteResponse): void {
  const awaited = response.kind === 'pre-vote-response' ? 'pre-candidate' : 'candidate';
  if (state.role !== awaited) return;
  // A late grant for another term's question answers nothing.
  const asked = awaited === 'pre-candidate' ? state.term + 1 : state.term;
  if (response.granted && response.term !== asked) return;
  if (!state.votes.has(from)) state.votes.set(from, response.granted);
  decide(state);
}

/** Heard from a leader within the shortest election timeout: its lease stands, nobody else is to be helped. */
export function hasLiveLeader(state: CoreState): boolean {
  return state.leader !== undefined && state.ticksSinceContact < state.config.electionTicks;
}

function decide(state: CoreState): void {
  const result = countVotes(state.membership.voters, state.votes);
  if (result === 'pending') return;
  if (result === 'lost') {
    state.becomeFollower(state.term, undefined);
  } else if (state.role === 'pre-candidate') {
    campaign(state);
  } else {
    becomeLeader(state);
  }
}

function becomeLeader(state: CoreState): void {
  state.role = 'leader';
  state.leader = state.config.id;
  state.votes.clear();
  state.resetElectionTimeout();
  state.readAcks.clear();
  state.progress = new Map(state.peers.map((peer) => [peer, new Progress(state.log.lastIndex + 1)]));
  for (const progress of state.progress.values()) progress.recentlyActive = true;
  state.announceRole();
  // An entry of its own term: only by committing that does a leader learn, and may count, what is committed.
  state.persist([
    { index: state.log.lastIndex + 1, term: state.term, kind: 'noop', data: new Uint8Array(0) },
  ]);
  broadcastAppend(state);
  maybeCommit(state);
}
