/** For the simulation alone: parts that a driver has to itself otherwise, and cores that are wrong on purpose. */
export { type Rules, soundRules } from './core/rules.js';
export { type FaultName, faultNames, faults, faultyRules, needsOf } from './core/testing/faults.js';
export { recover } from './driver/recovery.js';
