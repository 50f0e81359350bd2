/** Gathers from the node's disk what a plan needs: who the user is, and the container's name files. */
import { EnxameError } from '#libs/model';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, isMissing } from '../files/errno.js';
import type { ContainerPaths } from '../plan/container-plan.js';
import { LayeredRoot } from '../plan/layered-root.js';
import { nameFilesOf } from '../plan/name-files.js';
import { resolveUser, type ResolvedUser } from '../plan/users.js';
import type { ContainerConfig } from '../port.js';
import { copyUp } from '../volumes/copy-up.js';

const accountFileBytesMax = 4 * 1024 * 1024;

/** Looks in what the container has written itself, too: it may have added a user since. */
export function findUser(
  config: ContainerConfig,
  paths: ContainerPaths,
  user: string,
  groups: readonly string[],
): ResolvedUser {
  const root = new LayeredRoot([paths.upperDir, ...config.rootLayers]);
  const read = (path: string): string => root.readFile(path, accountFileBytesMax)?.toString('utf8') ?? '';
  return resolveUser({ user, groups, passwd: read('/etc/passwd'), group: read('/etc/group') });
}

/** The same in any folder that is a container's root. */
export function userIn(folder: string, user: string): ResolvedUser {
  const root = new LayeredRoot([folder]);
  const read = (path: string): string => root.readFile(path, accountFileBytesMax)?.toString('utf8') ?? '';
  return resolveUser({ user, groups: [], passwd: read('/etc/passwd'), group: read('/etc/group') });
}

export async function writeNameFiles(config: ContainerConfig, paths: ContainerPaths): Promise<void> {
  const isShared = config.network.mode === 'host';
  const files = nameFilesOf(config, {
    hosts: isShared ? await readOrEmpty('/etc/hosts') : '',
    resolvConf: isShared ? await readOrEmpty('/etc/resolv.conf') : '',
  });
  // Written in place: after a restart the program keeps what it has put there only until now, as in Docker.
  const write = (path: string, text: string): Promise<void> => writeFile(path, text, { mode: 0o644 });
  await Promise.all([
    write(paths.nameFiles.hostname, files.hostname),
    write(paths.nameFiles.hosts, files.hosts),
    write(paths.nameFiles.resolvConf, files.resolvConf),
  ]);
}

/** Checks binds, and fills volumes that are mounted for the first time. */
export async function prepareMounts(config: ContainerConfig): Promise<void> {
  for (const mount of config.mounts) {
    if (mount.type === 'tmpfs') continue;
    if (mount.type === 'bind' && mount.createSource === true) await makeSource(mount.source);
    if (!(await exists(mount.source))) {
      throw new EnxameError(
        'invalid-argument',
        mount.type === 'bind'
          ? `invalid mount config for type "bind": bind source path does not exist: ${mount.source}`
          : `volume ${mount.name} does not exist on this node`,
      );
    }
    if (mount.type !== 'volume' || !mount.copyUp || mount.filesystem !== undefined) continue;
    await copyUp({
      rootLayers: config.rootLayers,
      target: mount.target,
      dataDir: mount.source,
      stagingDir: join(dirname(dirname(mount.source)), '.copying'),
    });
  }
}

async function makeSource(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return;
    throw new EnxameError(
      'failed-precondition',
      `error while creating mount source path '${path}': ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return '';
    throw error;
  }
}
