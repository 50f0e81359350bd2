/**
 * Reads the members of an image archive one after another. Only what such archives hold: files, links, folders. It
 * is stricter than a general reader, and every size is bounded before anything is kept in memory.
 */
import { EnxameError } from '#libs/model';

const blockBytes = 512;
const specialBytesMax = 1024 * 1024;
const membersMaxDefault = 100_000;

export type MemberType = 'file' | 'link' | 'symlink' | 'folder' | 'character' | 'block' | 'fifo' | 'other';

export interface ArchiveMember {
  /** As written, without leading `./` or `/`. */
  name: string;
  type: MemberType;
  /** Target of a link. */
  link: string;
  sizeBytes: number;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  device: { major: number; minor: number };
  /** By name, as pax headers carry them. */
  xattrs: ReadonlyMap<string, Buffer>;
  /** Read it to its end, or not at all, before asking for the next member. */
  content: AsyncIterable<Buffer>;
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid image archive: ${message}`);
}

/** Cuts a stream of chunks into pieces of asked lengths. */
class ByteReader {
  private readonly iterator: AsyncIterator<Buffer>;
  private chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  /** At most `bytesMax` bytes; undefined at the end. */
  async some(bytesMax: number): Promise<Buffer | undefined> {
    while (this.chunk.length === 0) {
      const next = await this.iterator.next();
      if (next.done === true) return undefined;
      this.chunk = next.value;
    }
    const piece = this.chunk.subarray(0, bytesMax);
    this.chunk = this.chunk.subarray(piece.length);
    return piece;
  }

  async *exactly(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      const piece = await this.some(left);
      if (piece === undefined) throw invalid('it ends in the middle of a file');
      left -= piece.length;
      yield piece;
    }
  }

  async whole(bytes: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.exactly(bytes)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /** A whole block, or undefined at the end of the input. */
  async block(): Promise<Buffer | undefined> {
    const first = await this.some(blockBytes);
    if (first === undefined || first.length === blockBytes) return first;
    return Buffer.concat([first, await this.whole(blockBytes - first.length)]);
  }

  /** What fills a member's last block. Some programs end without that of the last member: Go's reader lets it pass. */
  async padding(contentBytes: number): Promise<void> {
    for (let left = -contentBytes & (blockBytes - 1); left > 0; ) {
      const piece = await this.some(left);
      if (piece === undefined) return;
      left -= piece.length;
    }
  }

  async drain(): Promise<void> {
    while ((await this.some(Number.MAX_SAFE_INTEGER)) !== undefined) continue;
  }

  async close(): Promise<void> {
    await this.iterator.return?.();
  }
}

function field(block: Buffer, at: number, length: number): string {
  const bytes = block.subarray(at, at + length);
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? length : end);
}

function parseNumber(block: Buffer, at: number, length: number, what: string): number {
  const first = block[at] ?? 0;
  let value = 0;
  if ((first & 0x80) !== 0) {
    if ((first & 0x40) !== 0) throw invalid(`${what} is negative`);
    value = first & 0x3f;
    for (let i = 1; i < length; i++) value = value * 256 + (block[at + i] ?? 0);
  } else {
    const text = field(block, at, length).trim();
    if (!/^[0-7]*$/.test(text)) throw invalid(`${what} is not a number`);
    value = text === '' ? 0 : Number.parseInt(text, 8);
  }
  if (!Number.isSafeInteger(value)) throw invalid(`${what} is too large`);
  return value;
}

function checkHeader(block: Buffer): void {
  let sum = 0;
  for (let i = 0; i < blockBytes; i++) sum += i >= 148 && i < 156 ? 32 : (block[i] ?? 0);
  if (parseNumber(block, 148, 8, 'a checksum') !== sum) {
    throw invalid('a header has a wrong checksum; it is not a tar archive');
  }
}

interface Extension {
  path?: string;
  linkpath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  xattrs?: Map<string, Buffer>;
}

const xattrPrefix = 'SCHILY.xattr.';

function parsePax(data: Buffer): Extension {
  const extension: Extension = {};
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(32, at);
    const digits = space < 0 ? '' : data.toString('latin1', at, space);
    const length = /^[0-9]{1,7}$/.test(digits) ? Number(digits) : 0;
    if (length < digits.length + 3 || at + length > data.length)
      throw invalid('an extended header is malformed');
    const record = data.subarray(space + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (equals < 0) throw invalid('an extended header is malformed');
    const key = record.toString('utf8', 0, equals);
    const value = record.toString('utf8', equals + 1);
    if (key === 'path') extension.path = value;
    if (key === 'linkpath') extension.linkpath = value;
    if (key === 'size') {
      extension.size = Number(value);
      if (!Number.isSafeInteger(extension.size) || extension.size < 0)
        throw invalid('a size is not a number');
    }
    if (key === 'uid' || key === 'gid') extension[key] = wholeNumber(value, `a ${key}`);
    if (key === 'mtime') extension.mtime = Math.floor(Number(value)) || 0;
    if (key.startsWith(xattrPrefix)) {
      extension.xattrs ??= new Map();
      extension.xattrs.set(key.slice(xattrPrefix.length), Buffer.from(record.subarray(equals + 1)));
    }
    at += length;
  }
  return extension;
}

function wholeNumber(text: string, what: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`${what} is not a number`);
  return value;
}

const memberTypes: Record<string, ArchiveMember['type']> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'folder',
  '6': 'fifo',
};

/** The fields of a header that are not its name; a time that no clock shows counts as none. */
function detailsOf(
  block: Buffer,
  extension: Extension,
): Pick<ArchiveMember, 'mode' | 'uid' | 'gid' | 'mtimeSeconds' | 'device' | 'xattrs'> {
  const isNegative = ((block[136] ?? 0) & 0xc0) === 0xc0;
  return {
    mode: parseNumber(block, 100, 8, 'a mode') & 0o7777,
    uid: extension.uid ?? parseNumber(block, 108, 8, 'a user id'),
    gid: extension.gid ?? parseNumber(block, 116, 8, 'a group id'),
    mtimeSeconds: extension.mtime ?? (isNegative ? 0 : parseNumber(block, 136, 12, 'a time')),
    device: {
      major: parseNumber(block, 329, 8, 'a device number'),
      minor: parseNumber(block, 337, 8, 'a device number'),
    },
    xattrs: extension.xattrs ?? new Map<string, Buffer>(),
  };
}

function nameOf(block: Buffer): string {
  const prefix = field(block, 257, 6) === 'ustar' ? field(block, 345, 155) : '';
  const name = field(block, 0, 100);
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Throws `invalid-argument` when the bytes are no tar archive, are cut, or pass a limit. */
export async function* readArchive(
  source: AsyncIterable<Buffer>,
  membersMax = membersMaxDefault,
): AsyncGenerator<ArchiveMember> {
  const reader = new ByteReader(source);
  const special = async (size: number): Promise<Buffer> => {
    if (size > specialBytesMax)
      throw invalid(`an extended header has ${size} bytes, at most ${specialBytesMax} are allowed`);
    const data = await reader.whole(size);
    await reader.whole(-size & (blockBytes - 1));
    return data;
  };
  let extension: Extension = {};
  let members = 0;
  try {
    for (;;) {
      const block = await reader.block();
      if (block === undefined || block.every((byte) => byte === 0)) break;
      checkHeader(block);
      if (++members > membersMax) throw invalid(`it has more than ${membersMax} members`);
      const type = String.fromCharCode(block[156] ?? 0);
      const size = parseNumber(block, 124, 12, 'a size');
      if (type === 'x') extension = { ...extension, ...parsePax(await special(size)) };
      else if (type === 'L') extension.path = field(await special(size), 0, size);
      else if (type === 'K') extension.linkpath = field(await special(size), 0, size);
      else if (type === 'g') await special(size);
      else {
        const name = extension.path ?? nameOf(block);
        const said = memberTypes[type] ?? 'other';
        // Before ustar a folder was a file whose name ends in a slash.
        const memberType = said === 'file' && name.endsWith('/') ? 'folder' : said;
        const sizeBytes =
          memberType === 'file' ? (extension.size ?? size) : memberType === 'other' ? size : 0;
        const content = reader.exactly(sizeBytes);
        yield {
          name: name.replace(/^(?:\.?\/)+/, ''),
          type: memberType,
          link: extension.linkpath ?? field(block, 157, 100),
          sizeBytes,
          ...detailsOf(block, extension),
          content,
        };
        extension = {};
        // A consumer that skips a member has not started its content; one that stops half-way is a mistake.
        for await (const _rest of content) continue;
        await reader.padding(sizeBytes);
      }
    }
    if (members === 0) throw invalid('it is empty');
    await reader.drain();
  } finally {
    await reader.close();
  }
}
