/** What `GET /events` takes and gives: shared by a node's own events and those of the whole cluster. */
import { EnxameError, type ClusterEvent } from '#libs/model';
import { anyValue, labelsMatch, parseFilters } from './filters.js';
import type { Filters } from './port.js';

export const eventFilterNames = [
  'config',
  'container',
  'daemon',
  'event',
  'image',
  'label',
  'network',
  'node',
  'plugin',
  'scope',
  'secret',
  'service',
  'task',
  'type',
  'volume',
] as const;

/** Filters that name an object of their type, by id or name. */
const objectFilters = [
  'config',
  'container',
  'daemon',
  'network',
  'node',
  'plugin',
  'secret',
  'service',
  'task',
  'volume',
] as const;

export interface EventQuery {
  sinceNano?: bigint;
  untilNano?: bigint;
  /** False when only what is past is asked for. */
  follow: boolean;
  filters: Filters;
}

/** Reads `since`, `until` and `filters`. `nowMs` tells whether `until` lies in the future. */
export function parseEventQuery(query: URLSearchParams, nowMs: number): EventQuery {
  const sinceNano = parseTimestamp(query.get('since'), 'since');
  const untilNano = parseTimestamp(query.get('until'), 'until');
  const follow = untilNano === undefined || untilNano > BigInt(nowMs) * 1_000_000n;
  const filters = parseFilters(query.get('filters'), eventFilterNames);
  return {
    ...(sinceNano === undefined ? {} : { sinceNano }),
    ...(untilNano === undefined ? {} : { untilNano }),
    follow,
    filters,
  };
}

/**
 * Docker's timestamps: seconds since the epoch with up to nine decimals, or RFC 3339. Nanoseconds since the epoch;
 * undefined for none and for `0`.
 */
export function parseTimestamp(text: string | null, field: string): bigint | undefined {
  if (text === null || text === '' || text === '0') return undefined;
  const seconds = /^(-?\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (seconds !== null) {
    return BigInt(seconds[1] ?? '0') * 1_000_000_000n + BigInt((seconds[2] ?? '').padEnd(9, '0'));
  }
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) {
    throw new EnxameError(
      'invalid-argument',
      `invalid ${field}: must be seconds since the epoch or an RFC 3339 time`,
    );
  }
  return BigInt(milliseconds) * 1_000_000n;
}

export function eventMatches(event: ClusterEvent, filters: Filters): boolean {
  return (
    anyValue(filters, 'type', (type) => event.Type === type) &&
    anyValue(filters, 'scope', (scope) => event.scope === scope) &&
    // `exec_start: ls -l` is an `exec_start`, `health_status: healthy` a `health_status`.
    anyValue(
      filters,
      'event',
      (action) => event.Action === action || event.Action.startsWith(`${action}:`),
    ) &&
    anyValue(filters, 'image', (image) => isImage(event, image)) &&
    objectFilters.every((type) => anyValue(filters, type, (value) => isObject(event, type, value))) &&
    labelsMatch(filters, 'label', event.Actor.Attributes)
  );
}

function isObject(event: ClusterEvent, type: string, value: string): boolean {
  if (event.Type !== type) return false;
  return (
    event.Actor.ID === value || event.Actor.Attributes['name'] === value || event.Actor.ID.startsWith(value)
  );
}

/** Containers carry the image they came from; images are known by id and by name with or without tag. */
function isImage(event: ClusterEvent, image: string): boolean {
  const untagged = (name: string): string => name.replace(/(:[^/:]*)?(@.*)?$/, '');
  const { ID, Attributes } = event.Actor;
  if (event.Type === 'image') {
    const name = Attributes['name'] ?? '';
    return ID === image || name === image || untagged(name) === image;
  }
  const from = Attributes['image'] ?? '';
  return event.Type === 'container' && (from === image || untagged(from) === image);
}

/** The line of an event as Docker's clients read it, with the older fields that some still look for. */
export function presentEvent(event: ClusterEvent): Record<string, unknown> {
  const { nodeId, ...shown } = event;
  const older =
    event.Type === 'container' || event.Type === 'image'
      ? { status: event.Action, id: event.Actor.ID, from: event.Actor.Attributes['image'] }
      : {};
  const attributes =
    nodeId === undefined || event.scope === 'swarm'
      ? event.Actor.Attributes
      : { ...event.Actor.Attributes, 'com.docker.swarm.node.id': nodeId };
  return { ...older, ...shown, Actor: { ...event.Actor, Attributes: attributes } };
}

/** RFC 3339 with nanoseconds as Go prints it: no trailing zeros in the fraction. */
export function rfc3339Nano(ms: number): string {
  // `...:56.780Z`. Lists have several of these in every line, so this goes by position.
  const text = new Date(ms).toISOString();
  const point = text.length - 5;
  let end = text.length - 1;
  while (end > point && (text[end - 1] === '0' || end - 1 === point)) end--;
  return `${text.slice(0, end)}Z`;
}

/** Go's zero time, which Docker shows where there is none. */
export const zeroTime = '0001-01-01T00:00:00Z';
