export * from './group-entry.js';
export * from './group-keeper.js';
export * from './group-peers.js';
export * from './group-service.js';
export * from './leader-store.js';
export * from './leaders.js';
export * from './plan-group.js';
