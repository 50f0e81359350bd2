/** A member's state, and the few moves that all roles share. */
import { Durability } from './durability.js';
import { CoreLog } from './log.js';
import { emptyMembership, isVoter } from './membership/membership.js';
import type { Rules } from './rules.js';
import type { Progress } from './tracker/progress.js';
import type {
  Command,
  CoreConfig,
  Entry,
  MemberId,
  Membership,
  Message,
  Recovered,
  Refusal,
  Role,
  SnapshotMeta,
} from './types.js';

/** Who asked for a read: the driver here, or a follower that will hear `context` again. */
export type ReadOrigin =
  | { kind: 'local'; refs: readonly number[] }
  | { kind: 'remote'; from: MemberId; context: number };

export interface PendingRead {
  origin: ReadOrigin;
  index: number;
  /** The round of heartbeats that a quorum must answer. */
  round: number;
}

export interface Transfer {
  ref: number;
  to: MemberId;
  ticks: number;
}

/** What only a leader has; begins anew with every term that is led. */
export class Leadership {
  readonly progress = new Map<MemberId, Progress>();
  /** Bytes of own-term entries that are not committed. */
  uncommittedBytes = 0;
  transfer: Transfer | undefined;
  /** A `timeout-now` is out: for the rest of the term another member may be elected at any moment. */
  hasAskedForTakeover = false;

  /** Number of the newest round of heartbeats. */
  round = 0;
  /** The newest round that was sent because its time had come, not for a read. */
  timedRound = 0;
  /** The newest round that a quorum has answered. */
  confirmedRound = 0;
  /** The newest round that each member has answered. */
  readonly answeredRound = new Map<MemberId, number>();
  /** When the rounds that are not confirmed were sent, in order. */
  readonly sentRounds: { round: number; tick: number }[] = [];
  /** The tick at which the newest confirmed round was sent. */
  leaseFrom = Number.NEGATIVE_INFINITY;

  /** In order of their rounds. */
  pendingReads: PendingRead[] = [];
  /** Asked for before anything of the own term was committed. */
  earlyReads: ReadOrigin[] = [];
}

export class CoreState {
  role: Role = 'follower';
  term: number;
  votedFor: MemberId | undefined;
  leader: MemberId | undefined;
  readonly log: CoreLog;
  readonly disk: Durability;
  commit: number;
  /** Handed to the state machine. */
  applying: number;
  /** Reported back by the state machine. */
  applied: number;
  /** What is handed over and not reported back, in order. */
  applyingBatches: { through: number; bytes: number }[] = [];
  applyingBytes = 0;
  snapshot: SnapshotMeta | undefined;
  /** Holds at `applying`. */
  membership: Membership;

  /** Since the start. */
  ticks = 0;
  /** Towards the next election; a leader's next quorum check. */
  ticksSinceContact = 0;
  ticksSinceHeartbeat = 0;
  /** Since a leader was heard: how old the promise is not to help to depose it. */
  ticksSinceLeader: number;
  electionTimeout = 0;
  votes = new Map<MemberId, boolean>();
  /** The term in which the leader asked this member to take over, when it could not do so at once. */
  takeoverTerm = 0;
  /** Set while the role is leader, and only then. */
  leadership: Leadership | undefined;

  nextReadContext: number;
  /** Reads that the leader was asked about, by context. */
  forwardedReads = new Map<number, readonly number[]>();

  /** Collected during one step. */
  commands: Command[] = [];

  constructor(
    readonly config: CoreConfig,
    readonly rules: Rules,
    recovered: Recovered,
  ) {
    const { hardState, snapshot } = recovered;
    const base = snapshot?.index ?? 0;
    this.term = hardState.term;
    this.votedFor = hardState.votedFor;
    this.log = new CoreLog(snapshot, recovered.entries);
    this.disk = new Durability(this.log, rules, hardState);
    this.commit = Math.max(base, Math.min(hardState.commit, this.log.lastIndex));
    this.applying = base;
    this.applied = base;
    this.snapshot = snapshot;
    this.membership = snapshot?.membership ?? emptyMembership;
    // A member that has been here before may have promised a leader its lease just before it fell.
    const mayHavePromised = config.readLease !== undefined && this.term > 0 && rules.remembersPromise();
    this.ticksSinceLeader = mayHavePromised ? 0 : Number.POSITIVE_INFINITY;
    this.nextReadContext = rules.firstReadContext(config.random);
    this.resetElectionTimeout();
  }

