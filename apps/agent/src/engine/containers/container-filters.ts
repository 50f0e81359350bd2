/** The filters of `docker ps`. */
import { anyValue, labelsMatch, type Filters } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { findContainer } from './container-lookup.js';
import { networkModeOf } from './container-views.js';

export const containerFilterNames = [
  'ancestor',
  'before',
  'exited',
  'health',
  'id',
  'is-task',
  'label',
  'name',
  'network',
  'since',
  'status',
  'volume',
] as const;

const statuses = ['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead'];

/** Newest first. `limit` counts from the newest, and like a status filter shows also what does not run. */
export function selectContainers(
  all: readonly ContainerState[],
  options: { filters: Filters; showAll: boolean; limit: number },
): ContainerState[] {
  const { filters, limit } = options;
  for (const status of filters.get('status') ?? []) {
    if (!statuses.includes(status))
      throw new EnxameError('invalid-argument', `invalid filter 'status=${status}'`);
  }
  const asksForEnded = ['status', 'exited', 'before', 'since'].some((name) => filters.has(name));
  const showAll = options.showAll || limit > 0 || asksForEnded;
  const edge = (name: 'before' | 'since'): number | undefined => {
    const reference = filters.get(name)?.[0];
    if (reference === undefined) return undefined;
    const found = findContainer({ list: () => all }, reference);
    if (found === undefined) throw new EnxameError('not-found', `No such container: ${reference}`);
    return found.config.createdAtMs;
  };
  const before = edge('before');
  const since = edge('since');
  const chosen = all
    .filter((state) => showAll || state.phase === 'running')
    .filter((state) => before === undefined || state.config.createdAtMs < before)
    .filter((state) => since === undefined || state.config.createdAtMs > since)
    .filter((state) => matches(state, filters))
    .sort((a, b) => b.config.createdAtMs - a.config.createdAtMs);
  return limit > 0 ? chosen.slice(0, limit) : chosen;
}

function matches(state: ContainerState, filters: Filters): boolean {
  const { config } = state;
  return (
    anyValue(filters, 'id', (value) => config.id.startsWith(value)) &&
    anyValue(filters, 'name', (value) => nameMatches(config.name, value)) &&
    anyValue(filters, 'status', (value) => state.phase === value) &&
    anyValue(filters, 'health', (value) => state.health.status === value) &&
    anyValue(
      filters,
      'exited',
      (value) => state.phase === 'exited' && String(state.exit?.exitCode) === value,
    ) &&
    anyValue(filters, 'ancestor', (value) => isOfImage(config.image, value)) &&
    anyValue(filters, 'network', (value) => networkModeOf(config) === value) &&
    anyValue(filters, 'volume', (value) =>
      config.mounts.some((mount) => mount.target === value || ('name' in mount && mount.name === value)),
    ) &&
    anyValue(
      filters,
      'is-task',
      (value) => (value === 'true') === 'com.docker.swarm.task.id' in config.labels,
    ) &&
    labelsMatch(filters, 'label', config.labels)
  );
}

/** A regular expression, as in Docker; one that is none is taken word for word. */
function nameMatches(name: string, pattern: string): boolean {
  if (pattern.length > 200) return false;
  const bare = pattern.replace(/^(\^?)\//, '$1');
  try {
    return new RegExp(bare).test(name);
  } catch {
    return name.includes(bare);
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
