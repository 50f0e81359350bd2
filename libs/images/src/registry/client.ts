/** One repository at one endpoint, over the OCI distribution protocol. */
import { EnxameError, type Digest } from '#libs/model';
import type { Readable } from 'node:stream';
import { request, type Dispatcher } from 'undici';
import { digestOf } from '../content/content-store.js';
import { manifestAccept, manifestBytesMax } from '../content/manifest.js';
import type { RegistryAuth } from '../port.js';
import { familiarName, isDigest, type Reference } from '../reference/reference.js';
import { authorize, parseChallenge, readBounded } from './auth.js';
import type { Endpoint } from './endpoint.js';
import { answerError, isWorthRetrying, pauseMsAfter, retryAfterMsOf, transportError } from './errors.js';
import { pause, retryPauseMs } from './pause.js';

/** `local` or `registry`: how the answering node came to the name that was asked for. */
export const originHeader = 'enxame-image-origin';

const redirectsMax = 5;
const errorBodyBytesMax = 16 * 1024;

export interface FetchedManifest {
  bytes: Buffer;
  mediaType: string | undefined;
  digest: Digest;
  /** Peers say how they came to the name; see `originHeader`. */
  origin: string | undefined;
}

export interface OpenedBlob {
  body: AsyncIterable<Buffer>;
  from: number;
}

export interface ClientOptions {
  endpoint: Endpoint;
  /** Names the image in errors. */
  reference: Reference;
  auth?: RegistryAuth;
  attemptsMax: number;
  retryDelayMs: number;
  signal?: AbortSignal;
  /** Asked of the token service instead of what the challenge names: pushing needs more than one repository. */
  scopes?: readonly string[];
}

export type Answer = Dispatcher.ResponseData;
type Method = 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
/** Made anew for each attempt: a stream is read once. */
export type BodySource = () => Buffer | Readable;

export function headerOf(answer: Answer, name: string): string | undefined {
  return [answer.headers[name] ?? []].flat()[0];
}

export class RegistryClient {
  /** One scope, one repository: one header answers every challenge until it expires. */
  private authorization: string | undefined;

  constructor(private readonly options: ClientOptions) {}

  /** The same place and credentials, but ended by another signal. */
  withSignal(signal: AbortSignal): RegistryClient {
    const client = new RegistryClient({ ...this.options, signal });
    client.authorization = this.authorization;
    return client;
  }

  get endpoint(): Endpoint {
    return this.options.endpoint;
  }

  private url(kind: 'manifests' | 'blobs', reference: string): string {
    const { baseUrl, path, query } = this.options.endpoint;
    return `${baseUrl}/v2/${path}/${kind}/${reference}${query}`;
  }

  blobUrl(digest: Digest): string {
    return this.url('blobs', digest);
  }

  uploadsUrl(): string {
    return this.url('blobs', 'uploads/');
  }

  async putManifest(reference: string, bytes: Buffer, mediaType: string): Promise<void> {
    await this.retried(async () => {
      const headers = { 'content-type': mediaType, 'content-length': String(bytes.length) };
      const answer = await this.send('PUT', this.url('manifests', reference), headers, () => bytes);
      await this.expect(answer, [200, 201, 202]);
      await answer.body.dump();
    });
  }

  /** By tag or digest. The bytes are checked against the digest that was asked for or that the registry names. */
  async manifest(reference: string): Promise<FetchedManifest> {
    return this.retried(async () => {
      const url = this.url('manifests', reference);
      const answer = await this.send('GET', url, { accept: manifestAccept });
      await this.expect(answer, [200], reference);
      const bytes = await this.body('GET', url, answer, manifestBytesMax, 'the image manifest');
      const digest = digestOf(bytes);
      const said = isDigest(reference) ? reference : headerOf(answer, 'docker-content-digest');
      if (said !== undefined && isDigest(said) && said !== digest) {
        throw new EnxameError(
          'data-damaged',
          `manifest verification failed for digest ${said}: its content has ${digest}`,
        );
      }
      return {
        bytes,
        digest,
        mediaType: headerOf(answer, 'content-type'),
        origin: headerOf(answer, originHeader),
      };
    });
  }

  async smallBlob(digest: Digest, bytesMax: number): Promise<Buffer> {
    return this.retried(async () => {
      const url = this.url('blobs', digest);
      const answer = await this.send('GET', url, {});
      await this.expect(answer, [200]);
      const bytes = await this.body('GET', url, answer, bytesMax, `the blob ${digest}`);
      if (digestOf(bytes) !== digest) {
        throw new EnxameError('data-damaged', `image verification failed for digest ${digest}`);
      }
      return bytes;
    });
  }

  /**
   * Opens a blob at an offset; `from` in the answer is where it really begins (a server may not know ranges). One
   * attempt: who reads it knows how far it came.
   */
  openBlob(digest: Digest, from: number): Promise<OpenedBlob> {
    return this.open(this.blobUrl(digest), from);
  }

  /** The same from an address that a manifest names, which is told no credentials but the registry's own host's. */
  openUrl(url: string, from: number): Promise<OpenedBlob> {
    return this.open(url, from);
  }

