/**
 * The Raft core: `step(input)` changes the state and returns the commands to carry out, in order. It reads no clock,
 * no randomness and no disk: the same inputs give the same commands.
 *
 * Not here yet: learners, changes of membership, leadership transfer, message flow control.
 */
import { assertNever } from '#libs/model';
import {
  campaign,
  countOwnVote,
  hasLiveLeader,
  onVoteRequest,
  onVoteResponse,
  preCampaign,
} from './election.js';
import { majorityOf } from './quorum/majority.js';
import { broadcastHeartbeat, onRead, onReadAck } from './reads.js';
import {
  maybeCommit,
  onAppendRequest,
  onAppendResponse,
  onHeartbeat,
  onSnapshot,
  propose,
  resumeAfterHeartbeat,
} from './replication.js';
import { CoreState } from './state.js';
import type { Command, CoreConfig, CoreStatus, Input, MemberId, Message, Recovered } from './types.js';

export class RaftCore {
  private readonly state: CoreState;
  private isStarted = false;

  constructor(config: CoreConfig, recovered: Recovered) {
    this.state = new CoreState(config, recovered);
  }

  step(input: Input): Command[] {
    const { state } = this;
    state.commands = [];
    this.dispatch(input);
    state.applyCommitted();
    if (this.isStarted && state.isSoleVoter && state.role !== 'leader' && state.role !== 'candidate') {
      // Nobody else could win or object: waiting for a timeout would only make the start slower.
      campaign(state);
      state.applyCommitted();
    }
    return state.commands;
  }

  status(): CoreStatus {
    const { state } = this;
    return {
      role: state.role,
      term: state.term,
      ...(state.leader === undefined ? {} : { leader: state.leader }),
      commit: state.commit,
      applied: state.applied,
      firstIndex: state.log.firstIndex,
      lastIndex: state.log.lastIndex,
      durableIndex: state.durableIndex,
      snapshotIndex: state.snapshot?.index ?? 0,
      membership: state.membership,
    };
  }

  /** For checkers: the term of an entry that is still in the log. */
  termAt(index: number): number | undefined {
    return this.state.log.term(index);
  }

  private dispatch(input: Input): void {
    const { state } = this;
    switch (input.kind) {
      case 'start':
        this.isStarted = true;
        return state.bootstrap();
      case 'tick':
        return this.tick();
      case 'message':
        return this.receive(input.from, input.message);
      case 'propose':
        return propose(state, input.proposals);
      case 'persisted':
        state.persisted(input.sequence);
        countOwnVote(state);
        maybeCommit(state);
        return;
      case 'applied':
        state.applied = Math.max(state.applied, input.index);
        return;
      case 'read':
        return onRead(state, input.refs);
      case 'snapshot-taken':
        if (input.snapshot.index > (state.snapshot?.index ?? 0)) state.snapshot = input.snapshot;
        state.log.compact(Math.min(input.compactThrough, state.applied));
        return;
      case 'propose-membership':
      case 'leave-joint':
      case 'transfer':
        return state.refuse(input.ref, 'not-leader', 'not built yet');
      case 'forget-reads':
      case 'snapshot-status':
      case 'unreachable':
      case 'campaign':
      case 'forget-leader':
        throw new Error(`raft: input ${input.kind} is not built yet`);
      default:
        assertNever(input, 'raft input');
    }
  }

  private tick(): void {
    const { state } = this;
    state.ticksSinceContact++;
    if (state.role !== 'leader') {
      const canVote = state.membership.voters.includes(state.config.id);
      if (canVote && state.ticksSinceContact >= state.electionTimeout) preCampaign(state);
      return;
    }
    state.ticksSinceHeartbeat++;
    if (state.ticksSinceContact >= state.config.electionTicks) {
      state.ticksSinceContact = 0;
      if (!this.hearsMajority()) {
        // CheckQuorum (thesis, 6.2): a leader that was cut off must not go on answering.
        state.becomeFollower(state.term, undefined);
        return;
      }
    }
    if (state.ticksSinceHeartbeat >= state.config.heartbeatTicks) broadcastHeartbeat(state);
  }

