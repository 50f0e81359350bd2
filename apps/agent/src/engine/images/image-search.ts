/** What `docker search` asks for. */
import { parseFilters } from '#libs/docker-api';
import type { SearchResult } from '#libs/images';
import { EnxameError } from '#libs/model';
import { flagOf } from './image-filters.js';

const limitDefault = 25;
const limitMax = 100;

export interface Search {
  term: string;
  limit: number;
  accepts(result: SearchResult): boolean;
}

export function searchOf(query: URLSearchParams): Search {
  const term = query.get('term')?.trim() ?? '';
  if (term === '') throw new EnxameError('invalid-argument', 'term must not be empty');
  const limit = Number(query.get('limit') || limitDefault);
  if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) {
    throw new EnxameError(
      'invalid-argument',
      `limit ${query.get('limit')} is outside the range of [1, ${limitMax}]`,
    );
  }
  const filters = parseFilters(query.get('filters'), ['is-automated', 'is-official', 'stars']);
  const official = flagOf(filters, 'is-official', undefined);
  // Automated builds are history: no registry lists one any more.
  const automated = flagOf(filters, 'is-automated', false);
  const stars = (filters.get('stars') ?? []).map((text) => {
    if (!/^\d{1,9}$/.test(text)) throw new EnxameError('invalid-argument', `invalid filter 'stars=${text}'`);
    return Number(text);
  });
  return {
    term,
    limit,
    accepts: (result) =>
      !automated &&
      (official === undefined || official === result.isOfficial) &&
      stars.every((least) => result.starCount >= least),
  };
}
