export * from './client.js';
export * from './launch-plan.js';
export * from './outcome.js';
export * from './shim-client.js';
export { encodeExecPlan, encodeLaunchPlan } from './plan-codec.js';
