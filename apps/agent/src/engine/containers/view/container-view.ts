/** Containers as Docker shows them: the line of `docker ps`, and the document of `docker inspect`. */
import { rfc3339Nano } from '#libs/docker-api';
import type { ContainerConfig, ContainerPort, ContainerState } from '#libs/runtime';
import { shownHostConfig, type Shown } from '../request/shown-config.js';
import { presentMounts } from './mount-view.js';
import { networkModeOf, networksOf, portListOf, presentNetworkSettings } from './network-view.js';
import { presentState, stateWord, statusWords } from './state-view.js';

export interface ContainerSizes {
  /** What it has written over its image. */
  written: number;
  image: number;
}

export interface SummaryContext {
  nowMs: number;
  /** Ports the container exposes, `80/tcp`. */
  exposed: readonly string[];
  /** Ports of the node that lead to it. */
  ports: readonly ContainerPort[];
  /** The image's name, or its id when the name has gone to another one. */
  image: string;
  sizes?: ContainerSizes | undefined;
}

export function presentSummary(state: ContainerState, context: SummaryContext): Record<string, unknown> {
  const { config } = state;
  const [path = '', ...args] = config.argv;
  const command = [path, ...args.map((word) => (word.includes(' ') ? `'${word}'` : word))].join(' ');
  return {
    Id: config.id,
    Names: [`/${config.name}`],
    Image: context.image,
    ImageID: config.image.id,
    Command: command,
    Created: Math.floor(config.createdAtMs / 1_000),
    Ports: state.phase === 'running' ? portListOf(context.exposed, context.ports) : [],
    ...sizesOf(context.sizes),
    Labels: config.labels,
    State: stateWord(state),
    Status: statusWords(state, context.nowMs),
    HostConfig: { NetworkMode: networkModeOf(config) },
    NetworkSettings: { Networks: networksOf(config) },
    Mounts: presentMounts(config),
  };
}

export function presentContainer(
  state: ContainerState,
  context: {
    execIds: readonly string[];
    exposed: readonly string[];
    ports: readonly ContainerPort[];
    sizes?: ContainerSizes | undefined;
  },
): Record<string, unknown> {
  const { config, files } = state;
  const [path = '', ...args] = config.argv;
  return {
    Id: config.id,
    Created: rfc3339Nano(config.createdAtMs),
    Path: path,
    Args: args,
    State: presentState(state),
    Image: config.image.id,
    ResolvConfPath: files?.resolvConf ?? '',
    HostnamePath: files?.hostname ?? '',
    HostsPath: files?.hosts ?? '',
    LogPath: config.log.driver === 'none' ? '' : (files?.log ?? ''),
    Name: `/${config.name}`,
    RestartCount: state.restartCount ?? 0,
    Driver: 'overlay2',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: context.execIds.length === 0 ? null : context.execIds,
    HostConfig: hostConfigOf(config),
    GraphDriver: {
      Data: {
        LowerDir: config.rootLayers.join(':'),
        MergedDir: files?.mountPoint ?? '',
        UpperDir: files?.upperDir ?? '',
        WorkDir: files?.workDir ?? '',
      },
      Name: 'overlay2',
    },
    ...sizesOf(context.sizes),
    Mounts: presentMounts(config),
    Config: containerConfigOf(config, context.exposed),
    NetworkSettings: presentNetworkSettings(state, context.exposed, context.ports),
  };
}

function sizesOf(sizes: ContainerSizes | undefined): Record<string, number> {
  if (sizes === undefined) return {};
  // Go leaves a zero out.
  return {
    ...(sizes.written === 0 ? {} : { SizeRw: sizes.written }),
    SizeRootFs: sizes.image + sizes.written,
  };
}

/** A task's container was not asked for in Docker's words: what it has is told in them. */
function containerConfigOf(config: ContainerConfig, exposed: readonly string[]): Shown {
  const asked = objectOf(config.inspect?.config);
  if (asked['Cmd'] !== undefined || asked['Entrypoint'] !== undefined) return asked;
  const { health } = config;
  const nanoseconds = (ms: number): number => ms * 1_000_000;
  return {
    Hostname: config.hostname,
    Domainname: config.domainName ?? '',
    User: config.user,
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(exposed.length === 0 ? {} : { ExposedPorts: Object.fromEntries(exposed.map((port) => [port, {}])) }),
    Tty: config.tty,
    OpenStdin: config.openStdin,
    StdinOnce: false,
    Env: config.env,
    Cmd: config.argv,
    ...(health === undefined
      ? {}
      : {
          Healthcheck: {
            Test: health.test,
            Interval: nanoseconds(health.intervalMs),
            Timeout: nanoseconds(health.timeoutMs),
            StartPeriod: nanoseconds(health.startPeriodMs),
            StartInterval: nanoseconds(health.startIntervalMs),
            Retries: health.retries,
          },
        }),
    Image: config.image.reference,
    Volumes: null,
    WorkingDir: config.workdir,
    Entrypoint: null,
    OnBuild: null,
    Labels: config.labels,
    StopSignal: config.stopSignal,
    StopTimeout: Math.ceil(config.stopGraceMs / 1_000),
  };
}

function hostConfigOf(config: ContainerConfig): Shown {
  const asked = objectOf(config.inspect?.hostConfig);
  if (asked['RestartPolicy'] !== undefined) return asked;
  const { resources, security, network } = config;
  const shown = shownHostConfig({
    CapAdd: orNull(security.capabilitiesAdd),
    CapDrop: orNull(security.capabilitiesDrop),
    Dns: network.nameservers,
    DnsOptions: network.resolverOptions,
    DnsSearch: network.searchDomains,
    ExtraHosts: orNull(
      network.hosts.flatMap((line) => {
        const [address, ...names] = line.split(/\s+/);
        return names.map((name) => `${name}:${address}`);
      }),
    ),
    GroupAdd: orNull(config.groups),
    OomScoreAdj: config.oomScoreAdj,
    Privileged: security.privileged,
    ReadonlyRootfs: config.readOnlyRootfs,
    SecurityOpt: security.noNewPrivileges ? ['no-new-privileges'] : null,
    Init: config.init,
    ShmSize: config.shmBytes,
    Sysctls: config.sysctls,
    CpuShares: resources.cpuShares ?? 0,
    Memory: resources.memoryBytes ?? 0,
    NanoCpus: resources.nanoCpus ?? 0,
    CpusetCpus: resources.cpusetCpus ?? '',
    MemorySwap: resources.memorySwapBytes ?? 0,
    PidsLimit: resources.pids ?? null,
    Ulimits: config.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
    Tmpfs: Object.fromEntries(
      config.mounts.flatMap((mount) => (mount.type === 'tmpfs' ? [[mount.target, '']] : [])),
    ),
  });
  return {
    ...shown,
    NetworkMode: networkModeOf(config),
    LogConfig: {
      Type: 'json-file',
      Config: { 'max-file': String(config.log.filesMax), 'max-size': String(config.log.fileBytesMax) },
    },
  };
}

function orNull<T>(list: T[]): T[] | null {
  return list.length === 0 ? null : list;
}

function objectOf(value: unknown): Shown {
  return typeof value === 'object' && value !== null ? (value as Shown) : {};
}
