export { LeaderCall } from './leader-call.js';
export * from './session-server.js';
