/** For tests only: a simulated world, and a judge of what clients saw in it or in a real cluster. */
export * from './linearizability/history.js';
export * from './linearizability/judge.js';
export * from './linearizability/key-value.js';
export type { Operation, SequentialModel } from './linearizability/operation.js';
export { SeededRandom } from './random.js';
export { drawOptions, type WorldOptions } from './options.js';
export { type RunRequest, runWorld } from './run.js';
export { World } from './world.js';