  private hearsMajority(): boolean {
    let heard = 1;
    for (const progress of this.state.progress.values()) {
      if (progress.recentlyActive) heard++;
      progress.recentlyActive = false;
    }
    return heard >= majorityOf(this.state.membership.voters.length);
  }

  private receive(from: MemberId, message: Message): void {
    const { state } = this;
    if (message.term > state.term && !this.acceptHigherTerm(from, message)) return;
    if (message.term < state.term && !this.answerLowerTerm(from, message)) return;
    switch (message.kind) {
      case 'pre-vote-request':
      case 'vote-request':
        return onVoteRequest(state, from, message);
      case 'pre-vote-response':
      case 'vote-response':
        return onVoteResponse(state, from, message);
      case 'append-request':
        this.followLeader(from, message.term);
        return onAppendRequest(state, from, message);
      case 'heartbeat':
        this.followLeader(from, message.term);
        return onHeartbeat(state, from, message);
      case 'snapshot':
        this.followLeader(from, message.term);
        return onSnapshot(state, from, message);
      case 'append-response':
        return onAppendResponse(state, from, message);
      case 'heartbeat-response': {
        const progress = state.role === 'leader' ? state.progress.get(from) : undefined;
        if (progress === undefined) return;
        resumeAfterHeartbeat(state, from, progress);
        return onReadAck(state, from, message.readSequence);
      }
      case 'timeout-now':
      case 'read-request':
      case 'read-response':
        return;
      default:
        assertNever(message, 'raft message');
    }
  }

  /** False when the message is to be dropped. */
  private acceptHigherTerm(from: MemberId, message: Message): boolean {
    const { state } = this;
    switch (message.kind) {
      case 'pre-vote-request':
        return true;
      case 'pre-vote-response':
        // A grant names the term asked about, which nobody has taken yet.
        if (message.granted) return true;
        state.becomeFollower(message.term, undefined);
        return false;
      case 'vote-request':
        // A live leader's lease: whoever asks now was cut off and would only disturb (thesis, 4.2.3).
        if (hasLiveLeader(state)) return false;
        state.becomeFollower(message.term, undefined);
        return true;
      case 'append-request':
      case 'heartbeat':
      case 'snapshot':
        state.becomeFollower(message.term, from);
        return true;
      case 'vote-response':
      case 'append-response':
      case 'heartbeat-response':
      case 'timeout-now':
      case 'read-request':
      case 'read-response':
        state.becomeFollower(message.term, undefined);
        return false;
      default:
        return assertNever(message, 'raft message');
    }
  }

  /** Answers what must not stay unanswered; false when the message goes no further. */
  private answerLowerTerm(from: MemberId, message: Message): boolean {
    const { state } = this;
    switch (message.kind) {
      case 'append-request':
      case 'heartbeat':
      case 'snapshot':
        // Without an answer a deposed leader whose term this member has passed would never learn of it.
        state.sendDurably(from, {
          kind: 'append-response',
          term: state.term,
          result: { accepted: false, rejectedPrev: 0, hintIndex: 0, hintTerm: 0 },
        });
        return false;
      case 'pre-vote-request':
      case 'vote-request':
        return true;
      case 'pre-vote-response':
      case 'vote-response':
      case 'append-response':
      case 'heartbeat-response':
      case 'timeout-now':
      case 'read-request':
      case 'read-response':
        return false;
      default:
        return assertNever(message, 'raft message');
    }
  }

  private followLeader(from: MemberId, term: number): void {
    const { state } = this;
    if (state.role === 'leader')
      throw new Error(`raft: two leaders in term ${term}: ${from} and this member`);
    if (state.role !== 'follower' || state.leader !== from) state.becomeFollower(term, from);
    state.ticksSinceContact = 0;
  }
}
