/** What all work with registries shares. */
import type { Dispatcher } from 'undici';
import type { Limiter } from '../content/limiter.js';
import type { StorageParts } from '../store/assembly.js';
import type { RegistryOptions } from './endpoint.js';

export const defaultAttemptsMax = 5;
export const defaultRetryDelayMs = 250;

export interface RegistryContext {
  storage: StorageParts;
  options: RegistryOptions;
  dispatcher: Dispatcher;
  downloads: Limiter;
  log: (message: string, error: unknown) => void;
}
