/** What a Raft node needs and what it gives. */
import type { EnxameError } from '#libs/model';
import type { CoreStatus, MemberId, MembershipChange, Message } from './core/types.js';
import type { StorageKey } from './wal/file-cipher.js';
import type { OpenStorage } from './wal/storage.js';

export type { MembershipChange } from './core/types.js';

/** Fed with committed entries, in order, each exactly once between `restore` and the end of the process. */
export interface StateMachine {
  /** Deterministic; its result goes to the proposer. A throw is a programmer's error and stops the node. */
  apply(entry: { index: number; term: number; data: Uint8Array }): unknown;
  /** The log went on to `index` by entries that carry nothing for the state machine. */
  advance(index: number): void;
  /** A picture of this moment in chunks, which are asked for later, while entries go on being applied. */
  snapshot(): Iterable<Uint8Array>;
  /** Replaces everything. Called at the start, and again when the leader sends a snapshot to a member that is late. */
  restore(chunks: Iterable<Uint8Array>, index: number): void;
}

/** What a member asks another member's driver to do; answered by number, or never. */
export type PeerCall =
  | { kind: 'change-membership'; changes: readonly MembershipChange[] }
  | { kind: 'transfer-leadership'; to?: MemberId };

/** Everything that passes between two members' drivers. */
export type PeerMessage =
  | Message
  /** To the leader: proposals of a member that does not lead, in their envelopes. Applying them is the answer. */
  | { kind: 'forward'; proposals: readonly Uint8Array[] }
  /** Nothing was done with the forwarded proposals of these sequence numbers of the member's own session. */
  | { kind: 'forward-refused'; sequences: readonly number[]; reason: 'not-leader' | 'overloaded' }
  | { kind: 'call'; ref: number; call: PeerCall }
  | { kind: 'answer'; ref: number; error?: { code: EnxameError['code']; message: string } }
  /** The receiver is not a member any more. */
  | { kind: 'removed' };

/** A snapshot on its way out: the core's message that names it, and the state in chunks. */
export interface OutgoingSnapshot {
  message: Extract<Message, { kind: 'snapshot' }>;
  /** Equal ids, equal chunks: a receiver that holds a part goes on from there. */
  id: string;
  /** The chunk of this number, the first being 0; undefined after the last one. */
  read(number: number): Promise<Uint8Array | undefined>;
}

/** Where an incoming snapshot goes. A rejection ends the stream; the sender is told the words. */
export interface SnapshotIntake {
  /** Resolves with the number of the first chunk that is not held yet: 0, or where an earlier stream broke. */
  begin(from: MemberId, snapshot: Pick<OutgoingSnapshot, 'message' | 'id'>): Promise<number>;
  /** Resolves with the number that is wanted next, once the next chunk may come. */
  chunk(from: MemberId, number: number, chunk: Uint8Array): Promise<number>;
  /** No more chunks. Resolves when the snapshot is whole and durable and has been given to the core. */
  end(from: MemberId): Promise<void>;
}

export interface TransportReceiver {
  message(from: MemberId, message: PeerMessage): void;
  /** The stream to this member broke, or messages to it were dropped because its queue was full. */
  unreachable(peer: MemberId): void;
  snapshots: SnapshotIntake;
}

/**
 * Carries messages between members. They may be lost, doubled and reordered; a failed send is silent. Who a peer is
 * (a manager of this cluster, by its certificate) is the transport's to check.
 */
export interface RaftTransport {
  send(to: MemberId, message: PeerMessage): void;
  /** On a stream of its own. Resolves when the receiver has the snapshot on its disk; rejects when the stream broke. */
  sendSnapshot(to: MemberId, snapshot: OutgoingSnapshot): Promise<void>;
  /** A stream to this member stands and answers. */
  isReachable(peer: MemberId): boolean;
  /** Incoming messages, until the returned function is called. */
  listen(receiver: TransportReceiver): () => void;
}

/** The transport that knows addresses: the manager keeps it told of what its replicated store says. */
export interface AddressedTransport extends RaftTransport {
  /** Host and port of every other member. Streams to members that were in the map before and are not any more end. */
  setPeers(addresses: ReadonlyMap<MemberId, string>): void;
}

