import { EnxameError } from '#libs/model';
import { defaultLimits, type TelemetryLimits } from './limits.js';
import { MemoryTelemetry } from './memory-telemetry.js';
import type { Telemetry } from './port.js';
import { RedisTelemetry } from './redis-telemetry.js';

export interface TelemetryOptions {
  /** `redis://`, `rediss://` or the path of a unix socket; absent: in process. */
  url?: string;
  /** Keeps clusters that share one Redis apart. */
  keyPrefix?: string;
  limits?: Partial<TelemetryLimits>;
}

/** Throws `invalid-argument` for an address that is none; a server that does not answer is no error, ever. */
export function createTelemetry(options: TelemetryOptions = {}): Telemetry {
  const limits = { ...defaultLimits, ...options.limits };
  const { url, keyPrefix = 'enxame' } = options;
  if (url === undefined) return new MemoryTelemetry(limits);
  if (!/^(rediss?:\/\/|\/)/.test(url)) {
    throw new EnxameError(
      'invalid-argument',
      'telemetry must be a redis:// or rediss:// address or a socket path',
    );
  }
  return new RedisTelemetry(url, keyPrefix, limits);
}
