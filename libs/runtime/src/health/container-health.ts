/** A health check in Docker's words as the runtime runs it. */
import { healthDefaults, nanosecondsPerMillisecond } from '#libs/model';
import type { ContainerHealth } from '../port.js';

export interface HealthWords {
  Test?: string[] | null;
  /** Nanoseconds, as the other three. */
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

/** What `own` leaves out, or has as zero, comes from `image`, and then from the defaults. */
export function containerHealthOf(
  own: HealthWords | null | undefined,
  image?: HealthWords | null,
): ContainerHealth | undefined {
  const test = own?.Test?.length ? own.Test : image?.Test;
  if (!test?.length || test[0] === 'NONE') return undefined;
  const pick = (name: 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval' | 'Retries'): number =>
    own?.[name] || image?.[name] || healthDefaults[name];
  const ms = (nanoseconds: number): number => Math.round(nanoseconds / nanosecondsPerMillisecond);
  return {
    test,
    intervalMs: ms(pick('Interval')),
    timeoutMs: ms(pick('Timeout')),
    startPeriodMs: ms(pick('StartPeriod')),
    startIntervalMs: ms(pick('StartInterval')),
    retries: pick('Retries'),
  };
}
