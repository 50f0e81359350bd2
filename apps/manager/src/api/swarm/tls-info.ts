/** Docker's TLSInfo: the cluster's root certificate, its subject and its public key. */
import type { ClusterView } from '#libs/model';
import { X509Certificate } from '@peculiar/x509';
import { createPublicKey } from 'node:crypto';

let cached: { pem: string; info: Record<string, unknown> } | undefined;

export function tlsInfoOf(view: ClusterView): Record<string, unknown> {
  const pem = view.cluster?.rootCa.certificatePem;
  if (pem === undefined) return {};
  // Every list of nodes shows it once per node, and the root changes almost never.
  if (cached?.pem !== pem) cached = { pem, info: read(pem) };
  return cached.info;
}

function read(pem: string): Record<string, unknown> {
  const certificate = new X509Certificate(pem);
  const publicKey = createPublicKey(pem).export({ type: 'spki', format: 'der' });
  return {
    TrustRoot: pem,
    CertIssuerSubject: Buffer.from(certificate.subjectName.toArrayBuffer()).toString('base64'),
    CertIssuerPublicKey: publicKey.toString('base64'),
  };
}
