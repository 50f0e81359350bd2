/**
 * A new volume begins with what the image has at its mount point, as in Docker. The image's layers are merged in a
 * mount namespace that ends with the copy, so that overlay's own rules (deleted names, opaque folders) and every
 * attribute hold, and nothing stays mounted whenever this is killed.
 */
import { EnxameError } from '#libs/model';
import { execFile } from 'node:child_process';
import { chmod, lchown, mkdir, mkdtemp, readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LayeredRoot } from '../plan/layered-root.js';

const run = promisify(execFile);
const copyMsMax = 600_000;

/** Short names keep the option text under the page that mount(2) takes. `$1`: path, `$2`: lower dirs, `$3`: to. */
const script = `
set -eu
if [ "$4" = 1 ]; then mount --bind 0 root; else mount -t overlay -o "ro,lowerdir=$2" overlay root; fi
cp -a -- "root$1/." "$3/"
`;

/**
 * Fills `dataDir` when it is empty and the image has a folder at `target`. `stagingDir` is on the same file system;
 * the names move in one by one, so a container that writes to the volume meanwhile loses nothing.
 */
export async function copyUp(options: {
  rootLayers: readonly string[];
  target: string;
  dataDir: string;
  stagingDir: string;
}): Promise<void> {
  if ((await readdir(options.dataDir)).length > 0) return;
  const found = new LayeredRoot(options.rootLayers).find(options.target);
  if (found === undefined || !found.stats.isDirectory()) return;
  await mkdir(options.stagingDir, { recursive: true, mode: 0o700 });
  const work = await mkdtemp(join(options.stagingDir, 'copy-'));
  try {
    await mkdir(join(work, 'root'));
    await mkdir(join(work, 'data'));
    for (const [index, layer] of options.rootLayers.entries())
      await symlink(layer, join(work, String(index)));
    const lower = options.rootLayers.map((_layer, index) => String(index)).join(':');
    const isOne = options.rootLayers.length === 1 ? '1' : '0';
    await run(
      'unshare',
      ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', found.path, lower, 'data', isOne],
      { cwd: work, timeout: copyMsMax, killSignal: 'SIGKILL' },
    );
    for (const name of await readdir(join(work, 'data'))) {
      await rename(join(work, 'data', name), join(options.dataDir, name));
    }
    await lchown(options.dataDir, found.stats.uid, found.stats.gid);
    await chmod(options.dataDir, found.stats.mode & 0o7777);
  } catch (error) {
    throw new EnxameError('internal', `copy the image's ${options.target} into its volume`, { cause: error });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
