/** For the simulation alone: parts that a driver has to itself otherwise. */
export { recover } from './driver/recovery.js';
