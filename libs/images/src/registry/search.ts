/** `docker search`: a registry's own search where it has one, else its list of repositories. */
import { EnxameError } from '#libs/model';
import type { RegistryAuth, SearchResult } from '../port.js';
import { defaultDomain, familiarName, splitDomain, type Reference } from '../reference/reference.js';
import { readBounded } from './auth.js';
import { RegistryClient } from './client.js';
import { registryEndpoint } from './endpoint.js';
import { transportError } from './errors.js';
import { defaultAttemptsMax, defaultRetryDelayMs, type RegistryContext } from './context.js';

const answerBytesMax = 4 * 1024 * 1024;
const catalogLength = 1000;
const tagPagesMax = 100;
/** A person waits for the answer: a registry that does not come up is said to be away at once. */
const attemptsMax = 2;

export interface SearchRequest {
  /** `redis`, `library/redis`, `registry:5000/redis`. */
  term: string;
  limit: number;
  auth?: RegistryAuth;
  signal?: AbortSignal;
}

export async function searchRegistry(
  context: RegistryContext,
  request: SearchRequest,
): Promise<SearchResult[]> {
  const { term, limit, auth, signal } = request;
  const slash = term.indexOf('/');
  const { domain } = splitDomain(term);
  const isHub = domain === defaultDomain;
  const words = isHub ? term : term.slice(slash + 1);
  const reference = { domain, path: words };
  const endpoint = registryEndpoint(reference, context.options, context.dispatcher);
  const baseUrl = isHub ? 'https://index.docker.io' : endpoint.baseUrl;
  const client = new RegistryClient({
    endpoint: { ...endpoint, baseUrl },
    reference,
    auth,
    attemptsMax,
    retryDelayMs: context.options.retryDelayMs ?? defaultRetryDelayMs,
    signal,
  });
  const found = await readJson(client, `${baseUrl}/v1/search?q=${encodeURIComponent(words)}&n=${limit}`);
  if (found !== undefined) return resultsOf(found).slice(0, limit);
  const catalog = await readJson(client, `${baseUrl}/v2/_catalog?n=${catalogLength}`);
  if (catalog === undefined) {
    throw new EnxameError(
      'not-found',
      `the registry ${domain} has neither a search nor a list of repositories`,
    );
  }
  const names: unknown[] = Array.isArray(catalog['repositories']) ? catalog['repositories'] : [];
  return names
    .filter((name): name is string => typeof name === 'string' && name.includes(words))
    .slice(0, limit)
    .map((name) => ({ name: `${domain}/${name}`, description: '', starCount: 0, isOfficial: false }));
}

/** Every tag of a repository, for `docker pull --all-tags`. */
export async function tagsOfRepository(
  context: RegistryContext,
  { reference, auth, signal }: { reference: Reference; auth?: RegistryAuth; signal?: AbortSignal },
): Promise<string[]> {
  const endpoint = registryEndpoint(reference, context.options, context.dispatcher);
  const { attemptsMax = defaultAttemptsMax, retryDelayMs = defaultRetryDelayMs } = context.options;
  const client = new RegistryClient({ endpoint, reference, auth, attemptsMax, retryDelayMs, signal });
  const tags: string[] = [];
  let url = `${endpoint.baseUrl}/v2/${endpoint.path}/tags/list?n=${catalogLength}`;
  for (let page = 0; page < tagPagesMax; page++) {
    const found = await readJson(client, url);
    const names: unknown[] = Array.isArray(found?.['tags']) ? found['tags'] : [];
    tags.push(...names.filter((name): name is string => typeof name === 'string'));
    const last = tags.at(-1);
    if (names.length < catalogLength || last === undefined) break;
    url = `${endpoint.baseUrl}/v2/${endpoint.path}/tags/list?n=${catalogLength}&last=${encodeURIComponent(last)}`;
  }
  if (tags.length === 0) {
    throw new EnxameError('not-found', `repository ${familiarName(reference)} has no tags, or is not there`);
  }
  return tags;
}

/** Undefined when the registry does not have that place. */
async function readJson(client: RegistryClient, url: string): Promise<Record<string, unknown> | undefined> {
  return client.retried(async () => {
    const answer = await client.send('GET', url, { accept: 'application/json' });
    if (answer.statusCode === 404) {
      await answer.body.dump();
      return undefined;
    }
    await client.expect(answer, [200]);
    const bytes = await readBounded(answer.body, answerBytesMax, 'the search answer').catch(
      (error: unknown) => {
        throw error instanceof EnxameError ? error : transportError('GET', url, error);
      },
    );
    try {
      const document: unknown = JSON.parse(bytes.toString('utf8'));
      if (typeof document === 'object' && document !== null) return document as Record<string, unknown>;
    } catch {
      // Said below: the place is there, but speaks something else.
    }
    throw new EnxameError('unavailable', `Get "${url}": the registry's answer is not JSON`);
  });
}

function resultsOf(document: Record<string, unknown>): SearchResult[] {
  const results: unknown[] = Array.isArray(document['results']) ? document['results'] : [];
  return results.flatMap((item) => {
    if (typeof item !== 'object' || item === null) return [];
    const { name, description, star_count: stars, is_official: official } = item as Record<string, unknown>;
    if (typeof name !== 'string') return [];
    return {
      name,
      description: typeof description === 'string' ? description : '',
      starCount: typeof stars === 'number' ? stars : 0,
      isOfficial: official === true,
    };
  });
}
