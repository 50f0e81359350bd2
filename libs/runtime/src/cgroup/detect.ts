/** Which cgroup hierarchies this node has: v1 controllers (perhaps with an idle v2 beside them), or v2 alone. */
import { EnxameError } from '#libs/model';

export const v1Controllers = [
  'cpu',
  'cpuacct',
  'cpuset',
  'memory',
  'devices',
  'freezer',
  'pids',
  'blkio',
] as const;
export type V1Controller = (typeof v1Controllers)[number];

export type CgroupLayout =
  | {
      version: 1;
      /** Mount point per controller; `cpu` and `cpuacct` may share one. */
      mounts: Readonly<Partial<Record<V1Controller, string>>>;
    }
  | { version: 2; root: string };

/**
 * Reads `/proc/self/mountinfo`. Where v1 has the memory or the pids controller, containers are limited there: v2, if
 * mounted, then has nothing to limit with. Throws `failed-precondition` when there is neither.
 */
export function detectCgroups(mountInfo: string): CgroupLayout {
  const mounts: Partial<Record<V1Controller, string>> = {};
  let root: string | undefined;
  for (const line of mountInfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const mountPoint = unescapeOctal(left.split(' ')[4] ?? '');
    const [type = '', , options = ''] = right.split(' ');
    if (type === 'cgroup2') root ??= mountPoint;
    if (type !== 'cgroup') continue;
    const names = new Set(options.split(','));
    for (const controller of v1Controllers) {
      if (names.has(controller)) mounts[controller] ??= mountPoint;
    }
  }
  if (mounts.memory !== undefined || mounts.pids !== undefined) return { version: 1, mounts };
  if (root !== undefined) return { version: 2, root };
  throw new EnxameError(
    'failed-precondition',
    'this node has no cgroups: neither version 1 controllers nor version 2 are mounted (see /proc/self/mountinfo)',
  );
}

/** Spaces, tabs and backslashes in mount points are written as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_match, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
