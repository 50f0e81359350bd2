export { createImageStore, type ImageStoreOptions } from './image-store.js';
export * from './port.js';
export { originHeader } from './registry/client.js';
export {
  canonicalString,
  familiarName,
  familiarString,
  isDigest,
  parseReference,
  repositoryOf,
  withDefaultTag,
  type Reference,
} from './reference/reference.js';
