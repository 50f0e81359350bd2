/** Docker's `filters` query parameter in both encodings that clients use. */
import { EnxameError } from '#libs/model';
import type { Filters } from './port.js';

const filterTextBytesMax = 64 * 1024;

/**
 * Reads `{"name":{"web":true}}` (docker CLI) and `{"name":["web"]}` (docker-py, ansible); empty text means no filters.
 * Throws `invalid-argument` when the text is neither, or names a filter that is not in `allowed`.
 */
export function parseFilters(text: string | null | undefined, allowed: readonly string[]): Filters {
  const filters = new Map<string, string[]>();
  if (text === null || text === undefined || text === '') return filters;
  if (text.length > filterTextBytesMax) throw invalid(`over ${filterTextBytesMax} bytes`);
  const parsed = parseJson(text);
  if (parsed === null) return filters;
  if (typeof parsed !== 'object' || Array.isArray(parsed)) throw invalid('not a JSON object');
  for (const [name, values] of Object.entries(parsed)) {
    if (!allowed.includes(name)) {
      throw new EnxameError('invalid-argument', `invalid filter '${name}'`);
    }
    const list = valuesOf(name, values);
    // Docker treats a filter without values as no filter.
    if (list.length > 0) filters.set(name, list);
  }
  return filters;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EnxameError('invalid-argument', 'invalid filters: not JSON', { cause: error });
  }
}

function valuesOf(name: string, values: unknown): string[] {
  if (Array.isArray(values)) {
    return values.map((value) => {
      if (typeof value === 'string') return value;
      throw invalid(`values of '${name}' must be strings`);
    });
  }
  if (typeof values === 'object' && values !== null) {
    return Object.entries(values)
      .filter(([, wanted]) => wanted !== false)
      .map(([value]) => value);
  }
  throw invalid(`'${name}' must hold a list or a map of values`);
}

function invalid(why: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid filters: ${why}`);
}

/** True when the filter is absent or one of its values satisfies `accepts`. */
export function anyValue(filters: Filters, name: string, accepts: (value: string) => boolean): boolean {
  const values = filters.get(name);
  return values === undefined || values.some(accepts);
}

/** Docker's label filter: every `key` must be there, every `key=value` must be equal. */
export function labelsMatch(
  filters: Filters,
  name: string,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return (filters.get(name) ?? []).every((wanted) => {
    const at = wanted.indexOf('=');
    const key = at < 0 ? wanted : wanted.slice(0, at);
    const has = labels !== undefined && Object.hasOwn(labels, key);
    return has && (at < 0 || labels[key] === wanted.slice(at + 1));
  });
}

/** Docker's boolean query values: absent, empty, `0`, `no`, `false` and `none` are false. */
export function queryFlag(query: URLSearchParams, name: string, absent = false): boolean {
  const value = query.get(name);
  if (value === null) return absent;
  return !['', '0', 'no', 'false', 'none'].includes(value.trim().toLowerCase());
}
