/**
 * Snapshots: `<index>-<term>.snapshot`, a chain of frames: a header, the state machine's chunks, an end that counts
 * them. A file gets its name only when it is whole and durable, so one that does not check is damage.
 */
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import type { SnapshotMeta } from '../core/types.js';
import { syncDirectory } from './directory.js';
import { encodeFrame, frameChain, frameHeaderBytes, readFrame } from './frame.js';

export interface SnapshotFile {
  path: string;
  meta: SnapshotMeta;
}

const fileName = /^([0-9]{16})-([0-9]+)\.snapshot$/;
const format = 1;
const writeBytes = 64 * 1024;

export async function writeSnapshot(
  dir: string,
  meta: SnapshotMeta,
  chunks: Iterable<Uint8Array>,
): Promise<SnapshotFile> {
  const path = join(dir, `${String(meta.index).padStart(16, '0')}-${meta.term}.snapshot`);
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    let chain = 0;
    let chunkCount = 0;
    let buffered: Buffer[] = [];
    let bufferedBytes = 0;
    const flush = async (): Promise<void> => {
      await file.writeFile(Buffer.concat(buffered));
      buffered = [];
      bufferedBytes = 0;
    };
    const add = (payload: Uint8Array): void => {
      const frame = encodeFrame([payload], chain);
      chain = frameChain(frame);
      buffered.push(frame);
      bufferedBytes += frame.length;
    };
    add(Buffer.from(JSON.stringify({ format, meta }), 'utf8'));
    for (const chunk of chunks) {
      add(chunk);
      chunkCount++;
      // Each write also lets the event loop turn.
      if (bufferedBytes >= writeBytes) await flush();
    }
    add(Buffer.from(JSON.stringify({ chunkCount }), 'utf8'));
    await flush();
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw error;
  }
  await file.close();
  await rename(temporary, path);
  syncDirectory(dir);
  return { path, meta };
}

/** The newest snapshot with all its chunks, or undefined when there is none. */
export async function readNewestSnapshot(
  dir: string,
): Promise<{ meta: SnapshotMeta; chunks: Buffer[] } | undefined> {
  const newest = (await snapshotNames(dir)).at(-1);
  return newest === undefined ? undefined : readSnapshot(join(dir, newest));
}

export async function readSnapshot(path: string): Promise<{ meta: SnapshotMeta; chunks: Buffer[] }> {
  const damaged = (offset: number, reason: string): EnxameError =>
    new EnxameError('data-damaged', `snapshot ${path} at offset ${offset}: ${reason}`);
  const file = await open(path, 'r');
  const bytes = await file.readFile().finally(() => file.close());
  const frames: Buffer[] = [];
  let offset = 0;
  let chain = 0;
  for (;;) {
    const read = readFrame(bytes, offset, chain);
    if (read.kind === 'end') break;
    if (read.kind === 'torn') throw damaged(offset, 'the file ends too soon');
    if (read.kind === 'damaged') throw damaged(offset, read.reason);
    frames.push(read.payload);
    chain = read.chain;
    offset = read.end;
  }
  const header: unknown = JSON.parse(frames[0]?.toString('utf8') ?? 'null');
  const end: unknown = JSON.parse(frames.at(-1)?.toString('utf8') ?? 'null');
  if (!isHeader(header)) throw damaged(0, `this is not a snapshot of format ${format}`);
  const chunks = frames.slice(1, -1);
  if (frames.length < 2 || !isEnd(end) || end.chunkCount !== chunks.length) {
    throw damaged(bytes.length - frameHeaderBytes, 'the end of the snapshot is missing');
  }
  return { meta: header.meta, chunks };
}

/** Removes every snapshot but the newest, and what an interrupted writer left. */
export async function removeOldSnapshots(dir: string): Promise<void> {
  const old = (await snapshotNames(dir)).slice(0, -1);
  const unfinished = (await readdir(dir)).filter((name) => name.endsWith('.snapshot.tmp'));
  for (const name of [...old, ...unfinished]) await rm(join(dir, name), { force: true });
}

async function snapshotNames(dir: string): Promise<string[]> {
  return (await readdir(dir)).filter((name) => fileName.test(name)).sort();
}

function isHeader(value: unknown): value is { meta: SnapshotMeta } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'format' in value &&
    value.format === format &&
    'meta' in value
  );
}

function isEnd(value: unknown): value is { chunkCount: number } {
  return typeof value === 'object' && value !== null && 'chunkCount' in value;
}
