import { LayeredRoot } from '../plan/layered-root.js';

const passwdBytesMax = 4 * 1024 * 1024;

/** Home folder of a user id, by the passwd file of a container's root. */
export function homeIn(root: string, uid: number): string {
  const passwd = new LayeredRoot([root]).readFile('/etc/passwd', passwdBytesMax)?.toString('utf8') ?? '';
  const row = passwd.split('\n').find((line) => line.split(':')[2] === String(uid));
  return row?.split(':')[5] || '/';
}
