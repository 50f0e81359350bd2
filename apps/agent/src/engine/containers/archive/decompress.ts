/** An archive as a client sends it: plain, or compressed by gzip, bzip2, xz or zstd. */
import { EnxameError } from '#libs/model';
import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

const longestMagic = 6;

const programs: readonly { magic: readonly number[]; command: string }[] = [
  { magic: [0x42, 0x5a, 0x68], command: 'bzip2' },
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], command: 'xz' },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], command: 'zstd' },
];

/** Resolves when everything has been written. Throws `invalid-argument` for what cannot be decompressed. */
export async function decompressed(from: Readable, to: Writable): Promise<void> {
  const { head, rest } = await peek(from);
  const starts = (magic: readonly number[]): boolean => magic.every((byte, index) => head[index] === byte);
  try {
    if (starts([0x1f, 0x8b])) await pipeline(rest, createGunzip(), to);
    else {
      const program = programs.find(({ magic }) => starts(magic));
      if (program === undefined) await pipeline(rest, to);
      else await through(program.command, rest, to);
    }
  } catch (error) {
    to.destroy(error instanceof Error ? error : new Error(String(error)));
    // Whoever reads says what is wrong with the archive.
  }
}

async function peek(from: Readable): Promise<{ head: Buffer; rest: Readable }> {
  const rest = new PassThrough();
  const chunks: Buffer[] = [];
  let length = 0;
  const iterator = from[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  while (length < longestMagic) {
    const next = await iterator.next();
    if (next.done === true) break;
    chunks.push(next.value);
    length += next.value.length;
  }
  const head = Buffer.concat(chunks);
  const forward = async (): Promise<void> => {
    if (head.length > 0) rest.write(head);
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      if (!rest.write(next.value)) await new Promise<void>((resolve) => rest.once('drain', resolve));
    }
    rest.end();
  };
  forward().catch((error: unknown) => rest.destroy(error instanceof Error ? error : undefined));
  return { head, rest };
}

async function through(command: string, from: Readable, to: Writable): Promise<void> {
  const child = spawn(command, ['-d', '-c'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const failed = new Promise<never>((_resolve, reject) => {
    child.once('error', () =>
      reject(
        new EnxameError('invalid-argument', `this node has no ${command} to decompress the archive with`),
      ),
    );
  });
  await Promise.race([failed, Promise.all([pipeline(from, child.stdin), pipeline(child.stdout, to)])]);
}
