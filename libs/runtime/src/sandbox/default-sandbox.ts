/** What every container gets unless its configuration says otherwise: Docker's default sandbox. */
import type { Device, FilesystemMount, Symlink } from '../launcher/launch-plan.js';

export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

export const readOnlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** GID of `tty` in every common distribution: owner group of pseudo terminals. */
const ttyGid = 5;

const deviceBytesMax = '65536k';

/** /proc, /dev, /dev/pts, /sys, /dev/mqueue and /dev/shm, in the order they are mounted. */
export function defaultMounts(options: { shmBytes: number; privileged: boolean }): FilesystemMount[] {
  return [
    mount('proc', 'proc', '/proc', ['nosuid', 'noexec', 'nodev']),
    mount('tmpfs', 'tmpfs', '/dev', ['nosuid', 'strictatime'], ['mode=755', `size=${deviceBytesMax}`]),
    mount(
      'devpts',
      'devpts',
      '/dev/pts',
      ['nosuid', 'noexec'],
      ['newinstance', 'ptmxmode=0666', 'mode=0620', `gid=${ttyGid}`],
    ),
    mount('sysfs', 'sysfs', '/sys', [
      'nosuid',
      'noexec',
      'nodev',
      ...(options.privileged ? [] : (['read-only'] as const)),
    ]),
    mount('mqueue', 'mqueue', '/dev/mqueue', ['nosuid', 'noexec', 'nodev']),
    mount(
      'tmpfs',
      'shm',
      '/dev/shm',
      ['nosuid', 'noexec', 'nodev'],
      ['mode=1777', `size=${options.shmBytes}`],
    ),
  ];
}

function mount(
  type: string,
  source: string,
  target: string,
  flags: FilesystemMount['flags'],
  options: string[] = [],
): FilesystemMount {
  return { kind: 'mount', type, source, target, flags, options };
}

interface DeviceNumber {
  path: string;
  major: number;
  minor: number;
}

const deviceNumbers: readonly DeviceNumber[] = [
  { path: '/dev/null', major: 1, minor: 3 },
  { path: '/dev/zero', major: 1, minor: 5 },
  { path: '/dev/full', major: 1, minor: 7 },
  { path: '/dev/random', major: 1, minor: 8 },
  { path: '/dev/urandom', major: 1, minor: 9 },
  { path: '/dev/tty', major: 5, minor: 0 },
];

export const defaultDevices: readonly Device[] = deviceNumbers.map((device) => ({
  kind: 'device',
  type: 'character',
  mode: 0o666,
  uid: 0,
  gid: 0,
  ...device,
}));

/** `type major:minor access` lines of cgroup v1's devices.allow, after everything was denied. */
export const allowedDevices: readonly string[] = [
  // Making a node is allowed, opening it is not.
  'c *:* m',
  'b *:* m',
  ...deviceNumbers.map(({ major, minor }) => `c ${major}:${minor} rwm`),
  // console, ptmx, pseudo terminals.
  'c 5:1 rwm',
  'c 5:2 rwm',
  'c 136:* rwm',
];

export const defaultSymlinks: readonly Symlink[] = [
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
  ['/dev/ptmx', 'pts/ptmx'],
  ['/dev/core', '/proc/kcore'],
].map(([path = '', target = '']) => ({ kind: 'symlink', path, target }));
