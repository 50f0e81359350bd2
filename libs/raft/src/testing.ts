/** For the simulation alone: parts that a driver has to itself otherwise. */
export { type Rules, soundRules } from './core/rules.js';
export { recover } from './driver/recovery.js';
