/** The C program that writes layers: Node has neither mknod nor extended attributes nor openat2. */
import { EnxameError, type Digest } from '#libs/model';
import { spawn, type StdioOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../content/disk.js';

const exitBadArchive = 1;
const exitNoSpace = 3;
const messageBytesMax = 4096;

/** Sources and emitted files lie at different depths below the same project folder. */
export function defaultUnpackProgram(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return join(folder, 'libs', 'images', 'native', 'build', 'enxame-unpack');
}

interface Run {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  output: string;
  message: string;
}

/** What a program reads: a stream, or a file that it reads itself, which `growth` may say is still being written. */
export type ProgramInput = AsyncIterable<Buffer> | { descriptor: number; growth?: AsyncIterable<Buffer> };

/** What the program has as descriptors 0, 1, ..., and what is written to its stdin. */
function wiringOf(given: ProgramInput | undefined): { stdio: StdioOptions; input?: AsyncIterable<Buffer> } {
  if (given === undefined) return { stdio: ['ignore', 'pipe', 'pipe'] };
  if (!('descriptor' in given)) return { stdio: ['pipe', 'pipe', 'pipe'], input: given };
  const { descriptor, growth } = given;
  if (growth === undefined) return { stdio: [descriptor, 'pipe', 'pipe'] };
  return { stdio: ['pipe', 'pipe', 'pipe', descriptor], input: growth };
}

async function run(program: string, argv: string[], given: ProgramInput | undefined): Promise<Run> {
  const { stdio, input } = wiringOf(given);
  const child = spawn(program, argv, { stdio, env: {} });
  let output = '';
  let message = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (message.length < messageBytesMax) message += text;
  });
  const ended = new Promise<Run>((fulfil, reject) => {
    child.once('error', (error) =>
      reject(new EnxameError('internal', `cannot run ${program}`, { cause: error })),
    );
    child.once('close', (exitCode, signal) => fulfil({ exitCode, signal, output, message: message.trim() }));
  });
  if (input === undefined || child.stdin === null) return ended;
  try {
    await feed(child.stdin, input, ended);
  } catch (error) {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
    throw error;
  }
  return ended;
}

/** Writes all of `input`, but stops when the program has ended: then its own words say why. */
async function feed(
  stdin: NodeJS.WritableStream,
  input: AsyncIterable<Buffer>,
  ended: Promise<Run>,
): Promise<void> {
  let gone = false;
  let wake: (() => void) | undefined;
  const isGone = (): void => {
    gone = true;
    wake?.();
  };
  ended.then(isGone, isGone);
  stdin.on('error', (error) => {
    if (errnoOf(error) === 'EPIPE' || errnoOf(error) === 'ECONNRESET') isGone();
  });
  stdin.on('drain', () => wake?.());
  for await (const chunk of input) {
    if (gone) return;
    if (!stdin.write(chunk)) {
      await new Promise<void>((fulfil) => {
        wake = fulfil;
        if (gone) fulfil();
      });
    }
  }
  stdin.end();
}

function failure(what: string, { exitCode, signal, message }: Run): EnxameError {
  const words = message === '' ? `ended with ${signal ?? `code ${exitCode}`}` : message;
  const code =
    exitCode === exitBadArchive
      ? 'invalid-argument'
      : exitCode === exitNoSpace
        ? 'resource-exhausted'
        : 'internal';
  return new EnxameError(code, `${what}: ${words}`);
}

/**
 * Writes a tar, perhaps compressed, of at most `bytesMax` plain bytes into `folder`/fs. Returns the bytes of its files
 * and the digest of the plain tar. Rejects with the program's words; the folder is then to be thrown away.
 */
export async function writeLayer(
  program: string,
  folder: string,
  input: ProgramInput,
  options: { what: string; bytesMax: number },
): Promise<{ sizeBytes: number; diffId: Digest }> {
  const isGrowing = 'descriptor' in input && input.growth !== undefined;
  const argv = [isGrowing ? 'growing' : 'layer', folder, String(options.bytesMax)];
  const result = await run(program, argv, input);
  if (result.exitCode !== 0) throw failure(`cannot unpack ${options.what}`, result);
  const [, sizeBytes, hex] = result.output.trim().split(' ');
  return { sizeBytes: Number(sizeBytes), diffId: `sha256:${hex}` as Digest };
}

/** Waits until everything on the folder's file system is on the disk. */
export async function syncFileSystem(program: string, folder: string): Promise<void> {
  const result = await run(program, ['sync', folder], undefined);
  if (result.exitCode !== 0) throw failure(`cannot write ${folder} to the disk`, result);
}

/** Removes a folder with all that is in it. Missing is fine. */
export async function removeTree(program: string, folder: string): Promise<void> {
  const result = await run(program, ['remove', folder], undefined);
  if (result.exitCode !== 0) throw failure(`cannot remove ${folder}`, result);
}

/** What a program writes to stdout, as it comes. Fails at the end with the program's words when it did not succeed. */
async function* outputOf(program: string, argv: readonly string[], what: string): AsyncGenerator<Buffer> {
  const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'], env: {} });
  let message = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (message.length < messageBytesMax) message += text;
  });
  const ended = new Promise<Run>((fulfil, reject) => {
    child.once('error', (error) =>
      reject(new EnxameError('internal', `cannot run ${program}`, { cause: error })),
    );
    child.once('close', (exitCode, signal) =>
      fulfil({ exitCode, signal, output: '', message: message.trim() }),
    );
  });
  // Whoever reads on learns of it below; whoever stopped reading has no use for it.
  ended.catch(() => undefined);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const result = await ended;
    if (result.exitCode !== 0) throw failure(what, result);
  } finally {
    child.kill('SIGKILL');
  }
}

/** The upper folder of an overlay as a layer. */
export function packLayer(program: string, upperDir: string): AsyncGenerator<Buffer> {
  return outputOf(program, ['pack', upperDir], "cannot pack the container's changes");
}

/** A path of an image, its layers topmost first, as a tar: one file, or the content of a folder. */
export function readTree(program: string, layers: readonly string[], path: string): AsyncGenerator<Buffer> {
  return outputOf(program, ['tree', ...layers, '--', path], `cannot read ${path} of the image`);
}

export interface FoundName {
  path: string;
  type: 'folder' | 'file' | 'other';
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
}

/** Where each path leads in an image, and what the names on the way are, as far as they exist. */
export async function lookUp(
  program: string,
  layers: readonly string[],
  paths: readonly string[],
): Promise<{ path: string; existing: FoundName[] }[]> {
  const chunks: Buffer[] = [];
  const argv = ['lookup', ...layers, '--', ...paths];
  for await (const chunk of outputOf(program, argv, 'cannot look into the image')) chunks.push(chunk);
  const found: { path: string; existing: FoundName[] }[] = [];
  let existing: FoundName[] = [];
  for (const record of Buffer.concat(chunks).toString('utf8').split('\0').slice(0, -1)) {
    if (record.startsWith('> ')) {
      found.push({ path: record.slice(2), existing });
      existing = [];
      continue;
    }
    const [, type, mode, uid, gid, mtime, path = ''] =
      /^([dfo]) (\d+) (\d+) (\d+) (-?\d+) ([^]*)$/.exec(record) ?? [];
    existing.push({
      path,
      type: type === 'd' ? 'folder' : type === 'f' ? 'file' : 'other',
      mode: Number.parseInt(mode ?? '', 8),
      uid: Number(uid),
      gid: Number(gid),
      mtimeSeconds: Number(mtime),
    });
  }
  return found;
}
