/**
 * The words of the Raft core: what goes in, what comes out. The core is a deterministic machine; everything it is
 * told is an `Input`, everything it wants done is a `Command`.
 *
 * Tests that need a wrong core give `RaftCore` another set of rules: `new RaftCore(config, recovered,
 * faultyRules('count-votes-twice'))`, see `testing/faults.ts` for the names. Nothing else knows of them.
 */
export type MemberId = string;

export interface Entry {
  index: number;
  term: number;
  /**
   * A new leader's first entry is a `noop`; it commits what earlier terms left behind (Raft paper, 5.4.2 and 8).
   * A `membership` entry's data is read by `decodeMembershipEntry`; the core acts on it by itself, so the state machine
   * only has to advance.
   */
  kind: 'noop' | 'data' | 'membership';
  data: Uint8Array;
}

/** What must survive a crash beside the log. */
export interface HardState {
  term: number;
  votedFor?: MemberId;
  /**
   * May be late, but never more than the entries written with it were: a member whose log shows that a change of
   * membership was committed must remember that after a restart.
   */
  commit: number;
}

/**
 * Who takes part. While `outgoing` is not empty the membership is joint: elections and commits need a majority of
 * `voters` and one of `outgoing` (Ongaro's thesis, 4.3). Every list is sorted and holds nobody twice.
 */
export interface Membership {
  voters: readonly MemberId[];
  /** The voters of before, while joint. */
  outgoing: readonly MemberId[];
  /** They get the log but have no vote. */
  learners: readonly MemberId[];
  /** Still voters in `outgoing`; they become learners when the joint phase ends. */
  learnersNext: readonly MemberId[];
  /** The leader ends the joint phase by itself, as soon as it is committed. */
  autoLeave: boolean;
}

export type MembershipChange =
  /** Also promotes a learner; a voter stays one. */
  | { kind: 'add-voter'; id: MemberId }
  /** Gets the log and counts for nothing. Also demotes a voter. */
  | { kind: 'add-learner'; id: MemberId }
  | { kind: 'remove'; id: MemberId };

/**
 * How several changes are made at once. `auto`: one step when at most one voter changes, else through a joint phase
 * that ends by itself. `joint`: always through such a phase. `joint-until-left`: the phase lasts until `leave-joint`.
 */
export type MembershipTransition = 'auto' | 'joint' | 'joint-until-left';

/** The last entry a snapshot stands for, and who took part at that point. */
export interface SnapshotMeta {
  index: number;
  term: number;
  membership: Membership;
}

interface VoteRequest {
  term: number;
  lastIndex: number;
  lastTerm: number;
  committed?: KnownCommit;
}

interface VoteResponse {
  term: number;
  granted: boolean;
  committed?: KnownCommit;
}

/**
 * The last entry that the sender knows to be committed, if any. Who has the same entry learns that it is: else an
 * election could hang forever on a change of membership that only the other side knows to hold.
 */
interface KnownCommit {
  index: number;
  term: number;
}

export type Message =
  /** Asks whether an election at `term` could be won, without raising anybody's term (Ongaro's thesis, 9.6). */
  | ({ kind: 'pre-vote-request' } & VoteRequest)
  /** `term` is the one that was asked about when granted, the answerer's own when not. */
  | ({ kind: 'pre-vote-response' } & VoteResponse)
  /** `force`: the leader itself asked for this election, so nobody need protect it (thesis, 4.2.3). */
  | ({ kind: 'vote-request'; force: boolean } & VoteRequest)
  | ({ kind: 'vote-response' } & VoteResponse)
  | {
      kind: 'append-request';
      term: number;
      prevIndex: number;
      prevTerm: number;
      entries: readonly Entry[];
      commit: number;
    }
  | { kind: 'append-response'; term: number; result: AppendResult }
  | { kind: 'heartbeat'; term: number; commit: number; readSequence: number }
  | { kind: 'heartbeat-response'; term: number; readSequence: number }
  /**
   * Names the snapshot. The driver streams the state itself beside this message, in chunks and with resume, and gives
   * the message to the receiving core once the whole state has arrived (it may stream a newer snapshot instead; then
   * the message names that one). The sending driver tells its core by `snapshot-status` how it went.
   */
  | { kind: 'snapshot'; term: number; snapshot: SnapshotMeta }
  /** The receiver should start an election at once (thesis, 3.10). */
  | { kind: 'timeout-now'; term: number }
  /** A follower asks for a read index. `context` comes back in the answer and is used once. */
  | { kind: 'read-request'; term: number; context: number }
  | { kind: 'read-response'; term: number; context: number; index: number };

