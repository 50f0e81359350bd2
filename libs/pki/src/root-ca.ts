import type { CaCertificate } from '#libs/model';
import { EnxameError } from '#libs/model';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { certificatesIn } from './certificate-chain.js';
import {
  authorityKeyIdOf,
  generateKeys,
  loadX509,
  privateKeyToPem,
  randomSerialNumber,
  signingAlgorithm,
  signingKeyFromPem,
} from './x509.js';

/** Where it replaced another root, `crossSignedPem` is its key certified by that one. */
export type RootCa = CaCertificate;

export const rootCaLifeYears = 20;
/** A root that is given must outlive many certificates of nodes: as SwarmKit's rule. */
export const rootCaLifeMsMin = 365 * 24 * 3_600_000;
/** Clocks of nodes differ; a certificate is valid from a little before it was made. */
export const backdateMs = 3_600_000;

/** Makes the cluster's own certificate authority: CN `swarm-ca`, P-256, 20 years, as SwarmKit's. */
export async function createRootCa(options: { nowMs: number }): Promise<RootCa> {
  const keys = await generateKeys();
  const notAfter = new Date(options.nowMs);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + rootCaLifeYears);
  const x509 = await loadX509();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerialNumber(),
    name: [{ CN: ['swarm-ca'] }],
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter,
    signingAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    keyPem: await privateKeyToPem(keys.privateKey),
  };
}

/**
 * Checks a certificate and key that are to be the cluster's next root. `invalid-argument` names the field of Docker's
 * API and the rule, and never repeats the key.
 */
export async function checkRootCa(given: {
  certificatePem: string;
  keyPem: string;
  nowMs: number;
}): Promise<RootCa> {
  const refuse = (field: 'SigningCACert' | 'SigningCAKey', rule: string, cause?: unknown): never => {
    throw new EnxameError('invalid-argument', `invalid CAConfig.${field}: ${rule}`, { cause });
  };
  const pems = certificatesIn(given.certificatePem);
  if (pems.length !== 1) refuse('SigningCACert', `must hold one PEM certificate, it holds ${pems.length}`);
  const x509 = await loadX509();
  let certificate: InstanceType<typeof x509.X509Certificate>;
  let openssl: X509Certificate;
  try {
    openssl = new X509Certificate(pems[0] ?? '');
    certificate = new x509.X509Certificate(openssl.raw);
  } catch (error) {
    return refuse('SigningCACert', 'it cannot be read', error);
  }
  const constraints = certificate.getExtension(x509.BasicConstraintsExtension);
  const usages = certificate.getExtension(x509.KeyUsagesExtension)?.usages;
  if (constraints?.ca !== true) refuse('SigningCACert', 'it is not a certificate of a CA (basicConstraints)');
  // The next rotation puts a certificate of another CA below it.
  if (constraints?.pathLength === 0)
    refuse('SigningCACert', 'it allows no other CA below it (pathlen 0), so it could never be replaced');
  if (usages !== undefined && (usages & x509.KeyUsageFlags.keyCertSign) === 0)
    refuse('SigningCACert', 'it may not sign certificates (keyUsage)');
  if (!openssl.checkIssued(openssl) || !openssl.verify(openssl.publicKey))
    refuse('SigningCACert', 'it is not self-signed');
  if (Date.parse(openssl.validFrom) > given.nowMs)
    refuse('SigningCACert', `it is not valid before ${openssl.validFrom}`);
  if (Date.parse(openssl.validTo) < given.nowMs + rootCaLifeMsMin)
    refuse('SigningCACert', `it expires too soon, at ${openssl.validTo}: it must be valid for a year`);
  try {
    const key = createPrivateKey(given.keyPem);
    if (!openssl.checkPrivateKey(key)) refuse('SigningCAKey', 'it does not fit the certificate');
    await signingKeyFromPem(given.keyPem);
    const keyPem = key.export({ type: 'pkcs8', format: 'pem' }) as string;
    return { certificatePem: `${certificate.toString('pem')}\n`, keyPem };
  } catch (error) {
    if (error instanceof EnxameError) throw error;
    return refuse('SigningCAKey', 'it cannot be read as an unencrypted PEM key', error);
  }
}

/** The key of the new root certified by the old one, for nodes that trust that one alone. */
export async function crossSign(options: { by: RootCa; nowMs: number; root: RootCa }): Promise<string> {
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(options.by.certificatePem);
  const root = new x509.X509Certificate(options.root.certificatePem);
  const { key, algorithm } = await signingKeyFromPem(options.by.keyPem);
  const keyId = root.getExtension(x509.SubjectKeyIdentifierExtension);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerialNumber(),
    subject: root.subjectName,
    issuer: issuer.subjectName,
    notBefore: new Date(options.nowMs - backdateMs),
    notAfter: new Date(Math.min(root.notAfter.getTime(), issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: root.publicKey,
    signingKey: key,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      ...(keyId === null ? [] : [keyId]),
      await authorityKeyIdOf(issuer),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** The certificate's DER bytes: what its hash in join tokens is taken of. */
export function certificateDer(certificatePem: string): Buffer {
  return new X509Certificate(certificatePem).raw;
}
