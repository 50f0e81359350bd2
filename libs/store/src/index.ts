export { type Applied, applyTransaction, type Outcome } from './apply.js';
export {
  type ClusterStoreLimits,
  type ClusterStoreOptions,
  createClusterStore,
  type ReplicatedLog,
  type ReplicatedStore,
} from './cluster-store.js';
export { decodeEntry, encodeChanges, encodeEntry } from './entry.js';
export { StoreMachine } from './machine.js';
export { canonicalJson, decodeSnapshot, encodeSnapshot } from './snapshot.js';
export { StoreState } from './state.js';
export { type PlainObjects, viewOf, withChanges } from './view.js';