export type AppendResult =
  /** The member's log equals the leader's through `match`, on its disk. */
  | { accepted: true; match: number }
  /** The entry before the sent ones differs. The two logs may agree at `hintIndex` if its term there is `hintTerm`. */
  | { accepted: false; rejectedPrev: number; hintIndex: number; hintTerm: number };

/** `ref` names a request in the commands that answer it. The driver gives each a number of its own. */
export type Input =
  | { kind: 'start' }
  /**
   * With `readLease` the driver must have given every tick that its monotonic clock says is due before it gives a
   * `read`: a process that was stopped for a while must not take its lease for valid.
   */
  | { kind: 'tick' }
  | { kind: 'message'; from: MemberId; message: Message }
  /** One entry each, in one write and one message per member. Answered by `proposed` or `refused`. */
  | { kind: 'propose'; proposals: readonly { ref: number; data: Uint8Array }[] }
  /** Answered like a proposal; the new membership holds once its entry is applied. */
  | {
      kind: 'propose-membership';
      ref: number;
      changes: readonly MembershipChange[];
      transition: MembershipTransition;
    }
  /** Ends a joint phase that does not end by itself. Answered like a proposal. */
  | { kind: 'leave-joint'; ref: number }
  /** Hands the leadership to another voter. Answered by `refused` or `transfer-ended`. */
  | { kind: 'transfer'; ref: number; to: MemberId }
  /** Every persist command up to this sequence is on disk. */
  | { kind: 'persisted'; sequence: number }
  /** The state machine has taken every entry up to here. */
  | { kind: 'applied'; index: number }
  /**
   * On any member; a follower asks the leader. Each is answered by `read-ready` or `refused`; when the message or its
   * answer is lost, by neither: the driver then gives up the ref by `forget-reads` and asks again under a new one.
   */
  | { kind: 'read'; refs: readonly number[] }
  | { kind: 'forget-reads'; refs: readonly number[] }
  /** The driver has a durable snapshot; entries through `compactThrough` may go. */
  | { kind: 'snapshot-taken'; snapshot: SnapshotMeta; compactThrough: number }
  /** How the streaming of a `snapshot` message ended. Each such message must get one of these. */
  | { kind: 'snapshot-status'; peer: MemberId; outcome: 'delivered' | 'failed' }
  /**
   * The connection to the peer broke, or messages to it were dropped. A leader goes back to what the peer is known to
   * have; a follower that loses its leader so looks for another one after a few heartbeats' time, not a whole timeout.
   */
  | { kind: 'unreachable'; peer: MemberId }
  /** Starts an election now instead of after a timeout. Does nothing on a leader or where it would be unsafe. */
  | { kind: 'campaign' }
  /** The leader is known to be dead: votes need not wait for its lease. Not with `readLease`. */
  | { kind: 'forget-leader' };

export type Refusal =
  /** This member does not lead; `leader` does, if known. */
  | 'not-leader'
  /** It led when it took the request but cannot answer it any more. A read may be asked again. */
  | 'lost-leadership'
  /** Leadership is being handed over. */
  | 'transferring'
  /** The log holds as many uncommitted bytes as it may. */
  | 'uncommitted-full'
  /** Another change of membership is not applied yet. */
  | 'membership-pending'
  /** The change makes no sense for the present membership; `detail` says why. */
  | 'membership-invalid'
  /** The leadership can only go to a voter that is not leading already. */
  | 'transfer-target-invalid';

/**
 * `afterPersist` is a command's order relative to the disk: it must not be carried out before every persist command
 * up to that sequence is durable. A vote or an acknowledgement that overtook its own write could be taken back by
 * a crash; a leader's append requests may overtake its own disk (thesis, 10.2.1) and carry 0.
 */
