export * from './port.js';
export * from './options.js';
export { createContainerRuntime } from './container-runtime.js';
export { createVolumeStore, type VolumeStore, type LocalVolume } from './volumes/volume-store.js';
export { signalNumber } from './plan/signals.js';
export { StartFailure } from './start-failure.js';
export { checkCapabilities } from './sandbox/capabilities.js';
export { maskedPaths, readOnlyPaths } from './sandbox/default-sandbox.js';
export { volumeSource } from './volumes/volume-options.js';
