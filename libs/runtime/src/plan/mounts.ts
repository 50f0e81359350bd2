/** What a container sees beside its image: default file systems, its name files, and the mounts asked for. */
import { EnxameError } from '#libs/model';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { BindMount, FilesystemMount, LaunchOperation, MountFlag } from '../launcher/launch-plan.js';
import type { ContainerConfig, ContainerMount } from '../port.js';
import { defaultDevices, defaultMounts, defaultSymlinks } from '../sandbox/default-sandbox.js';

export interface NameFilePaths {
  hostname: string;
  hosts: string;
  resolvConf: string;
}

/** In the order they are made: outer folders before what lies inside them. */
export function planMounts(
  config: ContainerConfig,
  cgroup: CgroupPlan,
  nameFiles: NameFilePaths,
): LaunchOperation[] {
  const { privileged } = config.security;
  const asked = new Set(config.mounts.map((mount) => trimmed(mount.target)));
  const isFree = (mount: { target: string }): boolean => !asked.has(mount.target);
  const names: BindMount[] = [
    bind(nameFiles.resolvConf, '/etc/resolv.conf'),
    bind(nameFiles.hostname, '/etc/hostname'),
    bind(nameFiles.hosts, '/etc/hosts'),
  ];
  return [
    ...defaultMounts({ shmBytes: config.shmBytes, privileged }).filter(isFree),
    ...cgroupMounts(cgroup, privileged),
    ...defaultDevices,
    ...defaultSymlinks,
    ...names.filter(isFree),
    ...[...config.mounts].sort(byDepth).map((mount) => mountOf(mount)),
    ...(config.tty ? [{ kind: 'console' } as const] : []),
  ];
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

function mountOf(mount: ContainerMount): LaunchOperation {
  switch (mount.type) {
    case 'bind':
      return {
        ...bind(mount.source, mount.target, mount.readOnly),
        recursive: mount.recursive,
        propagation: propagationOf(mount.propagation),
      };
    case 'volume':
      return bind(mount.source, mount.target, mount.readOnly);
    case 'tmpfs':
      return {
        kind: 'mount',
        type: 'tmpfs',
        source: 'tmpfs',
        target: mount.target,
        flags: ['nosuid', 'noexec', 'nodev', ...(mount.readOnly ? (['read-only'] as const) : [])],
        options: [
          `mode=${(mount.mode ?? 0o1777).toString(8)}`,
          ...(mount.bytesMax === undefined ? [] : [`size=${mount.bytesMax}`]),
        ],
      };
  }
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
      return propagation;
    default:
      throw new EnxameError(
        'not-implemented',
        `bind propagation ${propagation} is not available in this version`,
      );
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
