/** `mounts` of a bundle: fstab's options sorted into flags, propagation, and what is the file system's own. */
import { resolve } from 'node:path';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { BindMount, LaunchOperation, MountFlag } from '../launcher/launch-plan.js';
import type { Field } from './field.js';

const flagNames: Readonly<Record<string, MountFlag>> = {
  ro: 'read-only',
  nosuid: 'nosuid',
  nodev: 'nodev',
  noexec: 'noexec',
  noatime: 'noatime',
  strictatime: 'strictatime',
  relatime: 'relatime',
  nosymfollow: 'nosymfollow',
};
/** Take a flag back that came before. */
const inverses: Readonly<Record<string, MountFlag>> = {
  rw: 'read-only',
  suid: 'nosuid',
  dev: 'nodev',
  exec: 'noexec',
  atime: 'noatime',
  nostrictatime: 'strictatime',
  norelatime: 'relatime',
  symfollow: 'nosymfollow',
};
const propagations = ['private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared'] as const;
/** What every mount is anyway, or what has had no meaning for long. */
const idle = new Set([
  'defaults',
  'async',
  'loud',
  'silent',
  'nomand',
  'mand',
  'diratime',
  'nodiratime',
  'noiversion',
  'unbindable',
  'runbindable',
]);

/** Every one that is not the file system's own. */
export const mountOptions: readonly string[] = [
  'bind',
  'rbind',
  'tmpcopyup',
  ...Object.keys(flagNames),
  ...Object.keys(inverses),
  ...[...Object.keys(flagNames), ...Object.keys(inverses)].map((name) => `r${name}`),
  ...propagations,
  ...idle,
];

interface MountOptions {
  bind: false | 'bind' | 'rbind';
  flags: MountFlag[];
  flagsRecursive: boolean;
  propagation: BindMount['propagation'] | undefined;
  copyUp: boolean;
  data: string[];
}

export function readMountOptions(field: Field): MountOptions {
  const flags = new Set<MountFlag>();
  const options: Omit<MountOptions, 'flags'> = {
    bind: false,
    flagsRecursive: false,
    propagation: undefined,
    copyUp: false,
    data: [],
  };
  for (const item of field.list()) {
    const option = item.text();
    const propagation = propagations.find((one) => one === option);
    const recursive = option.startsWith('r') ? option.slice(1) : '';
    if (option === 'bind' || option === 'rbind') options.bind = option;
    else if (propagation !== undefined) options.propagation = propagation;
    else if (option === 'tmpcopyup') options.copyUp = true;
    else if (option === 'idmap' || option === 'ridmap') item.refuseIfAny();
    else if (flagNames[option] !== undefined) flags.add(flagNames[option]);
    else if (inverses[option] !== undefined) flags.delete(inverses[option]);
    else if (flagNames[recursive] !== undefined) {
      flags.add(flagNames[recursive]);
      options.flagsRecursive = true;
    } else if (inverses[recursive] !== undefined) flags.delete(inverses[recursive]);
    else if (!idle.has(option) && option !== '') options.data.push(option);
  }
  return { ...options, flags: [...flags] };
}

/** In list order, as the specification asks. */
export function planBundleMounts(
  mounts: Field,
  context: { bundle: string; cgroup: CgroupPlan; ownsCgroup: boolean },
): LaunchOperation[] {
  return mounts.list().flatMap((mount) => planMount(mount, context));
}

function planMount(
  mount: Field,
  context: { bundle: string; cgroup: CgroupPlan; ownsCgroup: boolean },
): LaunchOperation[] {
  const destination = mount.at('destination').text();
  if (destination === '') throw mount.at('destination').invalid('must not be empty');
  const target = destination.startsWith('/') ? destination : `/${destination}`;
  const type = mount.at('type').text('none');
  const options = readMountOptions(mount.at('options'));
  for (const name of ['uidMappings', 'gidMappings'])
    mount.at(name).refuseIfAny((list) => Array.isArray(list) && list.length === 0);
  if (options.bind !== false || type === 'bind') {
    const source = mount.at('source').text();
    return [
      {
        kind: 'bind',
        source: resolve(context.bundle, source),
        target,
        recursive: options.bind === 'rbind',
        flags: options.flags,
        flagsRecursive: options.flagsRecursive,
        propagation: options.propagation ?? 'rprivate',
      },
    ];
  }
  if (type === 'none') throw mount.at('type').invalid('must be there, or bind among the options');
  if (options.propagation !== undefined && !options.propagation.endsWith('private'))
    throw mount.at('options').invalid(`${options.propagation} is for binds`);
  if (type === 'cgroup') return planCgroupMount(target, options, context);
  return [
    {
      kind: 'mount',
      type,
      source: mount.at('source').text(type),
      target,
      flags: options.flags,
      options: options.data,
      copyUp: options.copyUp,
    },
  ];
}

/** v1: one mount per controller on a small tmpfs; v2: one. Without a cgroup namespace, the container's own part of it. */
function planCgroupMount(
  target: string,
  options: MountOptions,
  { cgroup, ownsCgroup }: { cgroup: CgroupPlan; ownsCgroup: boolean },
): LaunchOperation[] {
  const flags = options.flags.filter((flag) => flag !== 'relatime');
  const inner = (name: string): string => name.replace('/sys/fs/cgroup', target);
  const bindOf = (source: string, at: string): LaunchOperation => ({
    kind: 'bind',
    source,
    target: at,
    recursive: false,
    flags,
    propagation: 'rprivate',
  });
  const [only] = cgroup.mounts;
  if (only?.type === 'cgroup2') {
    if (!ownsCgroup) return cgroup.joins.map(({ path }) => bindOf(path, target));
    return [{ kind: 'mount', type: 'cgroup2', source: 'cgroup', target, flags, options: [] }];
  }
  const writable = flags.filter((flag) => flag !== 'read-only');
  return [
    {
      kind: 'mount',
      type: 'tmpfs',
      source: 'tmpfs',
      target,
      flags: writable,
      options: ['mode=755', 'size=64k'],
    },
    ...cgroup.mounts.map(({ target: at, option }, index): LaunchOperation => {
      const source = cgroup.joins[index]?.path;
      if (!ownsCgroup && source !== undefined) return bindOf(source, inner(at));
      const data = option === undefined ? [] : [option];
      return { kind: 'mount', type: 'cgroup', source: 'cgroup', target: inner(at), flags, options: data };
    }),
    ...(flags.includes('read-only') ? [{ kind: 'read-only-path', path: target } as const] : []),
  ];
}
