/** Elections: PreVote, votes, and the start of a term. */
import { hasUnappliedMembership } from './applying.js';
import { membersOf } from './membership/membership.js';
import { appendAsLeader, maybeCommit, trackMembers } from './replication.js';
import { type CoreState, Leadership } from './state.js';
import type { MemberId, Message } from './types.js';

type VoteRequest = Extract<Message, { kind: 'pre-vote-request' | 'vote-request' }>;
type VoteResponse = Extract<Message, { kind: 'pre-vote-response' | 'vote-response' }>;

/** Only a voter, and only one that acts on every change it knows to be committed. */
export function mayCampaign(state: CoreState): boolean {
  return state.isVoter && state.rules.mayCampaign(hasUnappliedMembership(state));
}

/** The election timeout has passed, or the driver asks. */
export function startElection(state: CoreState): void {
  if (state.role === 'leader' || !mayCampaign(state)) return;
  if (state.isSoleVoter) campaign(state, { force: false });
  else preCampaign(state);
}

/** The driver asks for an election out of turn. A promise to the present leader's lease stands. */
export function onCampaign(state: CoreState): void {
  if (state.config.readLease !== undefined && state.hasLiveLeader) return;
  startElection(state);
}

/**
 * The connection to the leader broke: it may be dead. This member waits as long as a live leader would need for some
 * heartbeats, and protects it from others no longer; the next heartbeat undoes both. Whoever still hears the leader
 * says no to the pre-vote, so a single broken connection deposes nobody. A promise to a lease stands.
 */
export function suspectLeader(state: CoreState, peer: MemberId): void {
  if (state.role !== 'follower' || state.leader !== peer || state.config.readLease !== undefined) return;
  const { heartbeatTicks, electionTicks, random } = state.config;
  const graceTicks = heartbeatTicks * (2 + Math.floor(random() * 3));
  state.ticksSinceContact = Math.max(state.ticksSinceContact, state.electionTimeout - graceTicks);
  state.ticksSinceLeader = Math.max(state.ticksSinceLeader, electionTicks);
}

/** The leader asks this member to take over: nobody need be protected from the election. */
export function onTimeoutNow(state: CoreState): void {
  if (state.role === 'leader' || !state.isVoter) return;
  state.takeoverTerm = state.term;
  takeOverWhenDue(state);
}

/** A change of membership may still have to be applied; a leader that removed itself asks at just that moment. */
export function takeOverWhenDue(state: CoreState): void {
  const isIdle = state.role === 'follower' || state.role === 'pre-candidate';
  if (state.takeoverTerm === state.term && isIdle && mayCampaign(state)) campaign(state, { force: true });
}

/** Nobody else could win or object: waiting for a timeout would only make things slower. */
export function leadAloneWhenDue(state: CoreState): void {
  if (!state.isSoleVoter || state.role === 'leader' || state.role === 'candidate') return;
  // The leader of a larger membership may not know yet that it is no voter, and trust in its lease.
  if (state.config.readLease !== undefined && state.hasLiveLeader) return;
  if (mayCampaign(state)) campaign(state, { force: false });
}

/** Asks first whether it could win: a member that was cut off must not depose a healthy leader when it comes back. */
function preCampaign(state: CoreState): void {
  state.role = 'pre-candidate';
  state.leader = undefined;
  state.refuseForwardedReads();
  state.resetElectionTimeout();
  state.votes = new Map([[state.config.id, true]]);
  state.announceRole();
  const request: VoteRequest = { kind: 'pre-vote-request', ...ballot(state), term: state.term + 1 };
  for (const peer of otherVoters(state)) state.sendNow(peer, request);
}

function campaign(state: CoreState, { force }: { force: boolean }): void {
  state.role = 'candidate';
  state.leader = undefined;
  state.refuseForwardedReads();
  state.term++;
  state.votedFor = state.config.id;
  state.votes.clear();
  state.resetElectionTimeout();
  state.writeHardState();
  state.announceRole();
  const request: VoteRequest = { kind: 'vote-request', ...ballot(state), force };
  for (const peer of otherVoters(state)) state.sendDurably(peer, request);
}

function ballot(state: CoreState) {
  const { term, log } = state;
  return { term, lastIndex: log.lastIndex, lastTerm: log.lastTerm, ...knownCommit(state) };
}

function knownCommit({ commit, log }: CoreState): Pick<VoteRequest, 'committed'> {
  return commit === 0 ? {} : { committed: { index: commit, term: log.term(commit) as number } };
}

/** Equal entries at one index mean equal logs up to there, so what is committed there is committed here. */
export function learnCommit(state: CoreState, committed: VoteRequest['committed']): void {
  if (committed === undefined || state.role === 'leader' || committed.index <= state.commit) return;
  if (state.log.term(committed.index) === committed.term) state.commit = committed.index;
}

function otherVoters({ membership, config }: CoreState): MemberId[] {
  return membersOf({ ...membership, learners: [] }).filter((member) => member !== config.id);
}

/** A candidate's own vote counts once it is on disk, as everybody else's does. */
export function countOwnVote(state: CoreState): void {
  if (state.role !== 'candidate') return;
  const { vote } = state.disk;
  if (vote.term !== state.term || vote.votedFor !== state.config.id) return;
  state.votes.set(state.config.id, true);
  decide(state);
}

/** Whoever asks is answered, member or not: this member may be the one that has not heard of the change. */
export function onVoteRequest(state: CoreState, from: MemberId, request: VoteRequest): void {
  const { rules } = state;
  const isUpToDate = rules.isUpToDate(state.log, request.lastIndex, request.lastTerm);
  if (request.kind === 'pre-vote-request') {
    const granted = request.term > state.term && isUpToDate && !state.hasLiveLeader;
    const term = granted ? request.term : state.term;
    state.sendNow(from, { kind: 'pre-vote-response', term, granted, ...knownCommit(state) });
    return;
  }
  // The caller has already taken over a higher term, so an older one is refused and an equal one is voted on once.
  const { votedFor, leader } = state;
  const isFree = rules.isVoteFree({ votedFor, leader, candidate: from });
  const isAllowed = request.force || !state.hasLiveLeader;
  const granted = request.term === state.term && isFree && isUpToDate && isAllowed;
  if (granted && state.votedFor !== from) {
    state.votedFor = from;
    state.ticksSinceContact = 0;
    state.writeHardState();
  }
  state.sendDurably(from, { kind: 'vote-response', term: state.term, granted, ...knownCommit(state) });
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

function decide(state: CoreState): void {
  const result = state.rules.countVotes(state.membership, state.votes);
  if (result === 'pending') return;
  if (result === 'lost') state.becomeFollower(state.term, undefined);
  else if (state.role === 'candidate') becomeLeader(state);
  // While the votes came in a change may have been committed that is not applied.
  else if (mayCampaign(state)) campaign(state, { force: false });
  else state.becomeFollower(state.term, undefined);
}

function becomeLeader(state: CoreState): void {
  const leadership = new Leadership();
  state.role = 'leader';
  state.leadership = leadership;
  state.leader = state.config.id;
  state.votes.clear();
  state.resetElectionTimeout();
  trackMembers(state, leadership);
  state.announceRole();
  // An entry of its own term: only by committing that does a leader learn, and may count, what is committed.
  const index = state.log.lastIndex + 1;
  appendAsLeader(state, leadership, [{ index, term: state.term, kind: 'noop', data: new Uint8Array(0) }]);
  maybeCommit(state);
}
