/** The first frame of every file: what it is, whose it is, how it is encrypted. Readable without a key. */
import { EnxameError } from '#libs/model';
import { type CipherHeader, type FileCipher, fileCipher, type StorageKey } from './file-cipher.js';
import type { FileWindow } from './file-window.js';
import { encodeFrame, frameChain, isEarlierFormat, readFrame } from './frame.js';

export const fileFormat = 2;

/** Whose files these are. */
export interface FileOwner {
  /** Once known: files of another cluster are refused. */
  clusterId?: string;
  /** The first one is for new files. None: new files are not encrypted. */
  keys: readonly StorageKey[];
}

/** The fields that every header has beside its own. */
interface HeaderFields {
  format: number;
  kind: 'segment' | 'snapshot';
  clusterId?: string;
  cipher?: CipherHeader;
}

export function encodeHeader(
  fields: Record<string, unknown> & { kind: HeaderFields['kind'] },
  owner: FileOwner,
  cipher: CipherHeader | undefined,
): { frame: Buffer; chain: number } {
  const header: HeaderFields = {
    format: fileFormat,
    ...fields,
    ...(owner.clusterId === undefined ? {} : { clusterId: owner.clusterId }),
    ...(cipher === undefined ? {} : { cipher }),
  };
  const frame = encodeFrame([Buffer.from(JSON.stringify(header), 'utf8')], 0);
  return { frame, chain: frameChain(frame) };
}

export interface ReadHeader {
  fields: HeaderFields & Record<string, unknown>;
  cipher: FileCipher;
  keyId: string | undefined;
  chain: number;
  end: number;
}

/** Refuses what is damaged, of another format or another cluster, or encrypted with a key that is not there. */
export function readHeader(file: FileWindow, path: string, owner: FileOwner): ReadHeader {
  const read = readFrame(file, 0, 0);
  if (read.kind !== 'frame') {
    if (isEarlierFormat(file)) throw ofOtherFormat(path, 1);
    throw damaged(path, 0, 'the header is not whole');
  }
  const fields = parseJson(path, 0, read.stored) as ReadHeader['fields'];
  if (fields.format !== fileFormat) throw ofOtherFormat(path, fields.format);
  if (
    fields.clusterId !== undefined &&
    owner.clusterId !== undefined &&
    fields.clusterId !== owner.clusterId
  ) {
    throw new EnxameError(
      'conflict',
      `${path} belongs to cluster ${fields.clusterId}, this node is of cluster ${owner.clusterId}`,
    );
  }
  const cipher = fileCipher({
    header: fields.cipher,
    headerBytes: file.bytes(0, read.end),
    keys: owner.keys,
    path,
  });
  return { fields, cipher, keyId: fields.cipher?.keyId, chain: read.chain, end: read.end };
}

export function openPayload(cipher: FileCipher, stored: Buffer, path: string, offset: number): Buffer {
  try {
    return cipher.open(stored, offset);
  } catch (cause) {
    throw damaged(path, offset, 'the frame was not encrypted for this place with this key', cause);
  }
}

export function parseJson(path: string, offset: number, payload: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(payload.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw damaged(path, offset, 'the frame holds no valid record');
}

export function damaged(path: string, offset: number, reason: string, cause?: unknown): EnxameError {
  const what = path.endsWith('.snapshot') ? 'raft snapshot' : 'raft log';
  return new EnxameError('data-damaged', `${what} ${path} at offset ${offset}: ${reason}`, { cause });
}

function ofOtherFormat(path: string, format: unknown): EnxameError {
  return new EnxameError(
    'failed-precondition',
    `${path} is of format ${String(format)}, written by another version of Enxame; this one reads format ` +
      `${fileFormat}. Start the version that wrote it, or remove the node's state folder to begin anew`,
  );
}