  get isSoleVoter(): boolean {
    const { voters, outgoing } = this.membership;
    return voters.length > 0 && [...voters, ...outgoing].every((voter) => voter === this.config.id);
  }

  get isVoter(): boolean {
    return isVoter(this.membership, this.config.id);
  }

  /** A leader that has committed an entry of its own term knows the whole commit index (Raft paper, 8). */
  get hasCommittedInTerm(): boolean {
    return this.log.term(this.commit) === this.term;
  }

  /** Heard from a leader within the shortest election timeout: its lease stands, nobody else is to be helped. */
  get hasLiveLeader(): boolean {
    if (this.role === 'leader') return true;
    // Without leases of reads a member that knows of no leader may help at once; with them a promise is a promise.
    if (this.leader === undefined && this.config.readLease === undefined) return false;
    return this.rules.protectsLeader(this.ticksSinceLeader, this.config.electionTicks);
  }

  emit(command: Command): void {
    this.commands.push(command);
  }

  /** Votes and acknowledgements: only once all that was written before them is on disk. */
  sendDurably(to: MemberId, message: Message): void {
    const afterPersist = this.rules.promiseAfter(this.disk.sequence);
    this.emit({ kind: 'send', to, message, afterPersist });
  }

  sendNow(to: MemberId, message: Message): void {
    this.emit({ kind: 'send', to, message, afterPersist: 0 });
  }

  /** Appends entries (replacing from the first one's index on) and writes them with the hard state. */
  persist(entries: readonly Entry[]): void {
    const end = this.log.lastIndex;
    const keptThrough = this.log.append(entries);
    if (keptThrough < end) this.disk.cut(keptThrough);
    this.writeHardState(entries);
  }

  replaceLog(snapshot: SnapshotMeta): void {
    this.log.reset(snapshot);
    this.snapshot = snapshot;
    this.disk.cut(0);
    this.writeHardState([], snapshot);
  }

  writeHardState(entries: readonly Entry[] = [], snapshot?: SnapshotMeta): void {
    const { term, votedFor, commit } = this;
    const hardState = votedFor === undefined ? { term, commit } : { term, votedFor, commit };
    this.emit(this.disk.write(hardState, entries, snapshot));
  }

  becomeFollower(term: number, leader: MemberId | undefined): void {
    const changed = this.role !== 'follower' || term !== this.term || leader !== this.leader;
    this.role = 'follower';
    this.leader = leader;
    this.endLeadership();
    if (changed) this.refuseForwardedReads();
    if (term > this.term) {
      this.term = term;
      this.votedFor = undefined;
      this.writeHardState();
    }
    this.votes.clear();
    this.resetElectionTimeout();
    if (changed) this.announceRole();
  }

  private endLeadership(): void {
    const ended = this.leadership;
    if (ended === undefined) return;
    this.leadership = undefined;
    // The lease that a leader gave itself ended with its leadership.
    this.ticksSinceLeader = Number.POSITIVE_INFINITY;
    if (ended.transfer !== undefined) {
      const { ref } = ended.transfer;
      this.emit({ kind: 'transfer-ended', ref, outcome: 'stepped-down', afterPersist: 0 });
    }
    for (const origin of [...ended.pendingReads.map((read) => read.origin), ...ended.earlyReads]) {
      if (origin.kind === 'local') for (const ref of origin.refs) this.refuse(ref, 'lost-leadership');
    }
  }

  refuseForwardedReads(): void {
    for (const refs of this.forwardedReads.values()) {
      for (const ref of refs) this.refuse(ref, 'lost-leadership');
    }
    this.forwardedReads.clear();
  }

  announceRole(): void {
    this.emit({
      kind: 'role-changed',
      role: this.role,
      term: this.term,
      ...(this.leader === undefined ? {} : { leader: this.leader }),
      afterPersist: 0,
    });
  }

  refuse(ref: number, reason: Refusal, detail?: string): void {
    this.emit({
      kind: 'refused',
      ref,
      reason,
      ...(this.leader === undefined ? {} : { leader: this.leader }),
      ...(detail === undefined ? {} : { detail }),
      afterPersist: 0,
    });
  }

  resetElectionTimeout(): void {
    this.ticksSinceContact = 0;
    this.ticksSinceHeartbeat = 0;
    const { electionTicks, random } = this.config;
    this.electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }
}
