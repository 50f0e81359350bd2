/**
 * Node certificates: CN = node id, OU = role, O = cluster id, as SwarmKit's. The subject alternative names are the
 * node id (the engine port is reached by it) and the role (a manager is reached as `swarm-manager` before its id is
 * known), so that TLS's own name check does the work.
 */
import { EnxameError, type ClusterId, type NodeId } from '#libs/model';
import { X509Certificate, createHash } from 'node:crypto';
import { issuerIn } from './certificate-chain.js';
import { backdateMs, type RootCa } from './root-ca.js';
import {
  authorityKeyIdOf,
  generateKeys,
  keyAlgorithm,
  keyPairFromPem,
  loadX509,
  privateKeyToPem,
  randomSerialNumber,
  signingAlgorithm,
  signingKeyFromPem,
  type X509,
} from './x509.js';

export type NodeRole = 'manager' | 'worker';

/** Who a certificate says its holder is. */
export interface CertifiedIdentity {
  nodeId: NodeId;
  clusterId: ClusterId;
  role: NodeRole;
}

export const certificateLifeMsDefault = 90 * 24 * 3_600_000;
export const certificateLifeMsMin = 3_600_000;
export const requestBytesMax = 16 * 1024;
/** The name every manager's certificate answers to. */
export const managerServerName = 'swarm-manager';

const roleUnits = { manager: 'swarm-manager', worker: 'swarm-worker' } as const satisfies Record<
  NodeRole,
  string
>;

/** A fresh private key and a signed request for a certificate. The subject is left to the issuer. */
export async function createCertificateRequest(
  existingKeyPem?: string,
): Promise<{ keyPem: string; requestPem: string }> {
  const keys = existingKeyPem ? await keyPairFromPem(existingKeyPem) : await generateKeys();
  const x509 = await loadX509();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ name: [], keys, signingAlgorithm });
  return {
    keyPem: existingKeyPem ?? (await privateKeyToPem(keys.privateKey)),
    requestPem: `${request.toString('pem')}\n`,
  };
}

/** A request whose signature holds: its sender owns the key. */
export interface CheckedRequest {
  publicKey: X509.PublicKey;
  /** 16 bytes that name the key: a node that asks twice with one key is one node. */
  fingerprint: Buffer;
}

/** Reads a PKCS#10 request; `invalid-argument` when it is damaged, forged, or not for a P-256 key. */
export async function checkCertificateRequest(requestPem: string): Promise<CheckedRequest> {
  if (Buffer.byteLength(requestPem) > requestBytesMax) {
    throw new EnxameError('invalid-argument', `certificate request: over ${requestBytesMax} bytes`);
  }
  const x509 = await loadX509();
  try {
    const request = new x509.Pkcs10CertificateRequest(requestPem);
    const algorithm = request.publicKey.algorithm as { name?: string; namedCurve?: string };
    if (algorithm.name !== 'ECDSA' || algorithm.namedCurve !== keyAlgorithm.namedCurve) {
      throw new EnxameError('invalid-argument', 'certificate request: the key must be ECDSA P-256');
    }
    if (!(await request.verify())) {
      throw new EnxameError('invalid-argument', 'certificate request: the signature does not match');
    }
    const fingerprint = createHash('sha256')
      .update(Buffer.from(request.publicKey.rawData))
      .digest()
      .subarray(0, 16);
    return { publicKey: request.publicKey, fingerprint };
  } catch (error) {
    if (error instanceof EnxameError) throw error;
    throw new EnxameError('invalid-argument', 'certificate request: cannot be read', { cause: error });
  }
}

/** Signs a node's certificate; where the CA replaced another one, the certificate that leads there follows it. */
export async function issueNodeCertificate(options: {
  ca: RootCa;
  request: CheckedRequest;
  identity: CertifiedIdentity;
  nowMs: number;
  lifeMs?: number;
}): Promise<string> {
  const { ca, identity, nowMs } = options;
  const lifeMs = Math.max(options.lifeMs ?? certificateLifeMsDefault, certificateLifeMsMin);
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(ca.certificatePem);
  const { key, algorithm } = await signingKeyFromPem(ca.keyPem);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerialNumber(),
    subject: [{ O: [identity.clusterId] }, { OU: [roleUnits[identity.role]] }, { CN: [identity.nodeId] }],
    issuer: issuer.subjectName,
    notBefore: new Date(nowMs - backdateMs),
    // A node's certificate never outlives the root that signed it.
    notAfter: new Date(Math.min(nowMs + lifeMs, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: options.request.publicKey,
    signingKey: key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: identity.nodeId },
        { type: 'dns', value: roleUnits[identity.role] },
      ]),
      await authorityKeyIdOf(issuer),
    ],
  });
  return `${certificate.toString('pem')}\n${ca.crossSignedPem ?? ''}`;
}

/** Reads the identity out of a certificate's subject, as node:tls gives it. Undefined when it is not a node's. */
export function identityFromSubject(subject: {
  CN?: string | string[];
  OU?: string | string[];
  O?: string | string[];
}): CertifiedIdentity | undefined {
  const role = (Object.keys(roleUnits) as NodeRole[]).find((name) => roleUnits[name] === subject.OU);
  if (!role || typeof subject.CN !== 'string' || typeof subject.O !== 'string') return undefined;
  return { nodeId: subject.CN as NodeId, clusterId: subject.O as ClusterId, role };
}

export interface CertificateFacts {
  identity: CertifiedIdentity;
  notBeforeMs: number;
  notAfterMs: number;
}

/**
 * Checks that a node certificate was signed by this root, or leads to it, is valid now and names a node.
 * `unauthorized` with the failed rule otherwise.
 */
export function verifyNodeCertificate(options: {
  certificatePem: string;
  rootCertificatePem: string;
  nowMs: number;
}): CertificateFacts {
  const refuse = (rule: string): never => {
    throw new EnxameError('unauthorized', `node certificate: ${rule}`);
  };
  const certificate = new X509Certificate(options.certificatePem);
  issuerIn(options.certificatePem, options.rootCertificatePem);
  const notBeforeMs = Date.parse(certificate.validFrom);
  const notAfterMs = Date.parse(certificate.validTo);
  if (options.nowMs < notBeforeMs) refuse(`it is not valid before ${certificate.validFrom}`);
  if (options.nowMs > notAfterMs) refuse(`it expired at ${certificate.validTo}`);
  const identity = identityFromSubject(parseSubject(certificate.subject));
  if (!identity) throw new EnxameError('unauthorized', 'node certificate: its subject names no node');
  return { identity, notBeforeMs, notAfterMs };
}

/** node:crypto gives a subject as lines of `KEY=value`. */
function parseSubject(subject: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const line of subject.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1);
  }
  return fields;
}
