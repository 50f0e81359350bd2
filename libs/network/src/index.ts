export * from './allocation/index.js';
export * from './port.js';
