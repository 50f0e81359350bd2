/** Layers and archives come plain, as gzip or as zstd; the first bytes say which, media types often lie. */
import { EnxameError } from '#libs/model';
import { Decompress } from 'fzstd';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { errnoOf } from './disk.js';

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

const magicNumbers: [Exclude<Compression, 'none'>, number[]][] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
];
const magicBytes = 6;

export function detectCompression(start: Uint8Array): Compression {
  return magicNumbers.find(([, magic]) => magic.every((byte, i) => start[i] === byte))?.[0] ?? 'none';
}

/** A zstd block of a few bytes can unpack to 128 KiB: small steps bound what is in memory at once. */
const zstdStepBytes = 1024;

async function* unzstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let ready: Buffer[] = [];
  const decompressor = new Decompress((chunk) => {
    if (chunk.length > 0) ready.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
  });
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; at += zstdStepBytes) {
      decompressor.push(chunk.subarray(at, at + zstdStepBytes));
      const take = ready;
      ready = [];
      yield* take;
    }
  }
  decompressor.push(new Uint8Array(0), true);
  yield* ready;
}

async function* gunzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const unzipped = createGunzip({ chunkSize: 256 * 1024 });
  const input = Readable.from(source, { objectMode: false });
  // An input that fails must fail the output: pipe alone does not carry errors over.
  input.on('error', (error) => unzipped.destroy(error));
  input.pipe(unzipped);
  try {
    yield* unzipped as AsyncIterable<Buffer>;
  } finally {
    input.destroy();
    unzipped.destroy();
  }
}

async function* chained(head: Buffer[], rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* head;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

/** Yields the plain bytes. Throws `invalid-argument` when `source` is damaged; `what` names it. */
export async function* decompress(source: AsyncIterable<Buffer>, what: string): AsyncGenerator<Buffer> {
  const iterator = source[Symbol.asyncIterator]();
  const head: Buffer[] = [];
  let length = 0;
  while (length < magicBytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    head.push(next.value);
    length += next.value.length;
  }
  const compression = detectCompression(Buffer.concat(head).subarray(0, magicBytes));
  const all = chained(head, iterator);
  if (compression === 'bzip2' || compression === 'xz') {
    await all.return(undefined);
    await iterator.return?.();
    throw new EnxameError(
      'not-implemented',
      `${what} is compressed with ${compression}, which is not supported`,
    );
  }
  if (compression === 'none') {
    yield* all;
    return;
  }
  try {
    yield* compression === 'gzip' ? gunzip(all) : unzstd(all);
  } catch (error) {
    const isDamage =
      compression === 'zstd' ? !(error instanceof EnxameError) && errnoOf(error) === undefined : false;
    if (isDamage || errnoOf(error)?.startsWith('Z_') === true) {
      throw new EnxameError('invalid-argument', `${what} is damaged: not valid ${compression}`, {
        cause: error,
      });
    }
    throw error;
  }
}