export interface RaftClock {
  /** Calls back every `ms`. Returns the way to stop. */
  every(ms: number, callback: () => void): () => void;
  /** Calls back when this turn of the event loop has taken its other messages; at its end when not given. */
  soon?(callback: () => void): void;
}

export interface RaftLimits {
  tickMs: number;
  electionTicks: number;
  heartbeatTicks: number;
  segmentBytesMax: number;
  proposalBytesMax: number;
  /** Without an answer of the leader a proposal is sent again; the time doubles, up to sixteen times. */
  proposalRetryTicks: number;
  proposalTimeoutTicks: number;
  /** Rounds of reads under way at once; further reads gather for the next. */
  readRoundsMax: number;
  readRetryTicks: number;
  readTimeoutTicks: number;
  pendingReadsMax: number;
  /** A leader whose disk has ended no write for so long hands over to another voter. */
  stalledDiskTicks: number;
  /** Changes of membership and transfers of leadership, which the leader is asked for. */
  callRetryTicks: number;
  callTimeoutTicks: number;
  /** Entries, and bytes of them, that are applied before the event loop gets a turn. */
  applySliceEntries: number;
  applySliceBytes: number;
  /** Proposals that are neither applied nor refused yet. More are refused with `resource-exhausted`. */
  pendingProposalsMax: number;
  pendingBytesMax: number;
  /** A snapshot is made after this many entries, or this many bytes of them, whichever comes first. */
  snapshotEntries: number;
  snapshotBytes: number;
  /** Entries kept in memory and on disk behind a snapshot, for members that are a little late. */
  keptEntries: number;
  /** For a member that answers but is further behind, as many are kept as have these bytes. */
  keptBytes: number;
  /** Snapshots kept beside the newest one. */
  keptSnapshots: number;
  appendEntriesMax: number;
  appendBytesMax: number;
  inflightAppendsMax: number;
  inflightBytesMax: number;
  uncommittedBytesMax: number;
  applyingBytesMax: number;
}

export const defaultLimits: RaftLimits = {
  tickMs: 100,
  electionTicks: 10,
  heartbeatTicks: 1,
  segmentBytesMax: 16 * 1024 * 1024,
  proposalBytesMax: 32 * 1024 * 1024,
  proposalRetryTicks: 10,
  proposalTimeoutTicks: 100,
  readRoundsMax: 4,
  readRetryTicks: 5,
  readTimeoutTicks: 100,
  pendingReadsMax: 65_536,
  stalledDiskTicks: 20,
  callRetryTicks: 50,
  callTimeoutTicks: 200,
  applySliceEntries: 512,
  applySliceBytes: 1024 * 1024,
  pendingProposalsMax: 8192,
  pendingBytesMax: 64 * 1024 * 1024,
  snapshotEntries: 50_000,
  snapshotBytes: 32 * 1024 * 1024,
  keptEntries: 5_000,
  keptBytes: 64 * 1024 * 1024,
  keptSnapshots: 0,
  appendEntriesMax: 1024,
  appendBytesMax: 1024 * 1024,
  inflightAppendsMax: 64,
  inflightBytesMax: 16 * 1024 * 1024,
  uncommittedBytesMax: 64 * 1024 * 1024,
  applyingBytesMax: 64 * 1024 * 1024,
};

export interface RaftMember {
  id: MemberId;
  kind: 'voter' | 'learner';
}

/** What an empty data folder becomes. A folder that holds a log goes on as what it was. */
export type Origin =
  /** A new cluster. A sole member is the rule; several must each be given the same list. */
  | { kind: 'bootstrap'; members: readonly MemberId[] }
  /** Waits to be contacted by the leader of a cluster that has added this member. */
  | { kind: 'join' };

