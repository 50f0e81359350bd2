/** `X-Docker-Container-Path-Stat`: what is at a path, as base64 of JSON with Go's mode bits. */
import { rfc3339Nano } from '#libs/docker-api';
import type { Stats } from 'node:fs';

/** Kind and special bits where Go's FileMode has them. */
const goBits = {
  directory: 2 ** 31,
  symlink: 2 ** 27,
  device: 2 ** 26,
  pipe: 2 ** 25,
  socket: 2 ** 24,
  setuid: 2 ** 23,
  setgid: 2 ** 22,
  characterDevice: 2 ** 21,
  sticky: 2 ** 20,
} as const;

export function goFileMode(stats: Stats): number {
  let mode = stats.mode & 0o777;
  if (stats.isDirectory()) mode += goBits.directory;
  if (stats.isSymbolicLink()) mode += goBits.symlink;
  if (stats.isBlockDevice()) mode += goBits.device;
  if (stats.isCharacterDevice()) mode += goBits.device + goBits.characterDevice;
  if (stats.isFIFO()) mode += goBits.pipe;
  if (stats.isSocket()) mode += goBits.socket;
  if ((stats.mode & 0o4000) !== 0) mode += goBits.setuid;
  if ((stats.mode & 0o2000) !== 0) mode += goBits.setgid;
  if ((stats.mode & 0o1000) !== 0) mode += goBits.sticky;
  return mode;
}

export function pathStatHeader(of: { name: string; stats: Stats; linkTarget: string }): string {
  const { name, stats, linkTarget } = of;
  const shown = {
    name,
    size: stats.size,
    mode: goFileMode(stats),
    mtime: rfc3339Nano(stats.mtimeMs),
    linkTarget,
  };
  return Buffer.from(JSON.stringify(shown)).toString('base64');
}
