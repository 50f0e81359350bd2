/** What a container sees beside its image: default file systems, its name files, and the mounts asked for. */
import { EnxameError } from '#libs/model';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type {
  BindMount,
  Device,
  FilesystemMount,
  LaunchOperation,
  MountFlag,
} from '../launcher/launch-plan.js';
import type { ContainerConfig, ContainerDevice, ContainerMount } from '../port.js';
import { defaultDevices, defaultMounts, defaultSymlinks } from '../sandbox/default-sandbox.js';

export interface NameFilePaths {
  hostname: string;
  hosts: string;
  resolvConf: string;
}

export interface SharedPlaces {
  /** What is /dev/shm: the node's, or that of a container by its `/proc/PID/ns/mnt`. Absent: a tmpfs of its own. */
  shm?: { mountNamespace?: string };
  /** More device nodes, for privileged containers: all of the node's. */
  devices?: readonly Device[];
}

/** In the order they are made: outer folders before what lies inside them. */
export function planMounts(
  config: ContainerConfig,
  cgroup: CgroupPlan,
  places: SharedPlaces & { nameFiles: NameFilePaths },
): LaunchOperation[] {
  const { nameFiles, shm, devices = [] } = places;
  const { privileged } = config.security;
  const asked = new Set(config.mounts.map((mount) => trimmed(mount.target)));
  const isFree = (mount: { target: string }): boolean => !asked.has(mount.target);
  const names: BindMount[] = [
    bind(nameFiles.resolvConf, '/etc/resolv.conf'),
    bind(nameFiles.hostname, '/etc/hostname'),
    bind(nameFiles.hosts, '/etc/hosts'),
  ];
  return [
    ...defaultMounts({ shmBytes: config.shmBytes, privileged })
      .filter(isFree)
      .filter(({ target }) => shm === undefined || target !== shmPath),
    ...(shm !== undefined && isFree({ target: shmPath }) ? [{ ...bind(shmPath, shmPath), ...shm }] : []),
    ...cgroupMounts(cgroup, privileged),
    ...defaultDevices,
    ...[...devices, ...(config.devices ?? []).map(deviceOf)].filter(isNoDefault),
    ...defaultSymlinks,
    ...names.filter(isFree),
    ...[...config.mounts].sort(byDepth).map((mount) => mountOf(mount)),
    ...(config.tty ? [{ kind: 'console' } as const] : []),
  ];
}

const shmPath = '/dev/shm';
const defaultDevicePaths = new Set(defaultDevices.map(({ path }) => path));

function isNoDefault({ path }: Device): boolean {
  return !defaultDevicePaths.has(path);
}

function deviceOf({ access: _access, ...device }: ContainerDevice): Device {
  return { kind: 'device', ...device };
}

/** v1 has one mount per controller, on a small tmpfs of their own; v2 has one. */
function cgroupMounts(cgroup: CgroupPlan, privileged: boolean): LaunchOperation[] {
  const flags: MountFlag[] = ['nosuid', 'noexec', 'nodev', ...(privileged ? [] : (['read-only'] as const))];
  const mounts: FilesystemMount[] = cgroup.mounts.map(({ target, type, option }) => ({
    kind: 'mount',
    type,
    source: 'cgroup',
    target,
    flags,
    options: option === undefined ? [] : [option],
  }));
  if (!mounts.some(({ type }) => type === 'cgroup')) return mounts;
  const base: FilesystemMount = {
    kind: 'mount',
    type: 'tmpfs',
    source: 'tmpfs',
    target: '/sys/fs/cgroup',
    flags: ['nosuid', 'noexec', 'nodev'],
    options: ['mode=755', 'size=64k'],
  };
  return [
    base,
    ...mounts,
    ...(privileged ? [] : [{ kind: 'read-only-path', path: '/sys/fs/cgroup' } as const]),
  ];
}

export function mountOf(mount: ContainerMount): LaunchOperation {
  switch (mount.type) {
    case 'bind':
      return {
        ...bind(mount.source, mount.target, mount.readOnly),
        recursive: mount.recursive,
        propagation: propagationOf(mount.propagation),
      };
    case 'volume':
      return {
        ...bind(mount.source, mount.target, mount.readOnly),
        ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
      };
    case 'tmpfs':
      return tmpfs(mount);
  }
}

/** Docker's flags unless an option takes one back. */
function tmpfs(mount: Extract<ContainerMount, { type: 'tmpfs' }>): FilesystemMount {
  const options = mount.options ?? [];
  const flags: MountFlag[] = [];
  if (!options.includes('suid')) flags.push('nosuid');
  if (!options.includes('dev')) flags.push('nodev');
  if (!options.includes('exec')) flags.push('noexec');
  if (options.includes('noatime')) flags.push('noatime');
  if (mount.readOnly) flags.push('read-only');
  return {
    kind: 'mount',
    type: 'tmpfs',
    source: 'tmpfs',
    target: mount.target,
    flags,
    options: [
      `mode=${(mount.mode ?? 0o1777).toString(8)}`,
      ...(mount.bytesMax === undefined ? [] : [`size=${mount.bytesMax}`]),
      ...options.filter((option) => /^(uid|gid|nr_inodes|nr_blocks|mpol)=/.test(option)),
    ],
  };
}

/** Mounts of the node that come later show in a container only when a bind asks for (r)slave. */
export function rootPropagationOf(mounts: readonly ContainerMount[]): 'private' | 'slave' {
  const slave = mounts.some(
    (mount) => mount.type === 'bind' && propagationOf(mount.propagation).endsWith('slave'),
  );
  return slave ? 'slave' : 'private';
}

function propagationOf(propagation: string | undefined): BindMount['propagation'] {
  switch (propagation) {
    case undefined:
    case '':
    case 'rprivate':
      return 'rprivate';
    case 'private':
    case 'slave':
    case 'rslave':
    case 'shared':
    case 'rshared':
      return propagation;
    default:
      throw new EnxameError('invalid-argument', `invalid propagation mode: ${propagation}`);
  }
}

function bind(source: string, target: string, readOnly = false): BindMount {
  return {
    kind: 'bind',
    source,
    target,
    recursive: true,
    flags: readOnly ? ['read-only'] : [],
    propagation: 'rprivate',
  };
}

function byDepth(a: ContainerMount, b: ContainerMount): number {
  return depthOf(a.target) - depthOf(b.target);
}

function depthOf(path: string): number {
  return trimmed(path).split('/').length;
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, '') : path;
}
