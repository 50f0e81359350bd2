/**
 * A node's certificate with what it shows beside it: while the root changes, and after, the new root's key certified
 * by the old root. Whoever trusts either root can follow the chain.
 */
import { EnxameError, type HeldTls } from '#libs/model';
import { X509Certificate } from 'node:crypto';
import { subjectAndKeyOf } from './der.js';

const certificatePattern = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g;

/** Every certificate of a text, each as PEM. */
export function certificatesIn(pem: string): string[] {
  return pem.match(certificatePattern) ?? [];
}

/** The certificate that signed the first one of the chain: one of the chain, or the root. `unauthorized` without. */
export function issuerIn(chainPem: string, rootCertificatePem: string): string {
  const [leafPem, ...intermediates] = certificatesIn(chainPem);
  if (leafPem === undefined) throw new EnxameError('unauthorized', 'node certificate: there is none');
  const leaf = new X509Certificate(leafPem);
  const root = new X509Certificate(rootCertificatePem);
  if (hasSigned(root, leaf)) return rootCertificatePem;
  const issuer = intermediates.find((pem) => {
    const certificate = new X509Certificate(pem);
    return certificate.ca && hasSigned(certificate, leaf) && hasSigned(root, certificate);
  });
  if (issuer !== undefined) return issuer;
  throw new EnxameError(
    'unauthorized',
    "node certificate: it was not signed by the cluster's root certificate",
  );
}

function hasSigned(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** What a node holds: the root it trusts, and who issued its certificate. */
export function heldTls(pems: { certificatePem: string; rootCertificatePem: string }): HeldTls {
  const issuer = issuerIn(pems.certificatePem, pems.rootCertificatePem);
  return { trustRootPem: pems.rootCertificatePem, ...issuerFacts(issuer) };
}

/** How an issuer is told from another one: by subject and key, both in base64. */
export function issuerFacts(certificatePem: string): Omit<HeldTls, 'trustRootPem'> {
  const { subject, publicKey } = subjectAndKeyOf(certificatePem);
  return { issuerSubject: subject.toString('base64'), issuerPublicKey: publicKey.toString('base64') };
}
