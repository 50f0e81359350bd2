export { KeyKeeper } from './key-keeper.js';
export { openStorageKeys, type OpenedKeys } from './storage-keys.js';
