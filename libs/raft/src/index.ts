export {
  decodeMembershipEntry,
  encodeMembershipEntry,
  type MembershipEntry,
} from './core/membership/codec.js';
export { emptyMembership, isJoint, isVoter, membersOf, votersOnly } from './core/membership/membership.js';
export { RaftCore } from './core/raft-core.js';
export type {
  Command,
  CoreConfig,
  CoreStatus,
  Entry,
  HardState,
  Input,
  MemberId,
  Membership,
  MembershipTransition,
  Message,
  PeerProgress,
  Recovered,
  Refusal,
  Role,
  SnapshotMeta,
} from './core/types.js';
export { foundGroup, type FoundingState } from './driver/found.js';
export { createRaftNode } from './driver/raft-node.js';
export { systemClock } from './driver/system-clock.js';
export {
  type InspectedEntry,
  type InspectedRaft,
  inspectRaft,
  visitRaftEntries,
} from './inspect/inspect.js';
export * from './port.js';
export {
  createGrpcTransport,
  defaultTransportLimits,
  type GrpcTransport,
  type GrpcTransportOptions,
  type PeerCredentials,
  type TransportLimits,
} from './transport/grpc-transport.js';
export type { Disk, DiskFile } from './wal/disk.js';
export type { StorageKey } from './wal/file-cipher.js';
export { localStorage } from './wal/local-storage.js';
export { nodeDisk } from './wal/node-disk.js';
export type * from './wal/storage.js';
