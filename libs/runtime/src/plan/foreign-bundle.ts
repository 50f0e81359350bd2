/**
 * A launch plan as the config.json of an OCI bundle, for another runtime: pure. What stays with our launcher (the
 * cgroups with their limits, the overlay, the interfaces) stays in the plan; the rest becomes configuration.
 */
import { EnxameError } from '#libs/model';
import type {
  BindMount,
  ExecPlan,
  FilesystemMount,
  LaunchOperation,
  LaunchPlan,
  MountFlag,
} from '../launcher/launch-plan.js';
import { capabilityNames } from '../sandbox/capabilities.js';
import { allowedDevices, defaultDevices } from '../sandbox/default-sandbox.js';
import { counts, type SeccompTarget } from '../sandbox/seccomp-compiler.js';
import type { SeccompProfile } from '../sandbox/seccomp-profile.js';

export interface ForeignPlace {
  /** The runtime's program. */
  program: string;
  /** Where it keeps its own state. */
  root: string;
  bundle: string;
}

/** What a plan has only in a form that no runtime takes. */
export interface ForeignExtras {
  /** Undefined: unconfined. */
  seccomp: SeccompProfile | undefined;
  target: Omit<SeccompTarget, 'capabilities'>;
  /** Below the root of each hierarchy. */
  cgroupsPath: string;
  /** Lines of `devices.allow`. `all`: every device. */
  deviceRules: readonly string[] | 'all';
}

type Kind = LaunchOperation['kind'];
type Of<K extends Kind> = Extract<LaunchOperation, { kind: K }>;

/** The launcher's own part of a plan that another runtime carries out. */
const kept = new Set<Kind>([
  'cgroup-directory',
  'cgroup-write',
  'cgroup-join',
  'device-program',
  'stdio',
  'log',
  'oom-file',
  'interface',
  'host-sysctl',
  'overlay-root',
  'file',
]);
const unavailable: Partial<Record<Kind, string>> = {
  init: 'an init process',
  'memory-file': 'secrets and configs',
  'bind-root': 'a folder as the root',
};

export function planForeign(
  plan: LaunchPlan,
  place: ForeignPlace,
  extras: ForeignExtras,
): { plan: LaunchPlan; config: unknown } {
  const find = finderOf(plan.operations);
  for (const { kind } of plan.operations) {
    const what = unavailable[kind];
    if (what !== undefined) throw missing(what);
  }
  const root = find('overlay-root');
  return {
    plan: {
      ...plan,
      operations: [
        { kind: 'foreign-runtime', ...place },
        ...plan.operations.filter(({ kind }) => kept.has(kind)),
      ],
    },
    config: {
      ociVersion: '1.0.2',
      root: { path: root?.mountPoint, readonly: find('pivot-root')?.readOnly ?? false },
      ...(find('hostname') === undefined ? {} : { hostname: find('hostname')?.name }),
      process: foreignProcess(plan.operations),
      mounts: plan.operations.flatMap(mountOf).concat(cgroupMount(plan.operations)),
      linux: {
        namespaces: namespacesOf(plan.operations),
        cgroupsPath: extras.cgroupsPath,
        resources: { devices: deviceRules(extras.deviceRules) },
        devices: devicesOf(plan.operations),
        sysctl: Object.fromEntries(
          all(plan.operations, 'sysctl').map(({ name, value }) => [name.replaceAll('/', '.'), value]),
        ),
        maskedPaths: all(plan.operations, 'mask').map(({ path }) => path),
        readonlyPaths: all(plan.operations, 'read-only-path')
          .map(({ path }) => path)
          .filter((path) => path !== cgroupRoot),
        rootfsPropagation: find('root-propagation')?.propagation === 'slave' ? 'rslave' : 'rprivate',
        ...seccompOf(plan.operations, extras),
      },
    },
  };
}

/** Its process goes into a file of the bundle, under this path. */
export function planForeignExec(plan: ExecPlan, path: string): { plan: ExecPlan; process: unknown } {
  const stdio = all(plan.operations, 'stdio');
  return {
    plan: { ...plan, operations: [...stdio, { kind: 'foreign-process', path }] },
    process: foreignProcess(plan.operations),
  };
}

const cgroupRoot = '/sys/fs/cgroup';

function all<K extends Kind>(operations: readonly LaunchOperation[], kind: K): Of<K>[] {
  return operations.filter((one): one is Of<K> => one.kind === kind);
}

function finderOf(operations: readonly LaunchOperation[]): <K extends Kind>(kind: K) => Of<K> | undefined {
  return (kind) => all(operations, kind).at(-1);
}

function missing(what: string): EnxameError {
  return new EnxameError('not-implemented', `${what}: not available with another runtime in this version`);
}

function foreignProcess(operations: readonly LaunchOperation[]): unknown {
  const find = finderOf(operations);
  const [stdio, user, rights, score] = [find('stdio'), find('user'), find('capabilities'), find('oom-score')];
  const limitOf = (value: bigint): bigint => BigInt.asUintN(64, value);
  const names = (mask: bigint | undefined): string[] => capabilityNames(mask ?? 0n);
  return {
    terminal: stdio?.tty ?? false,
    ...(stdio?.tty && stdio.rows > 0 ? { consoleSize: { height: stdio.rows, width: stdio.columns } } : {}),
    user: { uid: user?.uid ?? 0, gid: user?.gid ?? 0, additionalGids: user?.groups ?? [] },
    args: find('exec')?.argv ?? [],
    env: find('environment')?.variables ?? [],
    cwd: find('workdir')?.path ?? '/',
    capabilities: {
      bounding: names(rights?.bounding),
      effective: names(rights?.effective),
      permitted: names(rights?.permitted),
      inheritable: names(rights?.inheritable),
      ambient: names(rights?.ambient),
    },
    rlimits: all(operations, 'rlimit').map(({ name, soft, hard }) => ({
      type: `RLIMIT_${name.toUpperCase()}`,
      soft: Number(limitOf(soft)),
      hard: Number(limitOf(hard)),
    })),
    noNewPrivileges: find('no-new-privileges') !== undefined,
    ...(score === undefined ? {} : { oomScoreAdj: score.value }),
  };
}

