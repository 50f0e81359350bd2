/**
 * A bundle's `config.json` (OCI runtime specification 1.0 to 1.3) becomes a launch plan: pure, everything is an
 * argument. What the plan cannot say is refused with the field that asks for it; nothing is passed over.
 */
import { isAbsolute, join } from 'node:path';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { CgroupLayout } from '../cgroup/detect.js';
import {
  hookStages,
  type Device,
  type ExecPlan,
  type Hook,
  type LaunchOperation,
  type LaunchPlan,
} from '../launcher/launch-plan.js';
import { defaultDevices, defaultSymlinks } from '../sandbox/default-sandbox.js';
import { planBundleMounts } from './bundle-mounts.js';
import {
  enteredBundleNamespaces,
  planBundleNamespaces,
  readNamespaces,
  type NamespaceSet,
} from './bundle-namespaces.js';
import { planBundleProcess, planStdio, type ProcessContext } from './bundle-process.js';
import { planBundleCgroup } from './bundle-resources.js';
import { Field } from './field.js';

export interface BundleContext {
  id: string;
  /** Absolute. */
  bundle: string;
  noPivot: boolean;
  noNewKeyring: boolean;
  layout: CgroupLayout;
  cpuset: { mems?: string; cpus?: string };
  node: ProcessContext['node'];
  homeOf: ProcessContext['homeOf'];
}

export function planBundle(config: unknown, context: BundleContext): LaunchPlan {
  const root = new Field(config, '');
  const ociVersion = readVersion(root);
  const linux = root.at('linux');
  checkLinux(linux);
  const namespaces = readNamespaces(linux);
  const cgroup = planBundleCgroup({ ...context, linux });
  const process = root.at('process');
  if (process.isAbsent) throw process.invalid('must be there: a container is made around its program');
  return {
    id: context.id,
    shim: { socketPath: '', exitPath: '', held: false },
    operations: [
      { kind: 'oci-state', ociVersion, bundle: context.bundle, annotations: readAnnotations(root) },
      ...planHooks(root.at('hooks')),
      ...planCgroupOperations(cgroup),
      ...planBundleNamespaces(namespaces, linux),
      planStdio(process),
      ...planRoot(root, namespaces, cgroup, context),
      ...planNames(root, namespaces),
      ...planSysctls(linux.at('sysctl'), namespaces),
      ...(namespaces.get('network') === '' ? [{ kind: 'loopback' } as const] : []),
      ...planBundleProcess(process, {
        ...context,
        seccomp: linux.at('seccomp'),
        createWorkdir: true,
      }),
    ],
  };
}

/** `process` is what `exec --process` brings, or the container's own with changes. */
export function planBundleExec(config: unknown, process: Field, context: BundleContext): ExecPlan {
  const linux = new Field(config, '').at('linux');
  const cgroup = planBundleCgroup({ ...context, linux });
  return {
    killOnDisconnect: false,
    operations: [
      ...cgroup.joins.map((entry) => ({ kind: 'cgroup-join', ...entry }) as const),
      ...enteredBundleNamespaces(readNamespaces(linux)),
      planStdio(process),
      ...planBundleProcess(process, {
        ...context,
        seccomp: linux.at('seccomp'),
        createWorkdir: false,
      }),
    ],
  };
}

function planCgroupOperations(cgroup: CgroupPlan): LaunchOperation[] {
  return [
    ...cgroup.directories.map((path) => ({ kind: 'cgroup-directory', path }) as const),
    ...cgroup.writes.map((write) => ({ kind: 'cgroup-write', ...write }) as const),
    ...cgroup.devicePrograms.map((rules) => ({ kind: 'device-program', ...rules }) as const),
    ...cgroup.joins.map((entry) => ({ kind: 'cgroup-join', ...entry }) as const),
  ];
}

function readVersion(root: Field): string {
  const field = root.at('ociVersion');
  const version = field.text();
  if (!/^1\.\d+\.\d+([-+].*)?$/.test(version)) throw field.invalid(`"${version}" must be a version 1.x.y`);
  return version;
}

function readAnnotations(root: Field): string {
  const entries = root
    .at('annotations')
    .entries()
    .map(([name, value]) => {
      if (name === '') throw root.at('annotations').invalid('a name must not be empty');
      return [name, value.text()] as const;
    });
  return JSON.stringify(Object.fromEntries(entries));
}

/** Parts of Linux that no plan has words for. */
function checkLinux(linux: Field): void {
  linux.at('mountLabel').refuseIfAny((value) => value === '');
  for (const name of ['intelRdt', 'personality', 'timeOffsets', 'netDevices', 'memoryPolicy'])
    linux
      .at(name)
      .refuseIfAny((value) => typeof value === 'object' && value !== null && Object.keys(value).length === 0);
}

function planHooks(hooks: Field): Hook[] {
  return (Object.keys(hookStages) as (keyof typeof hookStages)[]).flatMap((stage) =>
    hooks
      .at(stage)
      .list()
      .map((hook): Hook => {
        const path = hook.at('path').absolutePath();
        const timeoutSeconds = hook.at('timeout').numberIfAny();
        if (timeoutSeconds !== undefined && timeoutSeconds <= 0)
          throw hook.at('timeout').invalid('must be over 0');
        const args = hook.at('args').texts();
        return {
          kind: 'hook',
          stage,
          path,
          args: args.length === 0 ? [path] : args,
          environment: hook.at('env').texts(),
          timeoutSeconds: timeoutSeconds ?? 0,
        };
      }),
  );
}

