/**
 * The words of the Raft core: what goes in, what comes out. The core is a deterministic machine; everything it is
 * told is an `Input`, everything it wants done is a `Command`.
 */
export type MemberId = string;

export interface Entry {
  index: number;
  term: number;
  /** A new leader's first entry carries nothing; it commits what earlier terms left behind (Raft paper, 5.4.2 and 8). */
  kind: 'noop' | 'data';
  data: Uint8Array;
}

/** What must survive a crash beside the log. */
export interface HardState {
  term: number;
  votedFor?: MemberId;
  /** A hint that saves work after a restart; the rest is found by the protocol. */
  commit: number;
}

/** The last entry a snapshot stands for, and who voted at that point. */
export interface SnapshotMeta {
  index: number;
  term: number;
  voters: readonly MemberId[];
}

interface VoteRequest {
  term: number;
  lastIndex: number;
  lastTerm: number;
}

export type Message =
  /** Asks whether an election at `term` could be won, without raising anybody's term (Ongaro's thesis, 9.6). */
  | ({ kind: 'pre-vote-request' } & VoteRequest)
  /** `term` is the one that was asked about when granted, the answerer's own when not. */
  | { kind: 'pre-vote-response'; term: number; granted: boolean }
  | ({ kind: 'vote-request' } & VoteRequest)
  | { kind: 'vote-response'; term: number; granted: boolean }
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
  /** The state itself travels beside this message. */
  | { kind: 'snapshot'; term: number; snapshot: SnapshotMeta };

export type AppendResult =
  /** The member's log equals the leader's through `match`, on its disk. */
  | { accepted: true; match: number }
  /** The entry before the sent ones differs. The two logs may agree at `hintIndex` if its term there is `hintTerm`. */
  | { accepted: false; rejectedPrev: number; hintIndex: number; hintTerm: number };

export type Input =
  | { kind: 'start' }
  | { kind: 'tick' }
  | { kind: 'message'; from: MemberId; message: Message }
  /** `ref` names the proposal in the answering command. */
  | { kind: 'propose'; proposals: readonly { ref: number; data: Uint8Array }[] }
  /** Every persist command up to this sequence is on disk. */
  | { kind: 'persisted'; sequence: number }
  /** The state machine has taken every entry up to here. */
  | { kind: 'applied'; index: number }
  | { kind: 'read'; ref: number }
  /** The driver has a durable snapshot; entries through `compactThrough` may go. */
  | { kind: 'snapshot-taken'; snapshot: SnapshotMeta; compactThrough: number };

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
  /** Replace the state machine's state by the snapshot that came with the message. */
  | { kind: 'install-snapshot'; snapshot: SnapshotMeta; afterPersist: number }
  | { kind: 'proposed'; ref: number; index: number; term: number; afterPersist: 0 }
  | { kind: 'refused'; ref: number; reason: 'not-leader' | 'lost-leadership'; afterPersist: 0 }
  /** Once the state machine has applied `index`, it shows every write acknowledged before the read was asked for. */
  | { kind: 'read-ready'; ref: number; index: number; afterPersist: 0 }
  | { kind: 'role-changed'; role: Role; term: number; leader?: MemberId; afterPersist: 0 };

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

export interface CoreConfig {
  id: MemberId;
  voters: readonly MemberId[];
  /** A follower campaigns after this many to twice this many ticks without a leader. */
  electionTicks: number;
  heartbeatTicks: number;
  appendBytesMax: number;
  /** In [0, 1). Seeded in tests. */
  random: () => number;
}