export interface RaftNodeOptions {
  /** Never used again once removed: a member that comes back gets a new one and an empty folder. */
  id: MemberId;
  origin: Origin;
  /** Made when missing. One process at a time. */
  dir: string;
  /** Once known: the log of another cluster is refused. */
  clusterId?: string;
  /** The first one encrypts what is written, the others only read. None: nothing is encrypted. */
  keys?: readonly StorageKey[];
  /** After the loss of a majority for good: everybody else is removed, what this member's log holds stands. */
  forceNewCluster?: boolean;
  stateMachine: StateMachine;
  /** Needed by more than one member. */
  transport?: RaftTransport;
  clock: RaftClock;
  /** Where the log lives; a thread of its own over this machine's disk when not given. */
  openStorage?: OpenStorage;
  /** In [0, 1). Must differ from one run of the process to the next. */
  random: () => number;
  limits?: Partial<RaftLimits>;
  /**
   * Called once when the node cannot go on (disk full, failed write). Every pending proposal has been rejected;
   * what was acknowledged is on disk. The process should end and be started again.
   */
  onFailure?: (error: EnxameError) => void;
  /** Called once when this member has been removed from the cluster. It answers nothing any more and can be stopped. */
  onRemoved?: () => void;
}

/** Another member as this one sees it. */
export interface PeerStatus extends RaftMember {
  /** A stream to it stands; on the leader also: it answered lately. */
  reachable: boolean;
  /** How far its log is. Known to the leader alone. */
  progress?: { state: 'probe' | 'replicate' | 'snapshot'; match: number; next: number };
}

export interface RaftStatus extends CoreStatus {
  id: MemberId;
  members: readonly RaftMember[];
  peers: readonly PeerStatus[];
  /** Set once the node has failed. */
  failure?: EnxameError;
  /** Why the last snapshot could not be written; it is tried again later. */
  snapshotError?: EnxameError;
  /** An unfinished write that was cut off the log when it was opened. */
  torn?: { file: string; offset: number; bytes: number };
}

/** What may change while a node runs. */
export type RaftSettings = Partial<Pick<RaftLimits, 'snapshotEntries' | 'keptEntries' | 'keptSnapshots'>> &
  Pick<RaftNodeOptions, 'keys'>;

export interface Leadership {
  role: CoreStatus['role'];
  term: number;
  leader?: MemberId;
  isLeader: boolean;
}

export interface RaftNode {
  /**
   * Reads snapshot and log, restores the state machine. Rejects with `data-damaged` or `conflict` (folder in use).
   * A sole member leads and has applied every committed entry when this resolves; one of several need not know
   * the leader yet.
   */
  start(): Promise<void>;
  /** Pending proposals are rejected; what was handed to the disk is written. */
  stop(): Promise<void>;
  /**
   * On any member. Resolves once the data is on disk at a majority and applied here, with what the state machine
   * returned here. While the leader is unknown or changes it is proposed again; it is applied at most once all the
   * same. Rejects with
   * - `invalid-argument`: over `proposalBytesMax`;
   * - `resource-exhausted`: too much is waiting; nothing was done;
   * - `unavailable`: no leader confirmed it in time, or this member stops; it may be applied or not;
   * - `conflict`: it was applied, but its result went by in a snapshot.
   */
  propose(data: Uint8Array): Promise<{ index: number; result: unknown }>;
  /**
   * On any member. Resolves with an index once the state machine here has applied it and so shows every write that
   * was acknowledged, by any member, before the call. `unavailable` when no leader confirms it in time.
   */
  readIndex(): Promise<number>;
  /**
   * On any member. One change, or several at once by joint consensus; resolves when the new membership is committed
   * and any joint phase is over. `failed-precondition` names the rule when it may not be made.
   */
  changeMembership(changes: readonly MembershipChange[]): Promise<void>;
  /** On any member. Without `to`, the member that is furthest. Resolves when another member leads. */
  transferLeadership(to?: MemberId): Promise<void>;
  /** As applied here. */
  members(): readonly RaftMember[];
  status(): RaftStatus;
  /** From now on. A new first key encrypts from the next write on; earlier ones go along while files need them. */
  adjust(settings: RaftSettings): Promise<void>;
  /** Ids of the keys that files on the disk are encrypted with. */
  keyIdsInUse(): Promise<readonly string[]>;
  /** Calls back with every change. Returns the way to stop. */
  watchLeadership(listener: (leadership: Leadership) => void): () => void;
  /** Calls back with the whole list after every change that was applied here. Returns the way to stop. */
  watchMembership(listener: (members: readonly RaftMember[]) => void): () => void;
}
