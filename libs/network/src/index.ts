export * from './allocation/index.js';
export { createNodeNetwork } from './kernel/node-network.js';
export * from './port.js';
