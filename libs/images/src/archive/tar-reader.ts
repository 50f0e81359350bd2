/**
 * Reads the members of an image archive one after another. Only what such archives hold: files, links, folders. It
 * is stricter than a general reader, and every size is bounded before anything is kept in memory.
 */
import { EnxameError } from '#libs/model';

const blockBytes = 512;
const specialBytesMax = 1024 * 1024;
const membersMax = 100_000;

export interface ArchiveMember {
  /** As written, without leading `./` or `/`. */
  name: string;
  type: 'file' | 'link' | 'symlink' | 'other';
  /** Target of a link. */
  link: string;
  sizeBytes: number;
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
}

function parsePax(data: Buffer): Extension {
  const extension: Extension = {};
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(32, at);
    const digits = space < 0 ? '' : data.toString('latin1', at, space);
    const length = /^[0-9]{1,7}$/.test(digits) ? Number(digits) : 0;
    if (length < digits.length + 3 || at + length > data.length)
      throw invalid('an extended header is malformed');
    const record = data.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (equals < 0) throw invalid('an extended header is malformed');
    const key = record.slice(0, equals);
    const value = record.slice(equals + 1);
    if (key === 'path') extension.path = value;
    if (key === 'linkpath') extension.linkpath = value;
    if (key === 'size') {
      extension.size = Number(value);
      if (!Number.isSafeInteger(extension.size) || extension.size < 0)
        throw invalid('a size is not a number');
    }
    at += length;
  }
  return extension;
}

const memberTypes: Record<string, ArchiveMember['type']> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
};

function nameOf(block: Buffer): string {
  const prefix = field(block, 257, 6) === 'ustar' ? field(block, 345, 155) : '';
  const name = field(block, 0, 100);
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Throws `invalid-argument` when the bytes are no tar archive, are cut, or pass a limit. */
export async function* readArchive(source: AsyncIterable<Buffer>): AsyncGenerator<ArchiveMember> {
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
        const memberType = memberTypes[type] ?? 'other';
        const sizeBytes =
          memberType === 'file' ? (extension.size ?? size) : memberType === 'other' ? size : 0;
        const content = reader.exactly(sizeBytes);
        yield {
          name: (extension.path ?? nameOf(block)).replace(/^(?:\.?\/)+/, ''),
          type: memberType,
          link: extension.linkpath ?? field(block, 157, 100),
          sizeBytes,
          content,
        };
        extension = {};
        // A consumer that skips a member has not started its content; one that stops half-way is a mistake.
        for await (const _rest of content) continue;
        await reader.whole(-sizeBytes & (blockBytes - 1));
      }
    }
    if (members === 0) throw invalid('it is empty');
    await reader.drain();
  } finally {
    await reader.close();
  }
}