  private async open(url: string, from: number): Promise<OpenedBlob> {
    const answer = await this.send('GET', url, from > 0 ? { range: `bytes=${from}-` } : {});
    await this.expect(answer, [200, 206]);
    const range = /^bytes (\d+)-/.exec(headerOf(answer, 'content-range') ?? '');
    const start = answer.statusCode === 206 ? Number(range?.[1] ?? Number.NaN) : 0;
    if (start !== 0 && start !== from) {
      answer.body.destroy();
      throw new EnxameError(
        'unavailable',
        `Get "${url}": the answer begins at byte ${start}, not at ${from}`,
      );
    }
    return { body: this.wrapped(url, answer.body), from: start };
  }

  private async *wrapped(url: string, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    try {
      yield* body;
    } catch (error) {
      if (this.options.signal?.aborted === true || error instanceof EnxameError) throw error;
      throw transportError('GET', url, error);
    }
  }

  private async body(
    method: string,
    url: string,
    answer: Answer,
    bytesMax: number,
    what: string,
  ): Promise<Buffer> {
    try {
      return await readBounded(answer.body, bytesMax, what);
    } catch (error) {
      if (this.options.signal?.aborted === true || error instanceof EnxameError) throw error;
      throw transportError(method, url, error);
    }
  }

  /** Rejects with the registry's words unless the answer has one of the statuses. */
  async expect(answer: Answer, statuses: number[], manifest?: string): Promise<void> {
    if (statuses.includes(answer.statusCode)) return;
    const body = await readBounded(answer.body, errorBodyBytesMax, 'the error').catch(() => Buffer.alloc(0));
    const repository = familiarName(this.options.reference);
    throw answerError({
      status: answer.statusCode,
      retryAfterMs: retryAfterMsOf(headerOf(answer, 'retry-after'), Date.now()),
      body: body.toString('utf8'),
      repository,
      pushing: this.options.scopes !== undefined,
      image: manifest && repository + (isDigest(manifest) ? `@${manifest}` : `:${manifest}`),
    });
  }

  /** Sends with what authorization there is; answers one challenge. */
  async send(
    method: Method,
    url: string,
    headers: Record<string, string>,
    source?: BodySource,
  ): Promise<Answer> {
    const answer = await this.follow(method, url, headers, source);
    if (answer.statusCode !== 401) return answer;
    const challenge = parseChallenge(answer.headers['www-authenticate']);
    const { endpoint, auth, reference, signal } = this.options;
    if (challenge === undefined || endpoint.kind === 'peer') return answer;
    const authorization = await authorize({
      challenge,
      registryUrl: endpoint.baseUrl,
      path: endpoint.path,
      auth,
      dispatcher: endpoint.dispatcher,
      idleTimeoutMs: endpoint.idleTimeoutMs,
      repository: familiarName(reference),
      scopes: this.options.scopes,
      signal,
    });
    if (authorization === undefined) return answer;
    await answer.body.dump();
    this.authorization = authorization;
    return this.follow(method, url, headers, source);
  }

  /** Registries send blobs from elsewhere. Credentials stay with the registry, and https stays https. */
  private async follow(
    method: Method,
    url: string,
    headers: Record<string, string>,
    source: BodySource | undefined,
  ): Promise<Answer> {
    const { endpoint, signal } = this.options;
    const home = new URL(endpoint.baseUrl).origin;
    let at = url;
    for (let redirects = 0; ; redirects++) {
      const isHome = new URL(at).origin === home;
      const authorization = isHome ? this.authorization : undefined;
      let answer: Answer;
      try {
        answer = await request(at, {
          method,
          dispatcher: endpoint.dispatcher,
          headers: authorization === undefined ? headers : { ...headers, authorization },
          ...(source === undefined ? {} : { body: source() }),
          headersTimeout: endpoint.idleTimeoutMs,
          bodyTimeout: endpoint.idleTimeoutMs,
          signal,
        });
      } catch (error) {
        if (signal?.aborted === true) throw error;
        // The first contact is named by its base, as Docker does; the query of a redirect is a secret.
        throw transportError(method, isHome ? `${endpoint.baseUrl}/v2/` : (at.split('?')[0] ?? at), error);
      }
      if (![301, 302, 303, 307, 308].includes(answer.statusCode)) return answer;
      const location = headerOf(answer, 'location');
      await answer.body.dump();
      const next = location === undefined ? undefined : parseUrl(location, at);
      if (next === undefined || redirects >= redirectsMax || endpoint.kind === 'peer') {
        throw new EnxameError('unavailable', `Get "${url}": the registry redirects to nowhere or in circles`);
      }
      if (!['https:', home.startsWith('https:') ? 'https:' : 'http:'].includes(next.protocol)) {
        throw new EnxameError(
          'unavailable',
          `Get "${url}": the registry redirects from https to ${next.protocol}`,
        );
      }
      at = next.href;
    }
  }

  /** Tries again, later and later, what may well succeed then. */
  async retried<T>(work: () => Promise<T>): Promise<T> {
    const { attemptsMax, retryDelayMs, signal } = this.options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (signal?.aborted === true || attempt >= attemptsMax || !isWorthRetrying(error)) throw error;
        await pause(pauseMsAfter(error, retryPauseMs(attempt, retryDelayMs)), signal);
      }
    }
  }
}

function parseUrl(text: string, base: string): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    // A redirect to what is no URL is refused by the caller, with the URL that led there.
    return undefined;
  }
}
