export { type CoreStatus, RaftCore } from './core/raft-core.js';
export type { Command, Entry, HardState, Input, MemberId, Message, SnapshotMeta } from './core/types.js';
export { createRaftNode } from './driver/raft-node.js';
export { systemClock } from './driver/system-clock.js';
export * from './port.js';
