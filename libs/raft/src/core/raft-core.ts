/**
 * The Raft core: `step(input)` changes the state and returns the commands to carry out, in order. It reads no clock,
 * no randomness and no disk: the same inputs give the same commands. This file dispatches; each case is a function
 * in the file of its subject.
 */
import { assertNever } from '#libs/model';
import { applyCommitted, onApplied } from './applying.js';
import { bootstrapWhenEmpty } from './bootstrap.js';
import { checkConfig } from './config.js';
import {
  countOwnVote,
  leadAloneWhenDue,
  learnCommit,
  onCampaign,
  onTimeoutNow,
  onVoteRequest,
  onVoteResponse,
  startElection,
  suspectLeader,
  takeOverWhenDue,
} from './election.js';
import { followLeader, onAppendRequest, onHeartbeat, onSnapshot } from './following.js';
import { leaveJointWhenDue, propose, proposeMembership } from './proposals.js';
import {
  broadcastHeartbeat,
  forgetReads,
  onRead,
  onReadRequest,
  onReadResponse,
  settleReads,
} from './reads.js';
import {
  hearsQuorum,
  maybeCommit,
  onAppendResponse,
  onHeartbeatResponse,
  onSnapshotStatus,
  onUnreachable,
} from './replication.js';
import { type Rules, soundRules } from './rules.js';
import { CoreState, type Leadership } from './state.js';
import { onTransfer, tickTransfer } from './transfer.js';
import type {
  Command,
  CoreConfig,
  CoreStatus,
  Input,
  MemberId,
  Message,
  PeerProgress,
  Recovered,
} from './types.js';

export class RaftCore {
  private readonly state: CoreState;
  private isStarted = false;

  constructor(config: CoreConfig, recovered: Recovered, rules: Rules = soundRules) {
    checkConfig(config);
    this.state = new CoreState(config, rules, recovered);
  }

  step(input: Input): Command[] {
    const { state } = this;
    state.commands = [];
    this.dispatch(input);
    applyCommitted(state);
    if (this.isStarted) this.followUp();
    return state.commands;
  }

  status(): CoreStatus {
    const { state } = this;
    const transfer = state.leadership?.transfer;
    return {
      role: state.role,
      term: state.term,
      ...(state.leader === undefined ? {} : { leader: state.leader }),
      commit: state.commit,
      applied: state.applied,
      firstIndex: state.log.firstIndex,
      lastIndex: state.log.lastIndex,
      durableIndex: state.disk.index,
      snapshotIndex: state.snapshot?.index ?? 0,
      membership: state.membership,
      ...(transfer === undefined ? {} : { transferringTo: transfer.to }),
    };
  }

  /** Every other member as the leader sees it; empty on a member that does not lead. */
  peers(): PeerProgress[] {
    const { leadership, membership } = this.state;
    return [...(leadership?.progress ?? [])].map(([id, progress]) => ({
      id,
      isLearner: membership.learners.includes(id),
      state: progress.state,
      match: progress.match,
      next: progress.next,
      pendingSnapshot: progress.pendingSnapshot,
      isActive: progress.recentlyActive,
      isPaused: progress.isPaused,
      inflightAppends: progress.inflights.count,
      inflightBytes: progress.inflights.bytes,
    }));
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
        return bootstrapWhenEmpty(state);
      case 'tick':
        return this.tick();
      case 'message':
        return this.receive(input.from, input.message);
      case 'propose':
        return propose(state, input.proposals);
      case 'propose-membership': {
        const { changes, transition } = input;
        return proposeMembership(state, input.ref, { kind: 'change', changes, transition });
      }
      case 'leave-joint':
        return proposeMembership(state, input.ref, { kind: 'leave-joint' });
      case 'transfer':
        return onTransfer(state, input.ref, input.to);
      case 'persisted':
        state.disk.done(input.sequence);
        countOwnVote(state);
        maybeCommit(state);
        return;
      case 'applied':
        return onApplied(state, input.index);
      case 'read':
        return onRead(state, input.refs);
      case 'forget-reads':
        return forgetReads(state, input.refs);
      case 'snapshot-taken':
        if (input.snapshot.index > (state.snapshot?.index ?? 0)) state.snapshot = input.snapshot;
        return state.log.compact(Math.min(input.compactThrough, input.snapshot.index, state.applied));
      case 'snapshot-status':
        return onSnapshotStatus(state, input.peer, input.outcome);
      case 'unreachable':
        onUnreachable(state, input.peer);
        return suspectLeader(state, input.peer);
      case 'campaign':
        return onCampaign(state);
      case 'forget-leader':
        return this.forgetLeader();
      default:
        assertNever(input, 'raft input');
    }
  }

  /** What the new state asks for by itself. */
  private followUp(): void {
    leaveJointWhenDue(this.state);
    takeOverWhenDue(this.state);
    leadAloneWhenDue(this.state);
  }

  private tick(): void {
    const { state } = this;
    state.ticks++;
    state.ticksSinceContact++;
    state.ticksSinceLeader++;
    if (state.leadership !== undefined) this.tickAsLeader(state.leadership);
    else if (state.ticksSinceContact >= state.electionTimeout) startElection(state);
  }

  private tickAsLeader(leadership: Leadership): void {
    const { state } = this;
    tickTransfer(state, leadership);
    if (state.ticksSinceContact >= state.config.electionTicks) {
      state.ticksSinceContact = 0;
      if (!hearsQuorum(state, leadership)) {
        state.becomeFollower(state.term, undefined);
        return;
      }
    }
    state.ticksSinceHeartbeat++;
    if (state.ticksSinceHeartbeat < state.config.heartbeatTicks) return;
    broadcastHeartbeat(state, leadership);
    leadership.timedRound = leadership.round;
    settleReads(state, leadership);
  }

  private forgetLeader(): void {
    const { state } = this;
    if (state.role !== 'follower' || state.config.readLease !== undefined) return;
    state.becomeFollower(state.term, undefined);
  }

  private receive(from: MemberId, message: Message): void {
    const { state } = this;
    if ('committed' in message) learnCommit(state, message.committed);
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
        followLeader(state, from, message.term);
        return onAppendRequest(state, from, message);
      case 'heartbeat':
        followLeader(state, from, message.term);
        return onHeartbeat(state, from, message);
      case 'snapshot':
        followLeader(state, from, message.term);
        return onSnapshot(state, from, message);
      case 'append-response':
        return onAppendResponse(state, from, message);
      case 'heartbeat-response':
        return onHeartbeatResponse(state, from, message);
      case 'timeout-now':
        return onTimeoutNow(state);
      case 'read-request':
        return onReadRequest(state, from, message);
      case 'read-response':
        return onReadResponse(state, message);
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
        // Whoever asks now was cut off and would only disturb (thesis, 4.2.3), unless the leader itself wants it.
        if (state.hasLiveLeader && !message.force) return false;
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
}
