/** What `features` and `spec` print. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { hookStages } from '../launcher/launch-plan.js';
import { allCapabilities } from '../sandbox/capabilities.js';
import { mountOptions } from './bundle-mounts.js';
import { maskedPaths, readOnlyPaths } from '../sandbox/default-sandbox.js';
import { seccompActions, seccompOperators } from '../sandbox/seccomp-profile.js';

export const features = {
  ociVersionMin: '1.0.0',
  ociVersionMax: '1.3.0',
  hooks: Object.keys(hookStages),
  mountOptions,
  linux: {
    namespaces: ['cgroup', 'ipc', 'mount', 'network', 'pid', 'user', 'uts'],
    capabilities: allCapabilities,
    cgroup: { v1: true, v2: true, systemd: false, systemdUser: false, rdma: false },
    seccomp: {
      enabled: true,
      actions: seccompActions,
      operators: seccompOperators,
      archs: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_AARCH64'],
      knownFlags: ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'],
      supportedFlags: ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'],
    },
    apparmor: { enabled: false },
    selinux: { enabled: false },
    intelRdt: { enabled: false },
    mountExtensions: { idmap: { enabled: false } },
  },
};

const rights = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];

/** A configuration to begin with, that runs as it is once `rootfs` holds a root file system. */
function exampleConfig(): unknown {
  const mount = (destination: string, type: string, source: string, options: string[]): unknown => ({
    destination,
    type,
    source,
    options,
  });
  return {
    ociVersion: '1.3.0',
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ['sh'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: rights, effective: rights, permitted: rights },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: 'rootfs', readonly: true },
    hostname: 'enxame',
    mounts: [
      mount('/proc', 'proc', 'proc', ['nosuid', 'noexec', 'nodev']),
      mount('/dev', 'tmpfs', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
      mount('/dev/pts', 'devpts', 'devpts', [
        'nosuid',
        'noexec',
        'newinstance',
        'ptmxmode=0666',
        'mode=0620',
        'gid=5',
      ]),
      mount('/dev/shm', 'tmpfs', 'shm', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']),
      mount('/dev/mqueue', 'mqueue', 'mqueue', ['nosuid', 'noexec', 'nodev']),
      mount('/sys', 'sysfs', 'sysfs', ['nosuid', 'noexec', 'nodev', 'ro']),
      mount('/sys/fs/cgroup', 'cgroup', 'cgroup', ['nosuid', 'noexec', 'nodev', 'ro']),
    ],
    linux: {
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
      maskedPaths,
      readonlyPaths: readOnlyPaths,
    },
  };
}

/** Writes config.json into the bundle. One that is there already stays. */
export function specText(args: string[]): void {
  const { values } = parseArgs({ args, options: { bundle: { type: 'string', short: 'b', default: '.' } } });
  const path = join(values.bundle, 'config.json');
  if (existsSync(path)) throw new Error(`${path} exists already`);
  writeFileSync(path, `${JSON.stringify(exampleConfig(), undefined, 2)}\n`);
}
