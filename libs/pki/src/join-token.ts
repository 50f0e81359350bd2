/**
 * Join tokens, in SwarmKit's form: `SWMTKN-1-<50 base-36 characters>-<25 base-36 characters>`. The first part is the
 * SHA-256 of the root CA certificate (its DER bytes), by which a joining node recognises the cluster before it trusts
 * it; the second is the secret by which the cluster recognises the joining node and its role.
 */
import { EnxameError } from '#libs/model';
import { createHash, timingSafeEqual } from 'node:crypto';
import { certificateDer } from './root-ca.js';

const hashLength = 50;
const secretLength = 25;
const secretBytes = 16;

export interface JoinToken {
  /** 50 base-36 characters. */
  caHash: string;
  /** 25 base-36 characters. */
  secret: string;
}

function toBase36(bytes: Uint8Array, length: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(length, '0');
}

export function caHashOf(rootCertificatePem: string): string {
  return toBase36(createHash('sha256').update(certificateDer(rootCertificatePem)).digest(), hashLength);
}

/** Makes a token for a cluster's root certificate from 16 random bytes. */
export function makeJoinToken(rootCertificatePem: string, random: Uint8Array): string {
  if (random.length < secretBytes) throw new Error('a join token needs 16 random bytes');
  return `SWMTKN-1-${caHashOf(rootCertificatePem)}-${toBase36(random.subarray(0, secretBytes), secretLength)}`;
}

/** Takes a token apart. `invalid-argument` says which part is wrong and how; it never repeats the secret. */
export function parseJoinToken(text: string): JoinToken {
  const refuse = (rule: string): never => {
    throw new EnxameError('invalid-argument', `invalid join token: ${rule}`);
  };
  const parts = text.trim().split('-');
  const [prefix, version, caHash = '', secret = ''] = parts;
  if (prefix === 'SWMKEY') refuse('this is an unlock key (SWMKEY), not a join token (SWMTKN)');
  if (prefix !== 'SWMTKN') refuse('it must begin with SWMTKN-1-');
  if (version !== '1') refuse(`version ${JSON.stringify(version ?? '')} is not known, only 1 is`);
  if (parts.length !== 4) refuse('it must have four parts separated by dashes');
  if (caHash.length !== hashLength || !/^[0-9a-z]+$/.test(caHash)) {
    refuse(`the third part must be ${hashLength} characters of 0-9 and a-z`);
  }
  if (secret.length !== secretLength || !/^[0-9a-z]+$/.test(secret)) {
    refuse(`the last part must be ${secretLength} characters of 0-9 and a-z`);
  }
  return { caHash, secret };
}

/** Refuses a cluster whose root certificate is not the one the token names. */
export function verifyRootCertificate(token: JoinToken, rootCertificatePem: string): void {
  if (caHashOf(rootCertificatePem) !== token.caHash) {
    throw new EnxameError(
      'unauthorized',
      'the remote root certificate does not match the fingerprint in the join token',
    );
  }
}

/** Which role a token gives: the comparison takes the same time whatever the token. */
export function roleOfToken(
  presented: string,
  tokens: { worker: string; manager: string },
): 'worker' | 'manager' | undefined {
  if (sameToken(presented, tokens.manager)) return 'manager';
  if (sameToken(presented, tokens.worker)) return 'worker';
  return undefined;
}

function sameToken(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text.trim()).digest();
  return timingSafeEqual(digest(a), digest(b));
}
