/** Whether a registry takes a name and a password: `docker login`. */
import { EnxameError, isEnxameError } from '#libs/model';
import type { RegistryAuth } from '../port.js';
import { defaultDomain } from '../reference/reference.js';
import { RegistryClient } from './client.js';
import { registryEndpoint } from './endpoint.js';
import { defaultRetryDelayMs, type RegistryContext } from './context.js';

/** A person waits for the answer. */
const attemptsMax = 1;

export interface LoginRequest {
  /** `https://index.docker.io/v1/`, `localhost:5000`; empty: Docker's own. */
  server: string;
  auth: RegistryAuth;
  signal?: AbortSignal;
}

/** Throws `unauthorized` when it does not, and `unavailable` when it cannot be asked. */
export async function checkLogin(context: RegistryContext, request: LoginRequest): Promise<void> {
  const host = hostOf(request.server);
  const reference = { domain: host, path: 'login' };
  const endpoint = registryEndpoint(reference, context.options, context.dispatcher);
  const client = new RegistryClient({
    endpoint,
    reference,
    auth: request.auth,
    attemptsMax,
    retryDelayMs: context.options.retryDelayMs ?? defaultRetryDelayMs,
    // What any user may ask for: that the token service knows them is all that is wanted.
    scopes: [],
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  });
  const url = `${endpoint.baseUrl}/v2/`;
  const answer = await ask(client, url);
  await answer.body.dump();
  if (answer.statusCode === 401 || answer.statusCode === 403) throw refused(url);
  if (answer.statusCode !== 200)
    throw new EnxameError('unavailable', `login attempt to ${url} failed with status: ${answer.statusCode}`);
}

/** A token service that refuses says so in the words of pulls: that something is not there. */
async function ask(client: RegistryClient, url: string): ReturnType<RegistryClient['send']> {
  try {
    return await client.send('GET', url, {});
  } catch (error) {
    const isRefusal = isEnxameError(error) && ['not-found', 'forbidden', 'unauthorized'].includes(error.code);
    throw isRefusal ? refused(url, error) : error;
  }
}

function refused(url: string, cause?: unknown): EnxameError {
  return new EnxameError(
    'unauthorized',
    `Get "${url}": unauthorized: incorrect username or password`,
    cause === undefined ? undefined : { cause },
  );
}

function hostOf(server: string): string {
  const bare = server.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  return bare === '' || bare === 'index.docker.io' ? defaultDomain : bare;
}
