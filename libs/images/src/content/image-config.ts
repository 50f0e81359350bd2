/** The image's config blob, taken apart with distrust: everything a container is started with comes from here. */
import { EnxameError, type Digest } from '#libs/model';
import { isDigest } from '../reference/reference.js';
import type { Image, ImageRunConfig } from '../port.js';
import { parseJson } from './manifest.js';

export interface ImageConfig {
  architecture: string;
  os: string;
  variant?: string;
  author?: string;
  dockerVersion?: string;
  /** 0 when the image does not say. */
  createdAtMs: number;
  config: ImageRunConfig;
  diffIds: Digest[];
  history: Image['history'];
}

const historyMax = 1000;

function invalid(field: string, rule: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid image config: ${field} ${rule}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Fields = Record<string, unknown>;

/** Go writes absent lists and maps as null. */
function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function text(fields: Fields, name: string, path = name): string | undefined {
  const value = fields[name];
  if (isAbsent(value)) return undefined;
  if (typeof value !== 'string') throw invalid(path, 'must be a string');
  if (value.includes('\0')) throw invalid(path, 'must not hold a zero byte');
  return value;
}

function texts(fields: Fields, name: string, path: string): string[] | undefined {
  const value = fields[name];
  if (isAbsent(value)) return undefined;
  if (!Array.isArray(value)) throw invalid(path, 'must be a list of strings');
  return value.map((item: unknown) => {
    if (typeof item !== 'string') throw invalid(path, 'must be a list of strings');
    if (item.includes('\0')) throw invalid(path, 'must not hold a zero byte');
    return item;
  });
}

function number(fields: Fields, name: string, path: string): number | undefined {
  const value = fields[name];
  if (isAbsent(value)) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
    throw invalid(path, 'must be a number of at least 0');
  }
  return value;
}

function names(fields: Fields, name: string, path: string): Record<string, object> | undefined {
  const value = fields[name];
  if (isAbsent(value)) return undefined;
  if (!isRecord(value)) throw invalid(path, 'must be an object');
  return Object.fromEntries(Object.keys(value).map((key) => [key, {}]));
}

function labels(fields: Fields): Record<string, string> | undefined {
  const value = fields['Labels'];
  if (isAbsent(value)) return undefined;
  if (!isRecord(value)) throw invalid('config.Labels', 'must be an object');
  for (const item of Object.values(value)) {
    if (typeof item !== 'string') throw invalid('config.Labels', 'must hold strings only');
  }
  return value as Record<string, string>;
}

function healthcheck(fields: Fields): ImageRunConfig['Healthcheck'] {
  const value = fields['Healthcheck'];
  if (isAbsent(value)) return undefined;
  const path = 'config.Healthcheck';
  if (!isRecord(value)) throw invalid(path, 'must be an object');
  return withoutAbsent({
    Test: texts(value, 'Test', `${path}.Test`),
    Interval: number(value, 'Interval', `${path}.Interval`),
    Timeout: number(value, 'Timeout', `${path}.Timeout`),
    StartPeriod: number(value, 'StartPeriod', `${path}.StartPeriod`),
    StartInterval: number(value, 'StartInterval', `${path}.StartInterval`),
    Retries: number(value, 'Retries', `${path}.Retries`),
  });
}

function withoutAbsent<T extends object>(value: T): T {
  for (const key of Object.keys(value) as (keyof T)[]) if (value[key] === undefined) delete value[key];
  return value;
}

function runConfig(value: unknown): ImageRunConfig {
  if (isAbsent(value)) return {};
  if (!isRecord(value)) throw invalid('config', 'must be an object');
  const path = (name: string): string => `config.${name}`;
  return withoutAbsent({
    Entrypoint: texts(value, 'Entrypoint', path('Entrypoint')),
    Cmd: texts(value, 'Cmd', path('Cmd')),
    Env: texts(value, 'Env', path('Env')),
    User: text(value, 'User', path('User')),
    WorkingDir: text(value, 'WorkingDir', path('WorkingDir')),
    StopSignal: text(value, 'StopSignal', path('StopSignal')),
    Shell: texts(value, 'Shell', path('Shell')),
    OnBuild: texts(value, 'OnBuild', path('OnBuild')),
    ExposedPorts: names(value, 'ExposedPorts', path('ExposedPorts')),
    Volumes: names(value, 'Volumes', path('Volumes')),
    Labels: labels(value),
    Healthcheck: healthcheck(value),
  });
}

function diffIdsOf(document: Fields): Digest[] {
  const rootfs = document['rootfs'];
  const ids = isRecord(rootfs) ? rootfs['diff_ids'] : undefined;
  if (isAbsent(ids)) return [];
  if (!Array.isArray(ids)) throw invalid('rootfs.diff_ids', 'must be a list');
  return ids.map((id: unknown) => {
    if (typeof id !== 'string' || !isDigest(id)) throw invalid('rootfs.diff_ids', 'must hold sha256 digests');
    return id;
  });
}

function historyOf(document: Fields): Image['history'] {
  const history = document['history'];
  if (!Array.isArray(history)) return [];
  return history
    .filter(isRecord)
    .slice(0, historyMax)
    .map((step) =>
      withoutAbsent({
        created: text(step, 'created', 'history'),
        created_by: text(step, 'created_by', 'history'),
        comment: text(step, 'comment', 'history'),
        empty_layer: step['empty_layer'] === true ? true : undefined,
      }),
    );
}

/** Throws `invalid-argument` naming the field and its rule. */
export function parseImageConfig(bytes: Buffer): ImageConfig {
  const document = parseJson(bytes, 'the image config');
  if (!isRecord(document)) throw invalid('it', 'must be an object');
  const created = Date.parse(text(document, 'created') ?? '');
  const os = text(document, 'os') ?? '';
  if (os !== '' && os !== 'linux') {
    throw new EnxameError(
      'invalid-argument',
      `image operating system "${os}" cannot be used on this platform`,
    );
  }
  return withoutAbsent({
    architecture: text(document, 'architecture') ?? '',
    os: 'linux',
    variant: text(document, 'variant'),
    author: text(document, 'author'),
    dockerVersion: text(document, 'docker_version'),
    createdAtMs: Number.isNaN(created) ? 0 : created,
    config: runConfig(document['config']),
    diffIds: diffIdsOf(document),
    history: historyOf(document),
  });
}
