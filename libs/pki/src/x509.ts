/** The one place that sets up the X.509 library: it needs decorator metadata and a crypto provider before use. */
import type * as X509 from '@peculiar/x509';
import { EnxameError } from '#libs/model';
import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';

export type { X509 };

/**
 * The library is large and only making certificates needs it: a daemon that comes back with its certificates at hand
 * is up a good while sooner without.
 */
export async function loadX509(): Promise<typeof X509> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  return x509;
}
export type CryptoKey = webcrypto.CryptoKey;
export type CryptoKeyPair = webcrypto.CryptoKeyPair;

/** ECDSA over P-256, as SwarmKit: small, fast, and supported everywhere. */
export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
export const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** 127 random bits: RFC 5280 wants a positive number of at most 20 octets, CAs at least 64 random bits. */
export function randomSerialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

export function generateKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
}

export async function privateKeyToPem(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
}

async function privateKeyFromPem(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, '').replace(/\s+/g, ''), 'base64');
  return await webcrypto.subtle.importKey('pkcs8', der, keyAlgorithm, true, ['sign']);
}

const curves: Readonly<Record<string, { namedCurve: string; hash: string }>> = {
  prime256v1: { namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { namedCurve: 'P-384', hash: 'SHA-384' },
  secp521r1: { namedCurve: 'P-521', hash: 'SHA-512' },
};
const rsaBitsMin = 2048;

/** The key of a CA, which may be the user's own: ECDSA on one of the NIST's curves, or RSA. */
export async function signingKeyFromPem(
  pem: string,
): Promise<{ key: CryptoKey; algorithm: { name: string; hash: string } }> {
  const privateKey = createPrivateKey(pem);
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const { namedCurve = '', modulusLength = 0 } = privateKey.asymmetricKeyDetails ?? {};
  const curve = curves[namedCurve];
  if (privateKey.asymmetricKeyType === 'ec' && curve !== undefined) {
    const algorithm = { name: 'ECDSA', namedCurve: curve.namedCurve };
    const key = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
    return { key, algorithm: { name: 'ECDSA', hash: curve.hash } };
  }
  if (privateKey.asymmetricKeyType === 'rsa' && modulusLength >= rsaBitsMin) {
    const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    return { key: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']), algorithm };
  }
  throw new EnxameError(
    'invalid-argument',
    `invalid CAConfig.SigningCAKey: must be ECDSA (P-256, P-384, P-521) or RSA of ${rsaBitsMin} bits or more`,
  );
}

/** By which a certificate names its issuer: the identifier that the issuer's own certificate has, where it has one. */
export async function authorityKeyIdOf(issuer: X509.X509Certificate): Promise<X509.Extension> {
  const x509 = await loadX509();
  const own = issuer.getExtension(x509.SubjectKeyIdentifierExtension);
  return own === null
    ? await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey)
    : new x509.AuthorityKeyIdentifierExtension(own.keyId);
}

export async function keyPairFromPem(pem: string): Promise<CryptoKeyPair> {
  const spki = createPublicKey(pem).export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, keyAlgorithm, true, ['verify']);
  return { privateKey: await privateKeyFromPem(pem), publicKey };
}
