export { isRotationComplete, nextRenewals, shownTls } from './plan-rotation.js';
export { requestedRoot, withoutSigningCa } from './requested-root.js';
export { RotationKeeper } from './rotation-keeper.js';
