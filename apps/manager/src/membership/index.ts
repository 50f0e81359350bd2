export * from './bootstrap.js';
export * from './certificate-service.js';
export * from './membership.js';
export * from './ports.js';
export * from './role.js';
