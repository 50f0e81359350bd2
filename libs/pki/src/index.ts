export * from './certificate-chain.js';
export * from './cluster-ca.js';
export {
  type NodeIdentity,
  readNodeIdentity,
  readPendingKey,
  readStoredIdentity,
  type StoredIdentity,
  writeNodeIdentity,
  writePendingKey,
} from './identity-files.js';
export * from './join-token.js';
export * from './node-certificate.js';
export * from './renewal.js';
export * from './root-ca.js';
export * from './storage-keys.js';
export * from './unlock-key.js';
