/**
 * The decisions that safety hangs on, one small function each, so that each can be read beside the sentence it comes
 * from ("Figure 2" is the Raft paper's, "thesis" is Ongaro's) and be made wrong by a test: `testing/faults.ts`.
 */
import type { CoreLog } from './log.js';
import { quorumIndex, quorumVote } from './quorum/joint.js';
import type { VoteResult } from './quorum/majority.js';
import type { Entry, HardState, MemberId, Membership } from './types.js';

export interface Rules {
  /** Elections: "if votes received from majority of servers: become leader" (Figure 2). */
  countVotes(membership: Membership, votes: ReadonlyMap<MemberId, boolean>): VoteResult;
  /** The highest index that a quorum has: for commits, and for rounds of reads. */
  quorumIndex(membership: Membership, ackOf: (member: MemberId) => number): number;
  /** "If votedFor is null or candidateId" (Figure 2). Who knows this term's leader has nothing left to give. */
  isVoteFree(vote: {
    votedFor: MemberId | undefined;
    leader: MemberId | undefined;
    candidate: MemberId;
  }): boolean;
  /** "And candidate's log is at least as up-to-date as receiver's log" (Figure 2, 5.4.1). */
  isUpToDate(log: CoreLog, lastIndex: number, lastTerm: number): boolean;
  /** Nobody helps to depose a leader that a majority may be hearing (thesis, 4.2.3 and 6.4.1). */
  protectsLeader(ticksSinceLeader: number, electionTicks: number): boolean;
  /** A lease counts from before the restart that forgot it. */
  remembersPromise(): boolean;
  /** "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm" (Figure 2). */
  logMatches(log: CoreLog, prevIndex: number, prevTerm: number): boolean;
  /** "If an existing entry conflicts with a new one, delete the existing entry": the first one that is new here. */
  firstNew(log: CoreLog, entries: readonly Entry[]): number;
  /** By counting, only an entry of the leader's own term is committed (5.4.2, Figure 8). */
  commitsByCounting(entryTerm: number | undefined, term: number): boolean;
  /** What is written before an answer that promises something (Figure 2: "before responding to RPCs"). */
  durableHardState(hardState: HardState): HardState;
  /** The write that a promise must wait for. */
  promiseAfter(persistSequence: number): number;
  /** Entries through here stay durable when the log is cut at `keptThrough`, whatever writes are under way. */
  durableAfterCut(durableIndex: number, keptThrough: number): number;
  /** Whoever knows of a committed change must act on it before it asks for votes. */
  mayCampaign(hasUnappliedMembership: boolean): boolean;
  /** One change at a time: two would let majorities be chosen that share nobody (thesis, 4.1). */
  mayChangeMembership(state: { isPending: boolean; hasCommittedInTerm: boolean }): boolean;
  /** Until an entry of its own term is committed a leader knows only a lower bound (thesis, 6.4, step 1). */
  mayServeReads(hasCommittedInTerm: boolean): boolean;
  /** A read waits for the round of heartbeats that was sent after it was asked (thesis, 6.4, step 3). */
  isReadConfirmed(roundOfRead: number, confirmedRound: number): boolean;
  /** Whoever asks another to take over has released everybody's promise (thesis, 6.4.1). */
  keepsLease(hasAskedForTakeover: boolean): boolean;
  /** Of the leader's own ticks, while those of others may be faster. */
  leaseTicks(electionTicks: number, clockDriftMax: number): number;
  /** Answers to reads asked before a restart must not be taken for answers to later ones. */
  firstReadContext(random: () => number): number;
}

export const soundRules: Rules = Object.freeze({
  countVotes: quorumVote,
  quorumIndex,
  isVoteFree({ votedFor, leader, candidate }) {
    return votedFor === undefined ? leader === undefined : votedFor === candidate;
  },
  isUpToDate(log, lastIndex, lastTerm) {
    return lastTerm > log.lastTerm || (lastTerm === log.lastTerm && lastIndex >= log.lastIndex);
  },
  protectsLeader(ticksSinceLeader, electionTicks) {
    return ticksSinceLeader < electionTicks;
  },
  remembersPromise() {
    return true;
  },
  logMatches(log, prevIndex, prevTerm) {
    return log.term(prevIndex) === prevTerm;
  },
  firstNew(log, entries) {
    return entries.findIndex((entry) => log.term(entry.index) !== entry.term);
  },
  commitsByCounting(entryTerm, term) {
    return entryTerm === term;
  },
  durableHardState(hardState) {
    return hardState;
  },
  promiseAfter(persistSequence) {
    return persistSequence;
  },
  durableAfterCut(durableIndex, keptThrough) {
    return Math.min(durableIndex, keptThrough);
  },
  mayCampaign(hasUnappliedMembership) {
    return !hasUnappliedMembership;
  },
  mayChangeMembership({ isPending, hasCommittedInTerm }) {
    return !isPending && hasCommittedInTerm;
  },
  mayServeReads(hasCommittedInTerm) {
    return hasCommittedInTerm;
  },
  isReadConfirmed(roundOfRead, confirmedRound) {
    return roundOfRead <= confirmedRound;
  },
  keepsLease(hasAskedForTakeover) {
    return !hasAskedForTakeover;
  },
  leaseTicks(electionTicks, clockDriftMax) {
    // A follower's first tick may come right after the leader's message, so one tick less is certain.
    return Math.floor(((electionTicks - 1) * (1 - clockDriftMax)) / (1 + clockDriftMax));
  },
  firstReadContext(random) {
    return Math.floor(random() * 2 ** 48);
  },
} satisfies Rules);
