/** The filters of `docker ps`. */
import { anyValue, labelsMatch, type Filters } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { findContainer } from './container-lookup.js';
import { networkModeOf, networksOf } from './view/network-view.js';
import { stateWord } from './view/state-view.js';

export const containerFilterNames = [
  'ancestor',
  'before',
  'expose',
  'exited',
  'health',
  'id',
  'isolation',
  'is-task',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
] as const;

const statuses = ['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead'];

const healthWords = ['none', 'starting', 'healthy', 'unhealthy'];

export interface SelectOptions {
  filters: Filters;
  showAll: boolean;
  limit: number;
  imageId(reference: string): string | undefined;
  /** `80/tcp` */
  exposed(state: ContainerState): readonly string[];
}

/** Newest first. `limit` counts from the newest, and like a status filter shows also what does not run. */
export function selectContainers(all: readonly ContainerState[], options: SelectOptions): ContainerState[] {
  const { filters, limit } = options;
  for (const health of filters.get('health') ?? []) {
    if (!healthWords.includes(health))
      throw new EnxameError('invalid-argument', `Unrecognised filter value for health: ${health}`);
  }
  for (const code of filters.get('exited') ?? []) {
    if (!/^-?\d+$/.test(code)) throw new EnxameError('invalid-argument', `invalid filter 'exited=${code}'`);
  }
  for (const flag of filters.get('is-task') ?? []) {
    if (!['true', 'false', '1', '0'].includes(flag))
      throw new EnxameError('invalid-argument', `invalid filter 'is-task=${flag}'`);
  }
  for (const status of filters.get('status') ?? []) {
    if (!statuses.includes(status))
      throw new EnxameError('invalid-argument', `invalid filter 'status=${status}'`);
  }
  const asksForEnded = ['status', 'exited', 'before', 'since'].some((name) => filters.has(name));
  const showAll = options.showAll || limit > 0 || asksForEnded;
  const edge = (name: 'before' | 'since'): number | undefined => {
    const reference = filters.get(name)?.[0];
    if (reference === undefined) return undefined;
    const found = findContainer(
      { list: () => all, get: (id) => all.find(({ config }) => config.id === id) },
      reference,
    );
    if (found === undefined) throw new EnxameError('not-found', `No such container: ${reference}`);
    return found.config.createdAtMs;
  };
  const before = edge('before');
  const since = edge('since');
  const chosen = all
    .filter((state) => showAll || state.phase === 'running' || state.restarting === true)
    .filter((state) => before === undefined || state.config.createdAtMs < before)
    .filter((state) => since === undefined || state.config.createdAtMs > since)
    .filter((state) => matches(state, options))
    .sort((a, b) => b.config.createdAtMs - a.config.createdAtMs);
  return limit > 0 ? chosen.slice(0, limit) : chosen;
}

function matches(state: ContainerState, options: SelectOptions): boolean {
  const { config } = state;
  const { filters } = options;
  return (
    anyValue(filters, 'id', (value) => patternMatches(config.id, value)) &&
    anyValue(filters, 'name', (value) => nameMatches(config.name, value)) &&
    anyValue(filters, 'status', (value) => stateWord(state) === value) &&
    anyValue(filters, 'health', (value) => state.health.status === value) &&
    anyValue(
      filters,
      'exited',
      (value) => stateWord(state) === 'exited' && String(state.exit?.exitCode) === value,
    ) &&
    anyValue(
      filters,
      'ancestor',
      (value) => isOfImage(config.image, value) || options.imageId(value) === config.image.id,
    ) &&
    anyValue(filters, 'network', (value) => isOfNetwork(config, value)) &&
    anyValue(filters, 'volume', (value) =>
      config.mounts.some(
        (mount) => trimmed(mount.target) === trimmed(value) || ('name' in mount && mount.name === value),
      ),
    ) &&
    anyValue(filters, 'expose', (value) => options.exposed(state).some((port) => isPort(port, value))) &&
    anyValue(filters, 'publish', (value) => publishedBy(config).some((port) => isPort(port, value))) &&
    anyValue(
      filters,
      'is-task',
      (value) => ['true', '1'].includes(value) === 'com.docker.swarm.task.id' in config.labels,
    ) &&
    labelsMatch(filters, 'label', config.labels)
  );
}

function isOfNetwork(config: ContainerState['config'], value: string): boolean {
  const networks = Object.entries(networksOf(config)) as [string, { NetworkID?: string }][];
  return (
    networkModeOf(config) === value ||
    networks.some(([name, { NetworkID: id = '' }]) => name === value || (id !== '' && id.startsWith(value)))
  );
}

/** Published ports, of the container's side and of the node's. */
function publishedBy(config: ContainerState['config']): string[] {
  const host = (config.inspect?.hostConfig ?? {}) as {
    PortBindings?: Record<string, { HostPort?: string }[] | null>;
  };
  return Object.entries(host.PortBindings ?? {}).flatMap(([port, bindings]) => [
    port,
    ...(bindings ?? []).map(({ HostPort: hostPort = '' }) => `${hostPort}/${port.split('/')[1] ?? 'tcp'}`),
  ]);
}

/** `80`, `80/tcp`, `8000-8080`, `8000-8080/tcp`. */
function isPort(port: string, wanted: string): boolean {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w+))?$/.exec(wanted);
  if (match === null) throw new EnxameError('invalid-argument', `invalid filter: invalid port: ${wanted}`);
  const [number = '', protocol = 'tcp'] = port.split('/');
  const [, from = '', to = from, wantedProtocol = 'tcp'] = match;
  return Number(number) >= Number(from) && Number(number) <= Number(to) && protocol === wantedProtocol;
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, '') : path;
}

/** A regular expression, as in Docker; one that is none is taken word for word. */
function nameMatches(name: string, pattern: string): boolean {
  return patternMatches(name, pattern.replace(/^(\^?)\//, '$1'));
}

function patternMatches(text: string, pattern: string): boolean {
  if (pattern.length > 200) return false;
  try {
    return new RegExp(pattern).test(text);
  } catch {
    return text.includes(pattern);
  }
}

function isOfImage(image: { id: string; reference: string }, wanted: string): boolean {
  const [name = ''] = image.reference.split('@');
  const untagged = name.replace(/:[^/:]*$/, '');
  const shortId = image.id.replace(/^sha256:/, '');
  return (
    [image.id, image.reference, name, untagged].includes(wanted) ||
    (/^[0-9a-f]{4,64}$/.test(wanted) && shortId.startsWith(wanted))
  );
}
