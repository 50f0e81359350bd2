/** The files of one rotated log (`x`, `x.1`, `x.2`, ... newest first) and reading them in pieces. */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { isMissing } from '../files/errno.js';

/** As many as the writer ever keeps. */
const filesMax = 1_000;
const chunkBytes = 128 * 1024;
const newline = 0x0a;

/** Opens every file there is, oldest first. A file that is rotated meanwhile stays readable through its handle. */
export async function openLogFiles(path: string): Promise<FileHandle[]> {
  const found: { handle: FileHandle; inode: number }[] = [];
  for (let number = 0; number < filesMax; number++) {
    const handle = await openIfThere(number === 0 ? path : `${path}.${number}`);
    if (handle === undefined) {
      // The newest is missing for a moment while the writer rotates.
      if (number === 0) continue;
      break;
    }
    const inode = (await handle.stat()).ino;
    if (found.some((other) => other.inode === inode)) {
      // It was rotated between the two opens.
      await handle.close();
      continue;
    }
    found.push({ handle, inode });
  }
  return found.reverse().map(({ handle }) => handle);
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The file that comes after the one with this inode, in the order they were written; undefined when it is the newest. */
export async function openNextFile(path: string, inode: number): Promise<FileHandle | undefined> {
  for (let number = 0; number < filesMax; number++) {
    const current = await inodeOf(number === 0 ? path : `${path}.${number}`);
    if (current === undefined && number > 0) break;
    if (current !== inode) continue;
    if (number === 0) return undefined;
    return openIfThere(number === 1 ? path : `${path}.${number - 1}`);
  }
  // Rotated away altogether: go on with the oldest there is.
  const [oldest, ...newer] = await openLogFiles(path);
  for (const handle of newer) await handle.close();
  return oldest;
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Cuts a growing file into lines. What has no newline yet is kept for the next read. */
export class LineReader {
  readonly #handle: FileHandle;
  #position: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(handle: FileHandle, position = 0) {
    this.#handle = handle;
    this.#position = position;
  }

  /**
   * Whole lines, without their newline, until the file's present end; empty when there is nothing new. Their bytes
   * belong to the caller.
   */
  async next(): Promise<Buffer[]> {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await this.#handle.read(chunk, 0, chunkBytes, this.#position);
    if (bytesRead === 0) {
      await this.#noticeTruncation();
      return [];
    }
    this.#position += bytesRead;
    const fresh = chunk.subarray(0, bytesRead);
    const data = this.#rest.length === 0 ? fresh : Buffer.concat([this.#rest, fresh]);
    const lines: Buffer[] = [];
    let from = 0;
    for (let at = data.indexOf(newline); at >= 0; at = data.indexOf(newline, from)) {
      lines.push(data.subarray(from, at));
      from = at + 1;
    }
    this.#rest = Buffer.from(data.subarray(from));
    // A long line has come in part: there is more to read right away.
    return lines.length === 0 ? this.next() : lines;
  }

  /** A log that keeps one file only is cut to nothing instead of rotated. */
  async #noticeTruncation(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size >= this.#position) return;
    this.#position = 0;
    this.#rest = Buffer.alloc(0);
  }
}

/** Where the last `lines` lines of a file begin, and how many they are: fewer when it has no more. */
export async function findTail(
  handle: FileHandle,
  lines: number,
): Promise<{ position: number; found: number }> {
  const { size } = await handle.stat();
  if (lines <= 0 || size === 0) return { position: size, found: 0 };
  const chunk = Buffer.allocUnsafe(chunkBytes);
  let newlines = 0;
  for (let end = size; end > 0; end = Math.max(0, end - chunkBytes)) {
    const from = Math.max(0, end - chunkBytes);
    const { bytesRead } = await handle.read(chunk, 0, end - from, from);
    for (let at = bytesRead - 1; at >= 0; at--) {
      // The last byte's newline ends the last line; it begins no further one.
      if (chunk[at] !== newline || from + at === size - 1) continue;
      if (++newlines === lines) return { position: from + at + 1, found: lines };
    }
  }
  return { position: 0, found: newlines + 1 };
}
