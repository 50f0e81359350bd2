/** Whole files or none: written beside the old one and renamed over it. */
import { EnxameError } from '#libs/model';
import { rename, rm, writeFile } from 'node:fs/promises';
import { isDiskFull } from './errno.js';

let sequence = 0;

/**
 * A reader sees the old content or the new, also when this process dies halfway. It is not forced to disk: what these
 * files describe does not survive a crash of the machine either.
 */
export async function writeFileAtomic(path: string, data: string | Buffer, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}-${sequence++}.new`;
  try {
    await writeFile(temporary, data, { mode });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    if (!isDiskFull(error)) throw error;
    throw new EnxameError('resource-exhausted', `no space left to write ${path}`, { cause: error });
  }
}
