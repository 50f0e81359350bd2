/** Which images `docker images` and `docker image prune` mean. */
import { labelsMatch, parseTimestamp, type Filters } from '#libs/docker-api';
import { familiarName, matchesPattern, parseReference, type Image, type ImageStore } from '#libs/images';
import { EnxameError } from '#libs/model';

export const listFilterNames = ['dangling', 'label', 'before', 'since', 'reference', 'until'] as const;
export const pruneFilterNames = ['dangling', 'label', 'label!', 'until'] as const;

export function flagOf(filters: Filters, name: string, absent: boolean): boolean;
export function flagOf(filters: Filters, name: string, absent: undefined): boolean | undefined;
export function flagOf(filters: Filters, name: string, absent: boolean | undefined): boolean | undefined {
  const value = filters.get(name)?.[0];
  if (value === undefined) return absent;
  if (['true', '1', 'True', 'TRUE', 't', 'T'].includes(value)) return true;
  if (['false', '0', 'False', 'FALSE', 'f', 'F'].includes(value)) return false;
  throw new EnxameError(
    'invalid-argument',
    `invalid value for "${name}": "${value}" is neither true nor false`,
  );
}

/** A pattern may leave out the tag, and a part of the name in front. */
function isNamed(name: string, patterns: readonly string[]): boolean {
  const short = familiarName(parseReference(name));
  return patterns.some((pattern) => matchesPattern(pattern, name) || matchesPattern(pattern, short));
}

function createdAtMsOf(store: ImageStore, name: string): number {
  const image = store.find(name);
  if (image === undefined) throw new EnxameError('not-found', `No such image: ${name}`);
  return image.createdAtMs;
}

const durationUnitsMs: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000 };

/** A time, or how long ago it was as Go writes durations: `24h`, `1h30m`. */
export function untilMsOf(filters: Filters, nowMs: number): number | undefined {
  const text = filters.get('until')?.[0] ?? null;
  if (text !== null && /^(?:\d{1,9}[hms])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([hms])/g)];
    const agoMs = parts.reduce(
      (sum, [, count, unit]) => sum + Number(count) * (durationUnitsMs[unit ?? ''] ?? 0),
      0,
    );
    return nowMs - agoMs;
  }
  const nanoseconds = parseTimestamp(text, 'until');
  return nanoseconds === undefined ? undefined : Number(nanoseconds / 1_000_000n);
}

export function selectImages(store: ImageStore, filters: Filters, nowMs: number): Image[] {
  const dangling = flagOf(filters, 'dangling', undefined);
  const before = filters.get('before')?.map((name) => createdAtMsOf(store, name));
  const since = filters.get('since')?.map((name) => createdAtMsOf(store, name));
  const untilMs = untilMsOf(filters, nowMs);
  const patterns = filters.get('reference');
  const chosen = store.list().filter((image) => {
    const { createdAtMs } = image;
    if (dangling !== undefined && dangling !== (image.tags.length === 0)) return false;
    if (before?.some((limit) => createdAtMs >= limit) === true) return false;
    if (since?.some((limit) => createdAtMs <= limit) === true) return false;
    if (untilMs !== undefined && createdAtMs >= untilMs) return false;
    return labelsMatch(filters, 'label', image.config.Labels);
  });
  if (patterns === undefined) return chosen;
  // An image is shown under the names that were asked for alone.
  return chosen.flatMap((image) => {
    const tags = image.tags.filter((name) => isNamed(name, patterns));
    const repoDigests = image.repoDigests.filter((name) => isNamed(name, patterns));
    return tags.length + repoDigests.length === 0 ? [] : [{ ...image, tags, repoDigests }];
  });
}
