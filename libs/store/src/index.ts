export { type Applied, applyTransaction, type Outcome } from './apply.js';
export { decodeEntry, encodeChanges, encodeEntry } from './entry.js';
export { StoreState } from './state.js';
export { type PlainObjects, viewOf, withChanges } from './view.js';