export type Command =
  | {
      kind: 'persist';
      sequence: number;
      hardState: HardState;
      /** An entry at or before the log's end replaces it and all after it. */
      entries: readonly Entry[];
      /** Set when a leader's snapshot replaces the whole log. */
      snapshot?: SnapshotMeta;
    }
  | { kind: 'send'; to: MemberId; message: Message; afterPersist: number }
  /** Committed and durable here. Consecutive: each begins where the last ended. */
  | { kind: 'apply'; entries: readonly Entry[]; afterPersist: 0 }
  /**
   * Holds from `index` on. Comes right after the `apply` that ends with that entry, or after `install-snapshot`: a
   * driver that carries out commands in order always knows the membership at its applied index, for its snapshots.
   */
  | { kind: 'membership-changed'; index: number; membership: Membership; afterPersist: number }
  /** Replace the state machine's state by the snapshot that came with the message. */
  | { kind: 'install-snapshot'; snapshot: SnapshotMeta; afterPersist: number }
  | { kind: 'proposed'; ref: number; index: number; term: number; afterPersist: 0 }
  | { kind: 'refused'; ref: number; reason: Refusal; leader?: MemberId; detail?: string; afterPersist: 0 }
  /** Once the state machine has applied `index`, it shows every write acknowledged before the read was asked for. */
  | { kind: 'read-ready'; refs: readonly number[]; index: number; afterPersist: 0 }
  /** `stepped-down`: another term has begun; `aborted`: the target did not take over within an election timeout. */
  | { kind: 'transfer-ended'; ref: number; outcome: 'stepped-down' | 'aborted'; afterPersist: 0 }
  | { kind: 'role-changed'; role: Role; term: number; leader?: MemberId; afterPersist: 0 };

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

export interface CoreConfig {
  id: MemberId;
  /**
   * The first membership of a new group: each founder gets the same one and writes it as entry 1 of term 1 when its
   * disk is empty. A member that joins later has none and learns the membership from the leader.
   */
  bootstrap?: Membership;
  /** A follower campaigns after this many to twice this many ticks without a leader. */
  electionTicks: number;
  heartbeatTicks: number;
  /** Limits of one append request; a single larger entry still goes. */
  appendEntriesMax: number;
  appendBytesMax: number;
  /** Append requests to one member that may be unanswered, and the bytes of entries in them. */
  inflightAppendsMax: number;
  inflightBytesMax: number;
  /** Of entries that are not committed yet. More proposals are refused; one alone always goes. */
  uncommittedBytesMax: number;
  /** Of entries handed to the state machine that it has not reported as applied. One alone always goes. */
  applyingBytesMax: number;
  /**
   * Reads without a round of messages while a majority has promised not to elect anybody else. Off when missing.
   * Clocks of members may run apart by this part of their speed at most, in [0, 0.5): 0.1 is a tenth.
   */
  readLease?: { clockDriftMax: number };
  /** In [0, 1). Seeded in tests. */
  random: () => number;
}

/** What a core starts with: read from the disk. */
export interface Recovered {
  hardState: HardState;
  snapshot?: SnapshotMeta;
  /** Every entry after the snapshot, in order. */
  entries: readonly Entry[];
}

/** What a leader knows about another member's log. */
export type ProgressState =
  /** `next` is a guess: one request at a time until an answer settles it. */
  | 'probe'
  /** The logs agree: requests go out without waiting for answers. */
  | 'replicate'
  /** The member needs entries that are no longer in the log; a snapshot is on its way. */
  | 'snapshot';

export interface CoreStatus {
  role: Role;
  term: number;
  leader?: MemberId;
  commit: number;
  applied: number;
  firstIndex: number;
  lastIndex: number;
  durableIndex: number;
  snapshotIndex: number;
  /** Holds at the last entry that was handed to the state machine. */
  membership: Membership;
  transferringTo?: MemberId;
}

/** One other member as the leader sees it. */
export interface PeerProgress {
  id: MemberId;
  isLearner: boolean;
  state: ProgressState;
  match: number;
  next: number;
  pendingSnapshot: number;
  /** Heard from within the last election timeout. */
  isActive: boolean;
  /** Nothing is sent until it answers. */
  isPaused: boolean;
  inflightAppends: number;
  inflightBytes: number;
}
