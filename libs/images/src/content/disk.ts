/** Files that are there whole or not at all, whatever happens in between. */
import { EnxameError } from '#libs/model';
import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** A failed file operation in words: what was being done, and `resource-exhausted` when the disk is full. */
export function diskError(verb: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new EnxameError('resource-exhausted', `${verb}: no space left on device`, { cause: error });
  }
  if (errno === undefined || error instanceof EnxameError) return error;
  return new EnxameError('internal', verb, { cause: error });
}

export function temporaryName(): string {
  return randomBytes(12).toString('hex');
}

/** Makes a rename in the folder outlive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Replaces `path` by `bytes`. `temporaryDir` is on the same file system and is emptied at every start. */
export async function writeFileWhole(path: string, bytes: Buffer, temporaryDir: string): Promise<void> {
  const temporary = join(temporaryDir, temporaryName());
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw diskError(`cannot write ${path}`, error);
  }
}
