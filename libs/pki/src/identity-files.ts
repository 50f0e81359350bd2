/**
 * A node's identity on disk. Key, certificate (with those that lead from it to an older root) and root certificate are
 * one file, so that a crash in the middle of a renewal can never leave a key that does not fit its certificate.
 */
import { EnxameError } from '#libs/model';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { verifyNodeCertificate, type CertificateFacts } from './node-certificate.js';

export interface NodeIdentity extends CertificateFacts {
  keyPem: string;
  certificatePem: string;
  rootCertificatePem: string;
}

const identityFile = 'certificates/node-identity.pem';
const pendingKeyFile = 'certificates/pending-key.pem';

/**
 * Reads the node's identity. Undefined when the node has none yet; `data-damaged` when the file is there but is not
 * a whole identity. An expired certificate is returned: its holder has to renew or join again, and must be told.
 */
export function readNodeIdentity(stateDir: string): NodeIdentity | undefined {
  const file = join(stateDir, identityFile);
  const text = readIfPresent(file);
  if (text === undefined) return undefined;
  const [keyPem, ...certificates] =
    text.match(/-----BEGIN [A-Z ]+-----[\s\S]+?-----END [A-Z ]+-----\n?/g) ?? [];
  const rootCertificatePem = certificates.pop();
  if (!keyPem || !rootCertificatePem || certificates.length === 0) {
    throw new EnxameError('data-damaged', `${file}: expected a key and two certificates`);
  }
  return identityFrom({ keyPem, certificatePem: certificates.join(''), rootCertificatePem }, file);
}

function identityFrom(
  pems: { keyPem: string; certificatePem: string; rootCertificatePem: string },
  where: string,
): NodeIdentity {
  try {
    const certificate = new X509Certificate(pems.certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(pems.keyPem))) {
      throw new EnxameError('data-damaged', 'the key does not fit the certificate');
    }
    // Validity is judged at its beginning: an expired identity is still an identity.
    const facts = verifyNodeCertificate({ ...pems, nowMs: Date.parse(certificate.validFrom) });
    return { ...pems, ...facts };
  } catch (error) {
    throw new EnxameError('data-damaged', `${where}: not a node identity`, { cause: error });
  }
}

/** Writes the identity, 0600, atomically. The pending key is done with. */
export function writeNodeIdentity(
  stateDir: string,
  pems: { keyPem: string; certificatePem: string; rootCertificatePem: string },
): NodeIdentity {
  const file = join(stateDir, identityFile);
  const identity = identityFrom(pems, 'the issued certificate');
  const ended = (pem: string): string => (pem.endsWith('\n') ? pem : `${pem}\n`);
  writeAtomically(file, ended(pems.keyPem) + ended(pems.certificatePem) + ended(pems.rootCertificatePem));
  rmSync(join(stateDir, pendingKeyFile), { force: true });
  return identity;
}

/** The key of a join that has begun. It is kept until the join is done, so that a join tried again is the same node. */
export function readPendingKey(stateDir: string): string | undefined {
  return readIfPresent(join(stateDir, pendingKeyFile));
}

export function writePendingKey(stateDir: string, keyPem: string): void {
  writeAtomically(join(stateDir, pendingKeyFile), keyPem);
}

/** Undefined when there is no such file. */
export function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** 0600, durable when it returns. */
export function writeAtomically(file: string, text: string): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = `${file}.new`;
  const fd = openSync(temporary, 'w', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, file);
  const folderFd = openSync(folder, 'r');
  try {
    fsyncSync(folderFd);
  } finally {
    closeSync(folderFd);
  }
}
