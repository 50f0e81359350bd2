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
import { parseUnlockKey } from './unlock-key.js';

export interface NodeIdentity extends CertificateFacts {
  keyPem: string;
  certificatePem: string;
  rootCertificatePem: string;
}

const identityFile = 'certificates/node-identity.pem';
const sealedKeyBegin = '-----BEGIN ENCRYPTED PRIVATE KEY-----';
const pendingKeyFile = 'certificates/pending-key.pem';

type Pems = Pick<NodeIdentity, 'keyPem' | 'certificatePem' | 'rootCertificatePem'>;

export type StoredIdentity =
  | { kind: 'open'; facts: CertificateFacts; identity: NodeIdentity }
  /** `open` refuses another key than it was sealed with, with `unauthorized`. */
  | { kind: 'sealed'; facts: CertificateFacts; open(unlockKey: string): NodeIdentity };

/**
 * Reads the node's identity. Undefined when the node has none yet; `data-damaged` when the file is there but is not
 * a whole identity. An expired certificate is returned: its holder has to renew or join again, and must be told.
 */
export function readStoredIdentity(stateDir: string): StoredIdentity | undefined {
  const file = join(stateDir, identityFile);
  const text = readIfPresent(file);
  if (text === undefined) return undefined;
  const [keyPem, ...certificates] =
    text.match(/-----BEGIN [A-Z ]+-----[\s\S]+?-----END [A-Z ]+-----\n?/g) ?? [];
  const rootCertificatePem = certificates.pop();
  if (!keyPem || !rootCertificatePem || certificates.length === 0) {
    throw new EnxameError('data-damaged', `${file}: expected a key and two certificates`);
  }
  const pems = { keyPem, certificatePem: certificates.join(''), rootCertificatePem };
  if (keyPem.startsWith(sealedKeyBegin)) {
    const facts = factsOf(pems, file);
    return {
      kind: 'sealed',
      facts,
      open: (unlockKey) => identityFrom({ ...pems, keyPem: unsealed(keyPem, unlockKey, file) }, file),
    };
  }
  const identity = identityFrom(pems, file);
  return { kind: 'open', facts: identity, identity };
}

/** As `readStoredIdentity`, for a node whose key is not sealed: `failed-precondition` where it is. */
export function readNodeIdentity(stateDir: string): NodeIdentity | undefined {
  const stored = readStoredIdentity(stateDir);
  if (stored?.kind !== 'sealed') return stored?.identity;
  throw new EnxameError('failed-precondition', `${join(stateDir, identityFile)}: its key is sealed`);
}

function factsOf(pems: Omit<Pems, 'keyPem'>, where: string): CertificateFacts {
  try {
    // Validity is judged at its beginning: an expired identity is still an identity.
    const nowMs = Date.parse(new X509Certificate(pems.certificatePem).validFrom);
    return verifyNodeCertificate({ ...pems, nowMs });
  } catch (error) {
    throw new EnxameError('data-damaged', `${where}: not a node identity`, { cause: error });
  }
}

function identityFrom(pems: Pems, where: string): NodeIdentity {
  const facts = factsOf(pems, where);
  try {
    const certificate = new X509Certificate(pems.certificatePem);
    const { keyPem, certificatePem, rootCertificatePem } = pems;
    const fits = certificate.checkPrivateKey(createPrivateKey(keyPem));
    if (fits) return { keyPem, certificatePem, rootCertificatePem, ...facts };
  } catch (error) {
    throw new EnxameError('data-damaged', `${where}: not a node identity`, { cause: error });
  }
  throw new EnxameError(
    'data-damaged',
    `${where}: not a node identity: the key does not fit the certificate`,
  );
}

/** PKCS#8 as any tool reads it. The passphrase has 256 random bits: how fast it can be tried is no matter. */
function sealed(keyPem: string, unlockKey: string): string {
  const cipher = { cipher: 'aes-256-cbc', passphrase: parseUnlockKey(unlockKey) };
  return createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'pem', ...cipher }) as string;
}

function unsealed(keyPem: string, unlockKey: string, where: string): string {
  try {
    const key = createPrivateKey({ key: keyPem, passphrase: parseUnlockKey(unlockKey) });
    return key.export({ type: 'pkcs8', format: 'pem' }) as string;
  } catch (cause) {
    throw new EnxameError('unauthorized', `${where}: the key is sealed with another unlock key`, { cause });
  }
}

/** Writes the identity, 0600, atomically; its key sealed where there is an unlock key. The pending key is done with. */
export function writeNodeIdentity(stateDir: string, pems: Pems, unlockKey?: string): NodeIdentity {
  const file = join(stateDir, identityFile);
  const identity = identityFrom(pems, 'the issued certificate');
  const ended = (pem: string): string => (pem.endsWith('\n') ? pem : `${pem}\n`);
  const keyPem = unlockKey === undefined ? pems.keyPem : sealed(pems.keyPem, unlockKey);
  writeAtomically(file, ended(keyPem) + ended(pems.certificatePem) + ended(pems.rootCertificatePem));
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
