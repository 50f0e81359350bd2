/**
 * Encryption at rest: AES-256-GCM, one key per file, one nonce per frame.
 *
 * - A file's key is derived (HKDF-SHA-256, RFC 5869) from the node's storage key and the file's own random salt of 32
 *   bytes, which is in its header with the storage key's id. So keys rotate file by file.
 * - A frame's nonce is 12 random bytes, stored with it. It is never counted: after a crash the same place in the same
 *   file is written again with other content, which under a counter would be the same key with the same nonce. A file
 *   holds far fewer than the 2^32 frames that random nonces allow (NIST SP 800-38D, 8.3).
 * - Associated data are the digest of the file's header, which names kind, sequence and cluster, and the frame's
 *   offset: a frame that is moved within a file or to another one does not open.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { EnxameError } from '#libs/model';

export interface StorageKey {
  /** Not secret. */
  id: string;
  /** 32 bytes. */
  key: Uint8Array;
}

/** What a file's header says of its encryption; nothing when there is none. */
export interface CipherHeader {
  keyId: string;
  /** Base64. */
  salt: string;
}

export interface FileCipher {
  seal(payload: Uint8Array, offset: number): Uint8Array[];
  /** Throws when the bytes are not what was sealed for this place with this key. */
  open(stored: Buffer, offset: number): Buffer;
}

const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
export const cipherExtraBytes = nonceBytes + tagBytes;

export const plain: FileCipher = {
  seal: (payload) => [payload],
  open: (stored) => stored,
};

/** For a new file: with the first key, which is the current one. */
export function newCipherHeader(keys: readonly StorageKey[]): CipherHeader | undefined {
  const [key] = keys;
  return key === undefined ? undefined : { keyId: key.id, salt: randomBytes(32).toString('base64') };
}

/** `headerBytes` are the file's whole first frame; `path` is for the words of an error. */
export function fileCipher(options: {
  header: CipherHeader | undefined;
  headerBytes: Uint8Array;
  keys: readonly StorageKey[];
  path: string;
}): FileCipher {
  const { header, keys, path } = options;
  if (header === undefined) return plain;
  const storageKey = keys.find((key) => key.id === header.keyId);
  if (storageKey === undefined) {
    throw new EnxameError(
      'failed-precondition',
      `${path} is encrypted with key ${header.keyId}, which is not among this node's keys`,
    );
  }
  const salt = Buffer.from(header.salt, 'base64');
  const key = Buffer.from(hkdfSync('sha256', storageKey.key, salt, 'enxame raft file', 32));
  const digest = createHash('sha256').update(options.headerBytes).digest();
  const placeOf = (offset: number): Buffer => {
    const place = Buffer.allocUnsafe(digest.length + 8);
    digest.copy(place);
    place.writeBigUInt64LE(BigInt(offset), digest.length);
    return place;
  };
  return {
    seal(payload, offset) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagBytes });
      cipher.setAAD(placeOf(offset));
      const sealed = cipher.update(payload);
      cipher.final();
      return [nonce, sealed, cipher.getAuthTag()];
    },
    open(stored, offset) {
      if (stored.length < cipherExtraBytes) throw new Error('too short for an encrypted frame');
      const decipher = createDecipheriv(algorithm, key, stored.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      });
      decipher.setAAD(placeOf(offset));
      decipher.setAuthTag(stored.subarray(-tagBytes));
      const payload = decipher.update(stored.subarray(nonceBytes, -tagBytes));
      decipher.final();
      return payload;
    },
  };
}
