/** Every device node below the node's /dev, which a privileged container has as well. */
import type { Device } from '../launcher/launch-plan.js';
import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../files/errno.js';

const folder = '/dev';
/** File systems of a container's own. */
const ownFolders = new Set(['pts', 'shm', 'mqueue', 'fd', '.lxc', '.lxd-mounts', '.udev']);
const ownFiles = new Set(['console', 'ptmx', 'tty']);
const devicesMax = 2_000;

export async function nodeDevices(): Promise<Device[]> {
  const found: Device[] = [];
  const folders = [''];
  for (let current = folders.pop(); current !== undefined; current = folders.pop()) {
    for (const entry of await entriesOf(join(folder, current))) {
      const name = current === '' ? entry.name : `${current}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!ownFolders.has(name)) folders.push(name);
      } else if ((entry.isCharacterDevice() || entry.isBlockDevice()) && !ownFiles.has(name)) {
        found.push(await deviceAt(join(folder, name), entry.isBlockDevice() ? 'block' : 'character'));
      }
      if (found.length >= devicesMax) return found;
    }
  }
  return found;
}

async function deviceAt(path: string, type: Device['type']): Promise<Device> {
  const { rdev, mode, uid, gid } = await lstat(path);
  const number = BigInt(rdev);
  return {
    kind: 'device',
    path,
    type,
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
    mode: mode & 0o7777,
    uid,
    gid,
  };
}

async function entriesOf(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
