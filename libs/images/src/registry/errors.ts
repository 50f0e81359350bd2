/** What registries and the network answer, in the words Docker's users know. */
import { EnxameError } from '#libs/model';
import { errnoOf } from '../content/disk.js';

/** What the registry said: `{"errors":[{"code","message","detail"}]}`. */
export function registryWords(body: string): { code: string; words: string } | undefined {
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    // Not every proxy in front of a registry speaks JSON; the status is then all there is.
    return undefined;
  }
  const fields = (typeof document === 'object' && document !== null ? document : {}) as Record<
    string,
    unknown
  >;
  const first: unknown = Array.isArray(fields['errors']) ? fields['errors'][0] : undefined;
  if (typeof first !== 'object' || first === null) {
    const details = fields['details'];
    return typeof details === 'string' ? { code: 'DENIED', words: details } : undefined;
  }
  const { code, message } = first as Record<string, unknown>;
  const codeText = typeof code === 'string' ? code : 'UNKNOWN';
  const messageText = typeof message === 'string' ? message.slice(0, 500) : '';
  return { code: codeText, words: `${codeText.toLowerCase().replaceAll('_', ' ')}: ${messageText}` };
}

/** The registry itself says when to come again. */
export class RetryLater extends Error {
  constructor(readonly afterMs: number) {
    super(`it asks to be left alone for ${Math.ceil(afterMs / 1000)} s`);
  }
}

/** Longer than this nobody waits in front of a `docker pull`. */
const retryAfterMsMax = 60_000;

/** `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). Undefined when it says nothing of use. */
export function retryAfterMsOf(header: string | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? '';
  const isDate = /^[A-Z][a-z]+, /.test(text);
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : isDate ? Date.parse(text) - nowMs : Number.NaN;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

export interface FailedAnswer {
  status: number;
  /** Of the `Retry-After` header. */
  retryAfterMs?: number | undefined;
  body: string;
  /** Familiar name without tag. */
  repository: string;
  /** `demo:1`, when a manifest was asked for. */
  image?: string;
  pushing?: boolean;
}

export function answerError(answer: FailedAnswer): EnxameError {
  const { status, body, repository, image, pushing } = answer;
  const said = registryWords(body);
  const words = said?.words ?? '';
  if (pushing === true && status === 401) {
    return new EnxameError('unauthorized', words || 'unauthorized: authentication required');
  }
  if (pushing === true && status === 403) {
    return new EnxameError('forbidden', words || 'denied: requested access to the resource is denied');
  }
  if (pushing === true && status === 404) {
    return new EnxameError('not-found', words || `name unknown: ${repository} is not known to registry`);
  }
  if (status === 401 || status === 403) {
    return new EnxameError(
      'not-found',
      `pull access denied for ${repository}, repository does not exist or may require 'docker login'${words && `: ${words}`}`,
    );
  }
  if (status === 404 && said?.code === 'NAME_UNKNOWN') {
    return new EnxameError('not-found', `repository ${repository} not found: ${words}`);
  }
  if (status === 404) {
    const what = image === undefined ? repository : `manifest for ${image}`;
    return new EnxameError(
      'not-found',
      `${what} not found: ${words || 'manifest unknown: manifest unknown'}`,
    );
  }
  const cause = answer.retryAfterMs === undefined ? undefined : new RetryLater(answer.retryAfterMs);
  if (status === 429) {
    return new EnxameError('unavailable', words || 'toomanyrequests: too many requests', { cause });
  }
  const text = `received unexpected HTTP status: ${status}${words && `: ${words}`}`;
  return new EnxameError(status >= 500 ? 'unavailable' : 'internal', text, { cause });
}

/** A request that got no answer, in Go's words, since scripts look for them. */
export function transportError(method: string, url: string, error: unknown): EnxameError {
  const { host, hostname } = new URL(url);
  const verb = `${method.slice(0, 1)}${method.slice(1).toLowerCase()}`;
  const reasons: Record<string, string> = {
    ENOTFOUND: `dial tcp: lookup ${hostname}: no such host`,
    EAI_AGAIN: `dial tcp: lookup ${hostname}: Temporary failure in name resolution`,
    ECONNREFUSED: `dial tcp ${host}: connect: connection refused`,
    EHOSTUNREACH: `dial tcp ${host}: connect: no route to host`,
    ENETUNREACH: `dial tcp ${host}: connect: network is unreachable`,
    ECONNRESET: 'read: connection reset by peer',
    UND_ERR_CONNECT_TIMEOUT: `dial tcp ${host}: i/o timeout`,
    UND_ERR_HEADERS_TIMEOUT: 'timeout awaiting response headers',
    UND_ERR_BODY_TIMEOUT: 'timeout awaiting response body',
    UND_ERR_SOCKET: 'unexpected EOF',
  };
  const words = error instanceof Error ? error.message.trim() : String(error);
  const spokeHttp = /wrong version number|packet length too long/.test(words);
  const reason = spokeHttp
    ? 'http: server gave HTTP response to HTTPS client'
    : (reasons[errnoOf(error) ?? ''] ?? words);
  return new EnxameError('unavailable', `${verb} "${url}": ${reason}`, { cause: error });
}

/** What to wait before the next attempt: as long as the registry asked for, at least as long as we would anyway. */
export function pauseMsAfter(error: unknown, usualMs: number): number {
  const cause = error instanceof EnxameError ? error.cause : undefined;
  return cause instanceof RetryLater ? Math.max(cause.afterMs, usualMs) : usualMs;
}

/** Whether the same request may well succeed a moment later. */
export function isWorthRetrying(error: unknown): boolean {
  if (!(error instanceof EnxameError) || error.code !== 'unavailable') return false;
  if (error.cause instanceof RetryLater && error.cause.afterMs > retryAfterMsMax) return false;
  const errno = errnoOf(error.cause);
  // A name or port that is not there will not come up within our patience; the scheduler tries again later.
  return !['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH'].includes(errno ?? '');
}
