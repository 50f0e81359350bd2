export { LeaderLoops, type LeaderLoopsOptions } from './leader-loops.js';
