/** The registry token protocol (distribution spec, "Token Authentication") and HTTP basic authentication. */
import { EnxameError } from '#libs/model';
import { request, type Dispatcher } from 'undici';
import type { RegistryAuth } from '../port.js';
import { answerError, transportError } from './errors.js';

export interface Challenge {
  scheme: 'bearer' | 'basic';
  parameters: Record<string, string>;
}

const tokenBytesMax = 64 * 1024;
const headerLengthMax = 4096;

/** `Bearer realm="...",service="...",scope="..."`. Undefined when no scheme in it is known. */
export function parseChallenge(header: string | string[] | undefined): Challenge | undefined {
  for (const text of [header ?? []].flat()) {
    const match = /^\s*(bearer|basic)\b/i.exec(text.slice(0, headerLengthMax));
    if (match === null) continue;
    const parameters: Record<string, string> = {};
    const rest = text.slice(match[0].length, headerLengthMax);
    for (const [, key, quoted, plain] of rest.matchAll(/([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))/g)) {
      if (key !== undefined) parameters[key.toLowerCase()] = (quoted ?? plain ?? '').replace(/\\(.)/g, '$1');
    }
    return { scheme: match[1]?.toLowerCase() === 'basic' ? 'basic' : 'bearer', parameters };
  }
  return undefined;
}

function basicHeader({ username = '', password = '' }: RegistryAuth): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

export interface AuthorizeOptions {
  challenge: Challenge;
  registryUrl: string;
  /** Without the domain, for the scope when the registry names none. */
  path: string;
  auth: RegistryAuth | undefined;
  dispatcher: Dispatcher;
  idleTimeoutMs: number;
  repository: string;
  /** In place of the challenge's own. */
  scopes?: readonly string[];
  signal?: AbortSignal;
}

/** The Authorization header that answers a challenge; undefined when there is nothing to answer it with. */
export async function authorize(options: AuthorizeOptions): Promise<string | undefined> {
  const { challenge, auth } = options;
  if (challenge.scheme === 'basic') {
    return auth?.username === undefined || auth.username === '' ? undefined : basicHeader(auth);
  }
  return `Bearer ${await fetchToken(options)}`;
}

function tokenUrl({ challenge, registryUrl, path, scopes }: AuthorizeOptions): URL {
  const { realm = '', service, scope } = challenge.parameters;
  let url: URL;
  try {
    url = new URL(realm);
  } catch (error) {
    throw new EnxameError('unavailable', `the registry's token realm is no URL: ${JSON.stringify(realm)}`, {
      cause: error,
    });
  }
  // A password must not go in the clear because a registry says so.
  const allowed = registryUrl.startsWith('https:') ? ['https:'] : ['https:', 'http:'];
  if (!allowed.includes(url.protocol)) {
    throw new EnxameError('forbidden', `the registry's token realm ${url.origin} is not https`);
  }
  if (service !== undefined) url.searchParams.set('service', service);
  for (const each of scopes ?? [scope ?? `repository:${path}:pull`]) url.searchParams.append('scope', each);
  return url;
}

async function fetchToken(options: AuthorizeOptions): Promise<string> {
  const { auth, dispatcher, idleTimeoutMs, signal, repository } = options;
  const url = tokenUrl(options);
  const common = { dispatcher, headersTimeout: idleTimeoutMs, bodyTimeout: idleTimeoutMs, signal };
  let answer: Dispatcher.ResponseData;
  try {
    answer =
      auth?.identitytoken === undefined || auth.identitytoken === ''
        ? await request(url, {
            ...common,
            headers: auth?.username ? { authorization: basicHeader(auth) } : {},
          })
        : await request(`${url.origin}${url.pathname}`, {
            ...common,
            method: 'POST',
            headers: { 'content-type': 'application/x-www-form-urlencoded' },
            body: new URLSearchParams({
              grant_type: 'refresh_token',
              refresh_token: auth.identitytoken,
              client_id: 'enxame',
              service: url.searchParams.get('service') ?? '',
              scope: url.searchParams.getAll('scope').join(' '),
            }).toString(),
          });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw transportError('GET', `${url.origin}${url.pathname}`, error);
  }
  const body = await readBounded(answer.body, tokenBytesMax, 'the token answer');
  if (answer.statusCode !== 200) {
    throw answerError({ status: answer.statusCode, body: body.toString('utf8'), repository });
  }
  return tokenOf(body.toString('utf8'));
}

function tokenOf(body: string): string {
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch (error) {
    throw new EnxameError('unavailable', "the registry's token service did not answer with JSON", {
      cause: error,
    });
  }
  const fields = (typeof document === 'object' && document !== null ? document : {}) as Record<
    string,
    unknown
  >;
  const token = fields['token'] ?? fields['access_token'];
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new EnxameError('unavailable', "the registry's token service answered without a token");
  }
  return token;
}

/** Reads a whole body; throws `unavailable` and drops the rest when it is over the limit. */
export async function readBounded(
  body: AsyncIterable<Buffer>,
  bytesMax: number,
  what: string,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    // Leaving the loop destroys the body and with it the connection.
    if (length > bytesMax) throw new EnxameError('unavailable', `${what} is over ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
