/** `X-Registry-Auth`: base64url of JSON; some clients use plain base64. */
import { EnxameError, type RegistryAuth } from '#libs/model';

const headerLengthMax = 16 * 1024;
const fields = ['username', 'password', 'identitytoken'] as const;

/** Undefined when the header is absent or names nobody (`e30=` is `{}`). Throws `invalid-argument`. */
export function parseRegistryAuth(header: string | undefined): RegistryAuth | undefined {
  if (header === undefined || header === '') return undefined;
  if (header.length > headerLengthMax) throw invalid(`over ${headerLengthMax} characters`);
  let document: unknown;
  try {
    // Node's base64 reads both alphabets.
    document = JSON.parse(Buffer.from(header, 'base64').toString('utf8'));
  } catch {
    // The parser's words would repeat what may be a password.
    throw invalid('not base64 of JSON');
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw invalid('not an object');
  const given = document as Record<string, unknown>;
  const auth: RegistryAuth = {};
  for (const name of fields) {
    const value = given[name];
    if (value === undefined || value === '') continue;
    if (typeof value !== 'string') throw invalid(`${name} must be a string`);
    auth[name] = value;
  }
  return Object.keys(auth).length === 0 ? undefined : auth;
}

function invalid(why: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid X-Registry-Auth header: ${why}`);
}