const typeNames = {
  pid: 'pid',
  network: 'network',
  ipc: 'ipc',
  mount: 'mount',
  uts: 'uts',
  cgroup: 'cgroup',
} as const;

function namespacesOf(operations: readonly LaunchOperation[]): unknown[] {
  const made = finderOf(operations)('namespaces');
  const fresh = (Object.keys(typeNames) as (keyof typeof typeNames)[]).filter(
    (type) => made?.[type] === true,
  );
  return [
    ...fresh.map((type) => ({ type: typeNames[type] })),
    ...all(operations, 'join-namespace').map(({ namespace, path }) => ({ type: namespace, path })),
  ];
}

const flagOptions: Readonly<Record<MountFlag, string>> = {
  'read-only': 'ro',
  nosuid: 'nosuid',
  nodev: 'nodev',
  noexec: 'noexec',
  noatime: 'noatime',
  strictatime: 'strictatime',
  relatime: 'relatime',
  nosymfollow: 'nosymfollow',
};

function isCgroupMount(mount: FilesystemMount): boolean {
  return mount.target === cgroupRoot || mount.target.startsWith(`${cgroupRoot}/`);
}

function mountOf(operation: LaunchOperation): unknown[] {
  if (operation.kind === 'mount' && !isCgroupMount(operation)) {
    const { type, source, target, flags, options } = operation;
    return [
      { destination: target, type, source, options: [...flags.map((flag) => flagOptions[flag]), ...options] },
    ];
  }
  return operation.kind === 'bind' ? [bindOf(operation)] : [];
}

function bindOf(bind: BindMount): unknown {
  if (bind.subpath !== undefined) throw missing('a subpath of a volume');
  if (bind.mountNamespace !== undefined) throw missing('the shared memory of another container');
  const options = [bind.recursive ? 'rbind' : 'bind', ...bind.flags.map((flag) => flagOptions[flag])];
  return {
    destination: bind.target,
    type: 'bind',
    source: bind.source,
    options: [...options, bind.propagation],
  };
}

/** One word for what the plan has as a mount for each hierarchy. */
function cgroupMount(operations: readonly LaunchOperation[]): unknown[] {
  const mounts = all(operations, 'mount').filter((mount) => mount.type.startsWith('cgroup'));
  if (mounts.length === 0) return [];
  const readOnly = mounts.some(({ flags }) => flags.includes('read-only'));
  const options = ['nosuid', 'noexec', 'nodev', 'relatime', ...(readOnly ? ['ro'] : [])];
  return [{ destination: cgroupRoot, type: 'cgroup', source: 'cgroup', options }];
}

const deviceLetters = { character: 'c', block: 'b', fifo: 'p' } as const;
const defaultPaths = new Set(defaultDevices.map(({ path }) => path));

/** Those that no runtime makes by itself. */
function devicesOf(operations: readonly LaunchOperation[]): unknown[] {
  return all(operations, 'device')
    .filter(({ path }) => !defaultPaths.has(path))
    .map(({ path, type, major, minor, mode, uid, gid }) => ({
      path,
      type: deviceLetters[type],
      ...(type === 'fifo' ? {} : { major, minor }),
      fileMode: mode,
      uid,
      gid,
    }));
}

function deviceRules(rules: readonly string[] | 'all'): unknown[] {
  if (rules === 'all') return [{ allow: true, access: 'rwm' }];
  const lines = [...allowedDevices, ...rules].map((line) => {
    const [type, numbers = '', access] = line.split(' ');
    const [major, minor] = numbers.split(':').map((text) => (text === '*' ? undefined : Number(text)));
    return {
      allow: true,
      type,
      ...(major === undefined ? {} : { major }),
      ...(minor === undefined ? {} : { minor }),
      access,
    };
  });
  return [{ allow: false, access: 'rwm' }, ...lines];
}

function seccompOf(operations: readonly LaunchOperation[], { seccomp, target }: ForeignExtras): object {
  // Whoever has every right has no filter, whatever the profile.
  if (seccomp === undefined || all(operations, 'seccomp').length === 0) return {};
  const capabilities = capabilityNames(finderOf(operations)('capabilities')?.bounding ?? 0n);
  return {
    seccomp: {
      defaultAction: seccomp.defaultAction,
      ...(seccomp.defaultErrno === undefined ? {} : { defaultErrnoRet: seccomp.defaultErrno }),
      architectures:
        target.architecture === 'amd64'
          ? ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32']
          : ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
      syscalls: seccomp.rules
        .filter((rule) => counts(rule, { ...target, capabilities }))
        .map(({ names, action, errno, args }) => ({
          names,
          action,
          ...(errno === undefined ? {} : { errnoRet: errno }),
          args: args.map(({ index, value, valueTwo, op }) => ({
            index,
            value: Number(value),
            valueTwo: Number(valueTwo),
            op,
          })),
        })),
    },
  };
}
