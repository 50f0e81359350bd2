/** SwarmKit's defaults (`api/defaults/service.go`), in the API's units; a user's spec is read through these. */
import type { HealthConfig, RestartPolicy, UpdateConfig } from './docker-spec.js';

export const nanosecondsPerMillisecond = 1_000_000;
export const nanosecondsPerSecond = 1_000_000_000;

export const restartDefaults = {
  Condition: 'any',
  Delay: 5 * nanosecondsPerSecond,
  MaxAttempts: 0,
  Window: 0,
} as const satisfies Required<RestartPolicy>;

export const updateDefaults = {
  Parallelism: 1,
  Delay: 0,
  FailureAction: 'pause',
  Monitor: 5 * nanosecondsPerSecond,
  MaxFailureRatio: 0,
  Order: 'stop-first',
} as const satisfies Required<UpdateConfig>;

export const healthDefaults = {
  Test: [],
  Interval: 30 * nanosecondsPerSecond,
  Timeout: 30 * nanosecondsPerSecond,
  StartPeriod: 0,
  StartInterval: 5 * nanosecondsPerSecond,
  Retries: 3,
} as const satisfies Required<Omit<HealthConfig, 'Test'>> & { Test: readonly string[] };

export const stopGracePeriodDefault = 10 * nanosecondsPerSecond;
export const taskHistoryRetentionDefault = 5;
export const heartbeatPeriodDefault = 5 * nanosecondsPerSecond;
export const memoryLimitMin = 4 * 1024 * 1024;
export const nanoCpusMin = 1_000_000;
export const serviceNamePattern = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/;
export const serviceNameLengthMax = 63;
export const dynamicPortRange = { first: 30_000, last: 32_767 } as const;
