export * from './identity-files.js';
export * from './join-token.js';
export * from './node-certificate.js';
export * from './renewal.js';
export * from './root-ca.js';
