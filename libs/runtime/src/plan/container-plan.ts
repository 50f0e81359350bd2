/** A container's configuration becomes a launch plan, or an exec's an exec plan: pure, everything is an argument. */
import { EnxameError } from '#libs/model';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { ExecPlan, Interface, LaunchOperation, LaunchPlan } from '../launcher/launch-plan.js';
import type { ContainerConfig, ContainerFile, ExecConfig } from '../port.js';
import { maskedPaths, readOnlyPaths } from '../sandbox/default-sandbox.js';
import { environmentOf } from './environment.js';
import { planMounts, rootPropagationOf, type NameFilePaths, type SharedPlaces } from './mounts.js';
import { enteredNamespaces, ownsNetwork, planNamespaces, type PidOf } from './namespaces.js';
import { planProcess, type NodeFacts } from './process-plan.js';
import type { ResolvedUser } from './users.js';

/** Where a container's files are on the node. */
export interface ContainerPaths {
  upperDir: string;
  workDir: string;
  mountPoint: string;
  logFile: string;
  exitFile: string;
  shimSocket: string;
  nameFiles: NameFilePaths;
}

export interface PlanInput {
  config: ContainerConfig;
  paths: ContainerPaths;
  user: ResolvedUser;
  cgroup: CgroupPlan;
  node: NodeFacts;
  /** `/sys/devices/system/cpu/cpuN/thermal_throttle` of this machine. */
  thermalPaths: readonly string[];
  /** For namespaces of other containers. */
  pidOf: PidOf;
  /** What comes from another container, or from the node, instead of being made. */
  shared?: SharedPlaces;
  files?: readonly ContainerFile[];
}

const rowsDefault = 24;
const columnsDefault = 80;
/** What one may rely on, whatever the node's kernel was built with: nothing is found through another layer's links. */
export const overlayOptions = ['index=off', 'metacopy=off', 'redirect_dir=off'];

export function planLaunch(input: PlanInput): LaunchPlan {
  const { config, paths, cgroup } = input;
  return {
    id: config.id,
    shim: { socketPath: paths.shimSocket, exitPath: paths.exitFile, held: false },
    operations: [
      ...cgroup.directories.map((path) => ({ kind: 'cgroup-directory', path }) as const),
      ...cgroup.writes.map((write) => ({ kind: 'cgroup-write', ...write }) as const),
      ...cgroup.devicePrograms.map((rules) => ({ kind: 'device-program', ...rules }) as const),
      ...cgroup.joins.map((join) => ({ kind: 'cgroup-join', ...join }) as const),
      ...planNamespaces(config, input.pidOf),
      {
        kind: 'stdio',
        tty: config.tty,
        stdin: config.openStdin,
        stdinOnce: isStdinOnce(config),
        ...consoleSizeOf(config),
      },
      ...logOf(config, paths),
      ...(cgroup.oomFile === undefined ? [] : [{ kind: 'oom-file', path: cgroup.oomFile } as const]),
      ...(config.network.mode === 'routed' && ownsNetwork(config) ? interfacesOf(config) : []),
      ...planRoot(input),
      ...planInside(input),
    ],
  };
}

function planRoot({ config, paths, cgroup, thermalPaths, shared, files = [] }: PlanInput): LaunchOperation[] {
  const { privileged, maskedPaths: masked, readOnlyPaths: readOnlyAsked } = config.security;
  const hidden = masked ?? (privileged ? [] : [...maskedPaths, ...thermalPaths]);
  const readOnly = readOnlyAsked ?? (privileged ? [] : readOnlyPaths);
  return [
    { kind: 'root-propagation', propagation: rootPropagationOf(config.mounts) },
    {
      kind: 'overlay-root',
      lowerDirs: config.rootLayers,
      upperDir: paths.upperDir,
      workDir: paths.workDir,
      mountPoint: paths.mountPoint,
      options: overlayOptions,
    },
    // By this programs tell that they are in a container.
    { kind: 'file', path: '/.dockerenv', data: Buffer.alloc(0), mode: 0o755, uid: 0, gid: 0 },
    ...planMounts(config, cgroup, { nameFiles: paths.nameFiles, ...shared }),
    ...files.map((file) => ({ kind: 'memory-file', ...file }) as const),
    ...hidden.map((path) => ({ kind: 'mask', path }) as const),
    ...readOnly.map((path) => ({ kind: 'read-only-path', path }) as const),
    { kind: 'pivot-root', readOnly: config.readOnlyRootfs },
  ];
}