const rootPropagations = [
  'private',
  'rprivate',
  'slave',
  'rslave',
  'shared',
  'rshared',
  'unbindable',
  'runbindable',
] as const;

export function rootPathOf(config: unknown, bundle: string): string {
  const path = new Field(config, '').at('root').at('path');
  const text = path.text();
  if (text === '') throw path.invalid('must not be empty');
  return isAbsolute(text) ? text : join(bundle, text);
}

function planRoot(
  root: Field,
  namespaces: NamespaceSet,
  cgroup: CgroupPlan,
  context: BundleContext,
): LaunchOperation[] {
  const linux = root.at('linux');
  const source = rootPathOf(root.value, context.bundle);
  const propagation = linux.at('rootfsPropagation').oneOf(rootPropagations, 'rprivate');
  const mounts = planBundleMounts(root.at('mounts'), {
    bundle: context.bundle,
    cgroup,
    ownsCgroup: namespaces.get('cgroup') === '',
  });
  const fromNode = /slave|shared/;
  const cut =
    fromNode.test(propagation) ||
    mounts.some((mount) => mount.kind === 'bind' && mount.propagation.endsWith('slave'));
  const isOwn = propagation === 'private' || propagation === 'rprivate';
  return [
    { kind: 'root-propagation', propagation: cut ? 'slave' : 'private' },
    { kind: 'bind-root', source, mountPoint: source },
    ...mounts,
    ...planDevices(root, namespaces, mounts),
    ...(root.at('process').at('terminal').truth() ? [{ kind: 'console' } as const] : []),
    ...linux
      .at('maskedPaths')
      .list()
      .map((path) => ({ kind: 'mask', path: path.absolutePath() }) as const),
    ...linux
      .at('readonlyPaths')
      .list()
      .map((path) => ({ kind: 'read-only-path', path: path.absolutePath() }) as const),
    { kind: 'pivot-root', readOnly: root.at('root').at('readonly').truth(), move: context.noPivot },
    ...(isOwn ? [] : [{ kind: 'mounted-root-propagation', propagation } as const]),
  ];
}

/** Every container has these, unless its /dev is the node's own or that of another. */
function planDevices(
  root: Field,
  namespaces: NamespaceSet,
  mounts: readonly LaunchOperation[],
): LaunchOperation[] {
  const asked = root.at('linux').at('devices').list().map(readDevice);
  const hasBoundDev = mounts.some(
    (mount) => mount.kind === 'bind' && mount.target.replace(/\/+$/, '') === '/dev',
  );
  if (hasBoundDev) return [];
  const paths = new Set(asked.map(({ path }) => path));
  const devices = [...defaultDevices.filter(({ path }) => !paths.has(path)), ...asked];
  // A user namespace may make no device, so it sees the node's.
  const made = namespaces.has('user')
    ? devices.map(
        ({ path }): LaunchOperation => ({
          kind: 'bind',
          source: path,
          target: path,
          recursive: false,
          flags: [],
          propagation: 'rprivate',
        }),
      )
    : devices;
  return [...made, ...defaultSymlinks];
}

function readDevice(field: Field): Device {
  const type = field.at('type').oneOf(['c', 'u', 'b', 'p']);
  const mode = field.at('fileMode').number(0o666);
  return {
    kind: 'device',
    path: field.at('path').absolutePath(),
    type: type === 'b' ? 'block' : type === 'p' ? 'fifo' : 'character',
    major: type === 'p' ? 0 : field.at('major').number(),
    minor: type === 'p' ? 0 : field.at('minor').number(),
    mode: mode & 0o7777,
    uid: field.at('uid').number(0),
    gid: field.at('gid').number(0),
  };
}

function planNames(root: Field, namespaces: NamespaceSet): LaunchOperation[] {
  const [hostname, domainname] = [root.at('hostname'), root.at('domainname')];
  const [name, domainName] = [hostname.text(''), domainname.text('')];
  for (const field of [hostname, domainname]) {
    if (field.text('') !== '' && !namespaces.has('uts'))
      throw field.invalid('there is no uts namespace to set it in');
  }
  if (name !== '') return [{ kind: 'hostname', name, domainName }];
  return domainName === ''
    ? []
    : [{ kind: 'sysctl', name: 'kernel.domainname', value: domainName, optional: false }];
}

const ipcSysctl = /^(kernel\.(msg(max|mnb|mni)|sem|shm(all|max|mni|_rmid_forced))|fs\.mqueue\..+)$/;

/** Only what belongs to a namespace that is not the node's: anything else would change the node. */
function planSysctls(sysctls: Field, namespaces: NamespaceSet): LaunchOperation[] {
  return sysctls.entries().map(([name, value]) => {
    const dotted = name.replaceAll('/', '.');
    const isOwn =
      (ipcSysctl.test(dotted) && namespaces.has('ipc')) ||
      (dotted.startsWith('net.') && namespaces.has('network')) ||
      (/^kernel\.(host|domain)name$/.test(dotted) && namespaces.has('uts'));
    if (!isOwn || dotted.includes('..')) throw value.invalid('is not kept in a namespace of this container');
    return { kind: 'sysctl', name, value: value.text(), optional: false };
  });
}
