/** What `POST /build` was asked for: its query and headers, checked before anything is done. */
import { queryFlag } from '#libs/docker-api';
import {
  familiarString,
  platformOf,
  parseReference,
  withDefaultTag,
  type GivenArgs,
  type Platform,
  type RegistryAuth,
} from '#libs/images';
import { EnxameError } from '#libs/model';
import type { IncomingHttpHeaders } from 'node:http';

export interface BuildRequest {
  /** Path of the Dockerfile in the context. */
  dockerfile: string;
  /** Familiar names with a tag. */
  tags: string[];
  /** `http://...` in place of a body. */
  remote: string;
  quiet: boolean;
  noCache: boolean;
  pull: boolean;
  /** Of the images it begins with; this machine's when it is not said. */
  platform: Platform | undefined;
  removeContainers: boolean;
  forceRemove: boolean;
  buildArgs: GivenArgs;
  labels: Record<string, string>;
  cacheFrom: string[];
  target: string;
  /** Of the containers that RUN uses, in the words of Docker's create. */
  hostConfig: Record<string, unknown>;
  /** For POST /build/cancel. */
  buildId: string;
  /** By registry, as `docker login` keeps them. */
  auths: ReadonlyMap<string, RegistryAuth>;
}

const headerLengthMax = 256 * 1024;

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}

export function buildRequestOf(query: URLSearchParams, headers: IncomingHttpHeaders): BuildRequest {
  refuseMissing(query);
  return {
    dockerfile: query.get('dockerfile') || 'Dockerfile',
    tags: tagsOf(query.getAll('t')),
    remote: query.get('remote') ?? '',
    quiet: queryFlag(query, 'q'),
    noCache: queryFlag(query, 'nocache'),
    pull: queryFlag(query, 'pull'),
    platform: platformOf(query.get('platform') ?? ''),
    removeContainers: queryFlag(query, 'rm', true),
    forceRemove: queryFlag(query, 'forcerm'),
    buildArgs: argsOf(query),
    labels: mapOf(query, 'labels'),
    cacheFrom: listOf(query, 'cachefrom'),
    target: query.get('target') ?? '',
    hostConfig: hostConfigOf(query),
    buildId: query.get('buildid') ?? '',
    auths: authsOf(headers),
  };
}

function refuseMissing(query: URLSearchParams): void {
  if (
    query.get('version') === '2' ||
    (query.get('session') ?? '') !== '' ||
    query.get('remote') === 'client-session'
  ) {
    throw new EnxameError(
      'not-implemented',
      'BuildKit is not available in this version: set DOCKER_BUILDKIT=0 to use the classic builder',
    );
  }
  if (queryFlag(query, 'squash')) {
    throw invalid('squash is only supported with experimental mode, which this version does not have');
  }
  if (!['', '[]', 'null'].includes(query.get('outputs') ?? '')) {
    throw new EnxameError(
      'not-implemented',
      '--output needs BuildKit, which is not available in this version',
    );
  }
}

function tagsOf(names: readonly string[]): string[] {
  const tags = names
    .filter((name) => name !== '')
    .map((name) => {
      const reference = parseReference(name);
      if (reference.digest !== undefined) throw invalid('build tag cannot contain a digest');
      return familiarString(withDefaultTag(reference));
    });
  return [...new Set(tags)];
}

function jsonOf(query: URLSearchParams, name: string): unknown {
  const text = query.get(name) ?? '';
  if (text === '') return undefined;
  try {
    return JSON.parse(text) ?? undefined;
  } catch (error) {
    throw new EnxameError('invalid-argument', `error reading ${name}: not JSON`, { cause: error });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function mapOf(query: URLSearchParams, name: string): Record<string, string> {
  const map = jsonOf(query, name) ?? {};
  if (!isRecord(map)) throw invalid(`${name} must be an object`);
  for (const value of Object.values(map)) {
    if (typeof value !== 'string') throw invalid(`${name} must hold strings only`);
  }
  return map as Record<string, string>;
}

function argsOf(query: URLSearchParams): GivenArgs {
  const map = jsonOf(query, 'buildargs') ?? {};
  if (!isRecord(map)) throw invalid('buildargs must be an object');
  for (const value of Object.values(map)) {
    if (value !== null && typeof value !== 'string') throw invalid('buildargs must hold strings only');
  }
  return map as GivenArgs;
}

function listOf(query: URLSearchParams, name: string): string[] {
  const list = jsonOf(query, name) ?? [];
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'string')) {
    throw invalid(`${name} must be a list of strings`);
  }
  return list as string[];
}

function numberOf(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? '';
  const value = Number(text);
  if (text !== '' && !Number.isSafeInteger(value)) throw invalid(`invalid ${name}: must be a whole number`);
  return value;
}

/** The limits of a build are those of the containers it runs. */
function hostConfigOf(query: URLSearchParams): Record<string, unknown> {
  const numbers = {
    Memory: 'memory',
    MemorySwap: 'memswap',
    CpuShares: 'cpushares',
    CpuPeriod: 'cpuperiod',
    CpuQuota: 'cpuquota',
    ShmSize: 'shmsize',
  };
  const host: Record<string, unknown> = {};
  for (const [field, name] of Object.entries(numbers)) {
    const value = numberOf(query, name);
    if (value !== 0) host[field] = value;
  }
  for (const [field, name] of [
    ['CpusetCpus', 'cpusetcpus'],
    ['CpusetMems', 'cpusetmems'],
    ['CgroupParent', 'cgroupparent'],
  ] as const) {
    const text = query.get(name) ?? '';
    if (text !== '') host[field] = text;
  }
  const mode = query.get('networkmode') ?? '';
  if (mode !== '' && mode !== 'default') host['NetworkMode'] = mode;
  const hosts = query.getAll('extrahosts').flatMap((text) => {
    if (!text.startsWith('[')) return text.split(',').filter((host) => host !== '');
    return listOf(new URLSearchParams({ extrahosts: text }), 'extrahosts');
  });
  if (hosts.length > 0) host['ExtraHosts'] = hosts;
  const ulimits = jsonOf(query, 'ulimits');
  if (Array.isArray(ulimits) && ulimits.length > 0) host['Ulimits'] = ulimits;
  const security = listOf(query, 'securityopt');
  if (security.length > 0) host['SecurityOpt'] = security;
  return host;
}

/** `X-Registry-Config`: base64url of `{"registry:5000": {username, password}}`. */
function authsOf(headers: IncomingHttpHeaders): Map<string, RegistryAuth> {
  const header = [headers['x-registry-config'] ?? []].flat()[0] ?? '';
  if (header.length > headerLengthMax)
    throw invalid(`invalid X-Registry-Config header: over ${headerLengthMax} characters`);
  const auths = new Map<string, RegistryAuth>();
  if (header === '') return auths;
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(header, 'base64').toString('utf8'));
  } catch {
    // The parser's words would repeat what may be a password.
    throw invalid('invalid X-Registry-Config header: not base64 of JSON');
  }
  for (const [registry, value] of Object.entries(isRecord(document) ? document : {})) {
    if (!isRecord(value)) continue;
    const auth: RegistryAuth = {};
    for (const name of ['username', 'password', 'identitytoken'] as const) {
      const text = value[name];
      if (typeof text === 'string' && text !== '') auth[name] = text;
    }
    if (Object.keys(auth).length > 0) auths.set(hostOf(registry), auth);
  }
  return auths;
}

/** `https://index.docker.io/v1/` is Docker's own name for its registry. */
function hostOf(registry: string): string {
  const host = registry.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  return host === 'index.docker.io' ? 'docker.io' : host;
}
