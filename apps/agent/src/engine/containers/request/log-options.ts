/** `--log-driver` and `--log-opt`. */
import { EnxameError } from '#libs/model';
import type { ContainerConfig } from '#libs/runtime';
import type { HostConfigDto } from './create-body.dto.js';
import { sizeOf } from './size.js';

/** What a log may take when nobody says how much: a full disk helps nobody. */
const fileBytesDefault = 10 * 1024 * 1024;
const filesDefault = 3;
const localFileBytesDefault = 20 * 1024 * 1024;
const localFilesDefault = 5;

const sharedOptions = ['max-size', 'max-file', 'compress', 'mode', 'max-buffer-size'];
const knownOptions: Readonly<Record<string, readonly string[]>> = {
  'json-file': [...sharedOptions, 'labels', 'labels-regex', 'env', 'env-regex', 'tag'],
  local: sharedOptions,
  none: ['mode', 'max-buffer-size'],
};

export function logOf(host: HostConfigDto): ContainerConfig['log'] {
  const driver = host.LogConfig?.Type || 'json-file';
  const options = host.LogConfig?.Config ?? {};
  const known = knownOptions[driver];
  if (known === undefined) {
    throw new EnxameError('invalid-argument', `logger: no log driver named '${driver}' is registered`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name))
      throw new EnxameError('invalid-argument', `unknown log opt '${name}' for ${driver} log driver`);
  }
  const isLocal = driver === 'local';
  if (driver === 'none') return { driver: 'none', fileBytesMax: fileBytesDefault, filesMax: 1 };
  const size = options['max-size'];
  const files = options['max-file'];
  const filesMax = files === undefined ? (isLocal ? localFilesDefault : filesDefault) : Number(files);
  if (!Number.isInteger(filesMax) || filesMax < 1)
    throw new EnxameError('invalid-argument', `max-file cannot be less than 1`);
  if (size === undefined)
    return { fileBytesMax: isLocal ? localFileBytesDefault : fileBytesDefault, filesMax };
  const fileBytesMax = size === '-1' ? Number.MAX_SAFE_INTEGER : sizeOf(size, `max-size=${size}`);
  if (fileBytesMax <= 0) throw new EnxameError('invalid-argument', 'max-size must be a positive number');
  return { fileBytesMax, filesMax };
}

/** What `docker logs --details` puts before each line: `k=v,k2=v2` of the labels and variables the options name. */
export function logAttributes(config: ContainerConfig): Record<string, string> {
  const shown = config.inspect?.hostConfig as
    | { LogConfig?: { Config?: Record<string, string> | null } }
    | undefined;
  const options = shown?.LogConfig?.Config ?? {};
  const environment = Object.fromEntries(
    config.env.map((entry) => {
      const at = entry.indexOf('=');
      return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
  const picked = {
    ...pick(config.labels, options['labels'], options['labels-regex']),
    ...pick(environment, options['env'], options['env-regex']),
  };
  return Object.fromEntries(Object.entries(picked).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function pick(
  values: Readonly<Record<string, string>>,
  names: string | undefined,
  pattern: string | undefined,
): Record<string, string> {
  const wanted = new Set((names ?? '').split(',').filter((name) => name !== ''));
  const regex = patternOf(pattern);
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => wanted.has(name) || regex?.test(name) === true),
  );
}

function patternOf(text: string | undefined): RegExp | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    return new RegExp(text);
  } catch {
    // Go's expressions that are none here match nothing.
    return undefined;
  }
}