function planInside({ config, user, node }: PlanInput): LaunchOperation[] {
  const ownNetwork = ownsNetwork(config);
  const ownName = config.namespaces?.uts !== 'host';
  return [
    ...(ownName
      ? [{ kind: 'hostname', name: config.hostname, domainName: config.domainName ?? '' } as const]
      : []),
    ...(ownNetwork ? defaultSysctls : []),
    ...Object.entries(config.sysctls).map(
      ([name, value]) =>
        ({ kind: 'sysctl', name: checkedSysctl(name, ownNetwork), value, optional: false }) as const,
    ),
    ...(ownNetwork ? [{ kind: 'loopback' } as const] : []),
    ...(config.init ? [{ kind: 'init' } as const] : []),
    ...planProcess({
      config,
      user,
      argv: config.argv,
      environment: environmentOf({
        hostname: config.hostname,
        home: user.home,
        tty: config.tty,
        given: [config.env],
      }),
      workdir: config.workdir || '/',
      createWorkdir: true,
      privileged: false,
      node,
    }),
  ];
}

export function planExec(input: {
  container: ContainerConfig;
  exec: ExecConfig;
  user: ResolvedUser;
  cgroup: CgroupPlan;
  node: NodeFacts;
  /** Health probes end with the agent that asked; other processes go on. */
  killOnDisconnect: boolean;
}): ExecPlan {
  const { container, exec, user, cgroup, node } = input;
  return {
    killOnDisconnect: input.killOnDisconnect,
    operations: [
      ...cgroup.joins.map((join) => ({ kind: 'cgroup-join', ...join }) as const),
      enteredNamespaces(container),
      {
        kind: 'stdio',
        tty: exec.tty,
        stdin: exec.attachStdin,
        stdinOnce: true,
        rows: exec.size?.rows || rowsDefault,
        columns: exec.size?.columns || columnsDefault,
      },
      ...planProcess({
        config: container,
        user,
        argv: exec.argv,
        environment: environmentOf({
          hostname: container.hostname,
          home: user.home,
          tty: exec.tty,
          given: [container.env, exec.env],
        }),
        workdir: exec.workdir || container.workdir || '/',
        createWorkdir: false,
        privileged: exec.privileged,
        node,
      }),
    ],
  };
}

function logOf({ log }: ContainerConfig, { logFile }: ContainerPaths): LaunchOperation[] {
  if (log.driver === 'none') return [];
  return [{ kind: 'log', path: logFile, fileBytesMax: log.fileBytesMax, filesMax: log.filesMax }];
}

function interfacesOf(config: ContainerConfig): Interface[] {
  return config.network.interfaces.map(({ hostName, name, address, mtu, gateway, subnet, defaultRoute }) => ({
    kind: 'interface',
    hostName,
    name,
    address,
    mtu,
    ...(defaultRoute ? { defaultGateway: gateway } : {}),
    routes: defaultRoute ? [] : [{ destination: subnet, gateway }],
  }));
}

/** As Docker sets them: low ports and ping without extra rights, which a network of one's own makes harmless. */
const defaultSysctls: readonly LaunchOperation[] = [
  { kind: 'sysctl', name: 'net.ipv4.ip_unprivileged_port_start', value: '0', optional: true },
  { kind: 'sysctl', name: 'net.ipv4.ping_group_range', value: '0 2147483647', optional: true },
];

const ipcSysctls = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
]);

/** Only what belongs to the container's namespaces: anything else would change the node. */
function checkedSysctl(name: string, ownNetwork: boolean): string {
  const dotted = name.replaceAll('/', '.');
  const isOwn =
    ipcSysctls.has(dotted) || dotted.startsWith('fs.mqueue.') || (ownNetwork && dotted.startsWith('net.'));
  if (!isOwn || dotted.includes('..')) {
    throw new EnxameError(
      'invalid-argument',
      `sysctl '${name}' is not allowed: it is not kept per container`,
    );
  }
  return name;
}

/** The size of the client's own terminal, when it has said it. */
function consoleSizeOf(config: ContainerConfig): { rows: number; columns: number } {
  const shown = config.inspect?.hostConfig as { ConsoleSize?: [number, number] } | undefined;
  const [rows, columns] = shown?.ConsoleSize ?? [0, 0];
  return rows > 0 && columns > 0 ? { rows, columns } : { rows: rowsDefault, columns: columnsDefault };
}

function isStdinOnce(config: ContainerConfig): boolean {
  const shown = config.inspect?.config;
  return typeof shown === 'object' && shown !== null && 'StdinOnce' in shown && shown.StdinOnce === true;
}
