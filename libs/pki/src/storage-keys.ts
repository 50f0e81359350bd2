/**
 * The keys that a manager's log and snapshots are encrypted with: `storage-keys.json` in the node's state folder. With
 * autolock on, they are sealed (AES-256-GCM) under a key derived (HKDF-SHA-256) from the cluster's unlock key and a
 * random salt, and nothing on the node's disk opens them.
 */
import { EnxameError } from '#libs/model';
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readIfPresent, writeAtomically } from './identity-files.js';
import { parseUnlockKey } from './unlock-key.js';

export interface StorageKey {
  /** Not secret. */
  id: string;
  /** 32 bytes. */
  key: Buffer;
}

export type StorageKeys =
  | { kind: 'open'; keys: StorageKey[] }
  /** `open` refuses a wrong key with `invalid-argument`, in Docker's words. */
  | { kind: 'locked'; open(unlockKey: string): StorageKey[] };

export const storageKeysFile = 'storage-keys.json';
const format = 1;
const algorithm = 'aes-256-gcm';
const tagBytes = 16;
const wrongKey = 'swarm could not be unlocked: invalid key provided';

interface Stored {
  format: typeof format;
  keys?: { id: string; key: string }[];
  /** Base64. */
  sealed?: { salt: string; nonce: string; keys: string };
}

export function makeStorageKey(): StorageKey {
  return { id: randomBytes(8).toString('hex'), key: randomBytes(32) };
}

/** Undefined when there are none yet; `data-damaged` when the file is not whole. */
export function readStorageKeys(stateDir: string): StorageKeys | undefined {
  return readStorageKeysFile(join(stateDir, storageKeysFile));
}

export function readStorageKeysFile(file: string): StorageKeys | undefined {
  const text = readIfPresent(file);
  if (text === undefined) return undefined;
  const stored = parseStored(text, file);
  const { keys, sealed } = stored;
  if (keys !== undefined) return { kind: 'open', keys: keys.map(decode) };
  if (sealed === undefined) throw new EnxameError('data-damaged', `${file}: it holds no keys`);
  return { kind: 'locked', open: (unlockKey) => unseal(sealed, unlockKey) };
}

/** Atomically, 0600. The first key is the one to write with; with an unlock key, all of them are sealed. */
export function writeStorageKeys(
  stateDir: string,
  keys: readonly StorageKey[],
  unlockKey: string | undefined,
): void {
  const plain = keys.map(({ id, key }) => ({ id, key: key.toString('base64') }));
  const stored: Stored =
    unlockKey === undefined ? { format, keys: plain } : { format, sealed: seal(plain, unlockKey) };
  writeAtomically(join(stateDir, storageKeysFile), `${JSON.stringify(stored, null, 2)}\n`);
}

function seal(keys: { id: string; key: string }[], unlockKey: string): NonNullable<Stored['sealed']> {
  const [salt, nonce] = [randomBytes(32), randomBytes(12)];
  const cipher = createCipheriv(algorithm, wrappingKey(unlockKey, salt), nonce);
  const sealed = Buffer.concat([
    cipher.update(JSON.stringify(keys), 'utf8'),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  const [saltText, nonceText, keysText] = [salt, nonce, sealed].map((bytes) => bytes.toString('base64'));
  return { salt: saltText ?? '', nonce: nonceText ?? '', keys: keysText ?? '' };
}

function unseal(sealed: NonNullable<Stored['sealed']>, unlockKey: string): StorageKey[] {
  const [salt, nonce, bytes] = [sealed.salt, sealed.nonce, sealed.keys].map((text) =>
    Buffer.from(text, 'base64'),
  );
  if (salt === undefined || nonce === undefined || bytes === undefined)
    throw new Error('three texts, three buffers');
  const key = wrappingKey(unlockKey, salt);
  try {
    const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: tagBytes });
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    const text = Buffer.concat([decipher.update(bytes.subarray(0, -tagBytes)), decipher.final()]).toString(
      'utf8',
    );
    return (JSON.parse(text) as { id: string; key: string }[]).map(decode);
  } catch (cause) {
    throw new EnxameError('invalid-argument', wrongKey, { cause });
  }
}

function wrappingKey(unlockKey: string, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', parseUnlockKey(unlockKey), salt, 'enxame storage keys', 32));
}

function decode({ id, key }: { id: string; key: string }): StorageKey {
  return { id, key: Buffer.from(key, 'base64') };
}

function parseStored(text: string, file: string): Stored {
  try {
    const value = JSON.parse(text) as Partial<Stored>;
    if (value.format === format) return value as Stored;
  } catch {
    // Said below.
  }
  throw new EnxameError('data-damaged', `${file}: not a file of storage keys of format ${format}`);
}
