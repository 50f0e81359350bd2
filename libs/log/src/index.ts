export * from './log.js';
export { sourcePositions } from './source-positions.js';
