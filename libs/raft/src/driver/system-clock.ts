/** The real clock. */
import type { RaftClock } from '../port.js';

export const systemClock: RaftClock = {
  every(ms, callback) {
    const timer = setInterval(callback, ms);
    return () => clearInterval(timer);
  },
  soon(callback) {
    setImmediate(callback);
  },
};
