export * from './session-server.js';
