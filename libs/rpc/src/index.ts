export * from './client.js';
export * from './credentials.js';
export * from './errors.js';
export * from './server.js';
export * as ca from './generated/ca.js';
export * as group from './generated/group.js';
export * as raft from './generated/raft.js';
export * as session from './generated/session.js';
