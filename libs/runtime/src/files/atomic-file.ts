/** Whole files or none: written beside the old one and renamed over it. */
import { rename, writeFile } from 'node:fs/promises';

let sequence = 0;

/**
 * A reader sees the old content or the new, also when this process dies halfway. It is not forced to disk: what these
 * files describe does not survive a crash of the machine either.
 */
export async function writeFileAtomic(path: string, data: string | Buffer, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}-${sequence++}.new`;
  await writeFile(temporary, data, { mode });
  await rename(temporary, path);
}
