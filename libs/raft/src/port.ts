/** What a Raft node needs and what it gives. */
import type { EnxameError } from '#libs/model';
import type { CoreStatus } from './core/raft-core.js';
import type { MemberId, Message } from './core/types.js';

/** Fed with committed entries, in order, each exactly once between `restore` and the end of the process. */
export interface StateMachine {
  /** Deterministic; its result goes to the proposer. A throw is a programmer's error and stops the node. */
  apply(entry: { index: number; term: number; data: Uint8Array }): unknown;
  /** The log went on to `index` by entries that carry nothing for the state machine. */
  advance(index: number): void;
  /** A picture of this moment in chunks, which are asked for later, while entries go on being applied. */
  snapshot(): Iterable<Uint8Array>;
  restore(chunks: Iterable<Uint8Array>, index: number): void;
}

/** Messages may be lost, doubled and reordered; a failed send is silent. */
export interface RaftTransport {
  send(to: MemberId, message: Message): void;
  /** Incoming messages, until the returned function is called. */
  listen(receive: (from: MemberId, message: Message) => void): () => void;
}

export interface RaftClock {
  /** Calls back every `ms`. Returns the way to stop. */
  every(ms: number, callback: () => void): () => void;
}

export interface RaftLimits {
  tickMs: number;
  electionTicks: number;
  heartbeatTicks: number;
  segmentBytesMax: number;
  proposalBytesMax: number;
  /** Proposals that are neither applied nor refused yet. More are refused with `resource-exhausted`. */
  pendingProposalsMax: number;
  pendingBytesMax: number;
  /** A snapshot is made after this many entries, or this many bytes of them, whichever comes first. */
  snapshotEntries: number;
  snapshotBytes: number;
  /** Entries kept in memory and on disk behind a snapshot, for members that are a little late. */
  keptEntries: number;
  appendBytesMax: number;
}

export const defaultLimits: RaftLimits = {
  tickMs: 100,
  electionTicks: 10,
  heartbeatTicks: 1,
  segmentBytesMax: 16 * 1024 * 1024,
  proposalBytesMax: 32 * 1024 * 1024,
  pendingProposalsMax: 8192,
  pendingBytesMax: 64 * 1024 * 1024,
  snapshotEntries: 10_000,
  snapshotBytes: 16 * 1024 * 1024,
  keptEntries: 500,
  appendBytesMax: 1024 * 1024,
};

export interface RaftNodeOptions {
  id: MemberId;
  /** Every voter, this member included. */
  members: readonly MemberId[];
  /** Made when missing. One process at a time. */
  dir: string;
  stateMachine: StateMachine;
  /** Needed by more than one member. */
  transport?: RaftTransport;
  clock: RaftClock;
  /** In [0, 1). */
  random: () => number;
  limits?: Partial<RaftLimits>;
  /**
   * Called once when the node cannot go on (disk full, failed write). Every pending proposal has been rejected;
   * what was acknowledged is on disk. The process should end and be started again.
   */
  onFailure?: (error: EnxameError) => void;
}

export interface RaftStatus extends CoreStatus {
  id: MemberId;
  members: readonly MemberId[];
  /** Set once the node has failed. */
  failure?: EnxameError;
  /** Why the last snapshot could not be written; it is tried again later. */
  snapshotError?: EnxameError;
  /** An unfinished write that was cut off the log when it was opened. */
  torn?: { file: string; offset: number; bytes: number };
}

export interface Leadership {
  role: CoreStatus['role'];
  term: number;
  leader?: MemberId;
  isLeader: boolean;
}

export interface RaftNode {
  /**
   * Reads snapshot and log, restores the state machine. Rejects with `data-damaged` or `conflict` (folder in use).
   * A sole member leads and has applied every committed entry when this resolves.
   */
  start(): Promise<void>;
  /** Pending proposals are rejected; what was handed to the disk is written. */
  stop(): Promise<void>;
  /**
   * Resolves once the data is on disk at a majority and applied here, with what the state machine returned.
   * Rejects with `not-manager` when nothing was done; with `unavailable` when the outcome is not known.
   */
  propose(data: Uint8Array): Promise<{ index: number; result: unknown }>;
  /** Resolves once the state machine shows every write acknowledged before the call. */
  readIndex(): Promise<number>;
  status(): RaftStatus;
  /** Calls back with every change. Returns the way to stop. */
  watchLeadership(listener: (leadership: Leadership) => void): () => void;
}
