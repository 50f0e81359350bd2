/**
 * Image references by Docker's rules (distribution/reference): the familiar form people type (`demo:1`) and the
 * canonical one that says which registry (`docker.io/library/demo:1`).
 */
import { EnxameError, type Digest } from '#libs/model';

export interface Reference {
  /** `docker.io`, `localhost:5000`, ... */
  domain: string;
  /** `library/demo`: without the domain. */
  path: string;
  tag?: string;
  digest?: Digest;
}

export const defaultDomain = 'docker.io';
const legacyDefaultDomain = 'index.docker.io';
const officialPrefix = 'library/';
const repositoryLengthMax = 255;

const domainName = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainPattern = new RegExp(`^(?:${domainName}(?:\\.${domainName})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const pathPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const digestPattern = /^sha256:[a-f0-9]{64}$/;
const idPattern = /^[a-f0-9]{64}$/;

function invalid(detail?: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid reference format${detail ? `: ${detail}` : ''}`);
}

export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

/**
 * Reads a familiar or canonical reference. Throws `invalid-argument` in Docker's words. The work is linear in the
 * text's length: over-long texts are refused before any pattern sees them.
 */
export function parseReference(text: string): Reference {
  if (text.length > repositoryLengthMax + 128 + 80) throw invalid('the reference is too long');
  if (idPattern.test(text)) {
    throw new EnxameError(
      'invalid-argument',
      `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`,
    );
  }
  const { name, tag, digest } = splitSuffixes(text);
  const { domain, path } = splitDomain(name);
  if (!domainPattern.test(domain)) throw invalid();
  if (!pathPattern.test(path)) {
    if (pathPattern.test(path.toLowerCase())) throw invalid(`repository name (${path}) must be lowercase`);
    throw invalid();
  }
  if (domain.length + 1 + path.length > repositoryLengthMax) {
    throw new EnxameError(
      'invalid-argument',
      `repository name must not be more than ${repositoryLengthMax} characters`,
    );
  }
  const reference: Reference = { domain, path };
  if (tag !== undefined) {
    if (!tagPattern.test(tag)) throw invalid();
    reference.tag = tag;
  }
  if (digest !== undefined) {
    if (!isDigest(digest)) {
      throw /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-fA-F0-9]{32,}$/.test(digest)
        ? new EnxameError('invalid-argument', `unsupported digest algorithm or length: ${digest}`)
        : invalid();
    }
    reference.digest = digest;
  }
  return reference;
}

function splitSuffixes(text: string): { name: string; tag?: string; digest?: string } {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(':');
  // `localhost:5000/a`: a colon in front of a slash belongs to the port.
  if (colon < 0 || named.indexOf('/', colon) >= 0) return { name: named, digest };
  return { name: named.slice(0, colon), tag: named.slice(colon + 1), digest };
}

function looksLikeDomain(part: string): boolean {
  return /[.:]/.test(part) || part === 'localhost' || part !== part.toLowerCase();
}

/** The registry a name begins with, Docker's own when it begins with none. */
export function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, slash);
  const isDomain = slash >= 0 && looksLikeDomain(first);
  let domain = isDomain ? first : defaultDomain;
  let path = isDomain ? name.slice(slash + 1) : name;
  if (domain === legacyDefaultDomain) domain = defaultDomain;
  if (domain === defaultDomain && path !== '' && !path.includes('/')) path = officialPrefix + path;
  return { domain, path };
}

/** `docker.io/library/demo`. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** `demo`, `localhost:5000/a/b`: as people write it. */
export function familiarName(reference: Reference): string {
  if (reference.domain !== defaultDomain) return repositoryOf(reference);
  const short = reference.path.startsWith(officialPrefix)
    ? reference.path.slice(officialPrefix.length)
    : reference.path;
  if (!short.includes('/')) return short;
  // `docker.io/a.b/c` without its domain would read as the registry `a.b`.
  const first = reference.path.slice(0, reference.path.indexOf('/'));
  return looksLikeDomain(first) ? repositoryOf(reference) : reference.path;
}

/** `demo:1@sha256:...`. */
export function familiarString(reference: Reference): string {
  return familiarName(reference) + suffixOf(reference);
}

export function canonicalString(reference: Reference): string {
  return repositoryOf(reference) + suffixOf(reference);
}

function suffixOf({ tag, digest }: Reference): string {
  return (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`);
}

/** `demo` means `demo:latest`; a digest needs no tag. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: 'latest' };
}
