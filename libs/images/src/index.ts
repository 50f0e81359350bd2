export { createImageStore, type ImageStoreOptions } from './image-store.js';
export { tarOfFile } from './archive/tar-writer.js';
export { BuildArgs, type GivenArgs } from './build/build-args.js';
export {
  checkDestination,
  copyLayer,
  folderLayer,
  hashOfItems,
  itemOf,
  itemOfBytes,
  selectItems,
  type CopyItem,
  type CopyTarget,
} from './build/copy.js';
export type { CommandForm, CopyInstruction, Instruction } from './build/dockerfile/instructions.js';
export {
  parseDockerfile,
  readTrigger,
  stagesUpTo,
  type Dockerfile,
  type Stage,
  type StageInstruction,
} from './build/dockerfile/stages.js';
export { substitute } from './build/dockerfile/substitution.js';
export { isIgnored, readIgnoreFile } from './build/ignore-file.js';
export {
  applyChanges,
  applyConfig,
  argvOfCommand,
  isConfigInstruction,
  shellOf,
  variablesOf,
  workdirOf,
} from './build/run-config.js';
export { hasWildcard } from './build/source/path-walk.js';
export type { SourceTree } from './build/source/source-tree.js';
export { matchesPattern } from './build/source/file-pattern.js';
export {
  fitsPlatform,
  hostPlatform,
  platformText,
  type Platform,
} from './content/platform.js';
export { platformOf } from './content/platform-words.js';
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
