/** Containers as Docker shows them: the line of `docker ps`, and the document of `docker inspect`. */
import { rfc3339Nano, zeroTime } from '#libs/docker-api';
import type { ContainerConfig, ContainerMount, ContainerState, HealthState } from '#libs/runtime';
import { defaultNetworkName } from './default-network.js';
import { durationWords } from './duration-words.js';

/** `exposed`: what the image says it listens on, `80/tcp`. */
export function presentSummary(
  state: ContainerState,
  nowMs: number,
  exposed: readonly string[] = [],
): Record<string, unknown> {
  const { config } = state;
  return {
    Id: config.id,
    Names: [`/${config.name}`],
    Image: config.image.reference,
    ImageID: config.image.id,
    Command: config.argv.map((word) => (/\s/.test(word) || word === '' ? `'${word}'` : word)).join(' '),
    Created: Math.floor(config.createdAtMs / 1_000),
    Ports: exposed.map((port) => ({
      PrivatePort: Number.parseInt(port, 10),
      Type: port.split('/')[1] ?? 'tcp',
    })),
    Labels: config.labels,
    State: state.phase,
    Status: statusWords(state, nowMs),
    HostConfig: { NetworkMode: networkModeOf(config) },
    NetworkSettings: { Networks: networksOf(config) },
    Mounts: config.mounts.map(presentMount),
  };
}

export function statusWords(state: ContainerState, nowMs: number): string {
  switch (state.phase) {
    case 'created':
      return 'Created';
    case 'running': {
      const up = `Up ${durationWords(nowMs - (state.startedAtMs ?? nowMs))}`;
      const { status } = state.health;
      if (status === 'none') return up;
      return `${up} (${status === 'starting' ? 'health: starting' : status})`;
    }
    case 'exited': {
      const since = durationWords(nowMs - (state.exit?.finishedAtMs ?? nowMs));
      return `Exited (${state.exit?.exitCode ?? 0}) ${since} ago`;
    }
  }
}

export function presentContainer(
  state: ContainerState,
  execIds: readonly string[],
  exposed: readonly string[] = [],
): Record<string, unknown> {
  const { config } = state;
  const [path = '', ...args] = config.argv;
  return {
    Id: config.id,
    Created: rfc3339Nano(config.createdAtMs),
    Path: path,
    Args: args,
    State: presentState(state),
    Image: config.image.id,
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: '',
    Name: `/${config.name}`,
    RestartCount: 0,
    Driver: 'overlay2',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: execIds.length === 0 ? null : execIds,
    HostConfig: { ...hostConfigOf(config), ...objectOf(config.inspect?.hostConfig) },
    GraphDriver: { Data: null, Name: 'overlay2' },
    Mounts: config.mounts.map(presentMount),
    Config: {
      ...containerConfigOf(config),
      ...(exposed.length === 0
        ? {}
        : { ExposedPorts: Object.fromEntries(exposed.map((port) => [port, {}])) }),
      ...objectOf(config.inspect?.config),
    },
    NetworkSettings: {
      Bridge: '',
      SandboxID: config.id,
      SandboxKey: state.pid === 0 ? '' : `/proc/${state.pid}/ns/net`,
      Ports: Object.fromEntries(exposed.map((port) => [port, null])),
      ...firstEndpoint(config),
      Networks: networksOf(config),
    },
  };
}

function presentState(state: ContainerState): Record<string, unknown> {
  const { exit, health, phase } = state;
  return {
    Status: phase,
    Running: phase === 'running',
    Paused: false,
    Restarting: false,
    OOMKilled: exit?.oomKilled ?? false,
    Dead: false,
    Pid: state.pid,
    ExitCode: exit?.exitCode ?? 0,
    Error: exit?.error ?? '',
    StartedAt: state.startedAtMs === undefined ? zeroTime : rfc3339Nano(state.startedAtMs),
    FinishedAt: exit === undefined ? zeroTime : rfc3339Nano(exit.finishedAtMs),
    ...(health.status === 'none' ? {} : { Health: presentHealth(health) }),
  };
}

function presentHealth(health: HealthState): Record<string, unknown> {
  return {
    Status: health.status,
    FailingStreak: health.failingStreak,
    Log: health.log.map(({ startMs, endMs, exitCode, output }) => ({
      Start: rfc3339Nano(startMs),
      End: rfc3339Nano(endMs),
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

function containerConfigOf(config: ContainerConfig): Record<string, unknown> {
  return {
    Hostname: config.hostname,
    Domainname: '',
    User: config.user,
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    Tty: config.tty,
    OpenStdin: config.openStdin,
    StdinOnce: false,
    Env: config.env,
    Cmd: config.argv,
    ...(config.health === undefined ? {} : { Healthcheck: healthcheckOf(config.health) }),
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

function healthcheckOf(health: NonNullable<ContainerConfig['health']>): Record<string, unknown> {
  const nanoseconds = (ms: number): number => ms * 1_000_000;
  return {
    Test: health.test,
    Interval: nanoseconds(health.intervalMs),
    Timeout: nanoseconds(health.timeoutMs),
    StartPeriod: nanoseconds(health.startPeriodMs),
    StartInterval: nanoseconds(health.startIntervalMs),
    Retries: health.retries,
  };
}

function hostConfigOf(config: ContainerConfig): Record<string, unknown> {
  const { resources, security, network } = config;
  return {
    Binds: null,
    ContainerIDFile: '',
    LogConfig: {
      Type: 'json-file',
      Config: { 'max-file': String(config.log.filesMax), 'max-size': String(config.log.fileBytesMax) },
    },
    NetworkMode: networkModeOf(config),
    PortBindings: {},
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
    AutoRemove: false,
    VolumeDriver: '',
    VolumesFrom: null,
    CapAdd: orNull(security.capabilitiesAdd),
    CapDrop: orNull(security.capabilitiesDrop),
    CgroupnsMode: 'private',
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
    IpcMode: 'private',
    Cgroup: '',
    Links: null,
    OomScoreAdj: config.oomScoreAdj,
    PidMode: '',
    Privileged: security.privileged,
    PublishAllPorts: false,
    ReadonlyRootfs: config.readOnlyRootfs,
    SecurityOpt: security.noNewPrivileges ? ['no-new-privileges'] : null,
    Init: config.init,
    Tmpfs: Object.fromEntries(
      config.mounts.flatMap((mount) => (mount.type === 'tmpfs' ? [[mount.target, '']] : [])),
    ),
    UTSMode: '',
    UsernsMode: '',
    ShmSize: config.shmBytes,
    Sysctls: config.sysctls,
    Runtime: 'enxame',
    Isolation: '',
    CpuShares: resources.cpuShares ?? 0,
    Memory: resources.memoryBytes ?? 0,
    NanoCpus: resources.nanoCpus ?? 0,
    CgroupParent: '',
    CpusetCpus: resources.cpusetCpus ?? '',
    MemorySwap: resources.memorySwapBytes ?? 0,
    OomKillDisable: false,
    PidsLimit: resources.pids ?? null,
    Ulimits: config.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
  };
}

function presentMount(mount: ContainerMount): Record<string, unknown> {
  const shared = { Destination: mount.target, RW: !mount.readOnly };
  switch (mount.type) {
    case 'bind':
      return {
        Type: 'bind',
        Source: mount.source,
        Mode: '',
        Propagation: mount.propagation ?? 'rprivate',
        ...shared,
      };
    case 'volume':
      return {
        Type: 'volume',
        Name: mount.name,
        Source: mount.source,
        Driver: 'local',
        Mode: 'z',
        Propagation: '',
        ...shared,
      };
    case 'tmpfs':
      return { Type: 'tmpfs', Source: '', Mode: '', Propagation: '', ...shared };
  }
}

export function networkModeOf(config: ContainerConfig): string {
  return config.network.mode === 'routed' ? 'default' : config.network.mode;
}

/** A task's interfaces know their subnet, not their network's name: that is the cluster's, and shown with its tasks. */
function networksOf(config: ContainerConfig): Record<string, unknown> {
  if (config.network.mode !== 'routed') {
    return { [config.network.mode]: endpoint({ gateway: '', address: '', prefixLength: 0 }) };
  }
  return Object.fromEntries(
    config.network.interfaces.map((link) => [
      'com.docker.swarm.task.id' in config.labels ? link.name : defaultNetworkName,
      endpoint({ gateway: link.gateway, address: link.address, prefixLength: prefixLengthOf(link.subnet) }),
    ]),
  );
}

function endpoint(of: { gateway: string; address: string; prefixLength: number }): Record<string, unknown> {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: null,
    MacAddress: '',
    DriverOpts: null,
    NetworkID: '',
    EndpointID: '',
    Gateway: of.gateway,
    IPAddress: of.address,
    IPPrefixLen: of.prefixLength,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
}

function firstEndpoint(config: ContainerConfig): Record<string, unknown> {
  const first = config.network.interfaces.find((link) => link.defaultRoute) ?? config.network.interfaces[0];
  return {
    Gateway: first?.gateway ?? '',
    IPAddress: first?.address ?? '',
    IPPrefixLen: first === undefined ? 0 : prefixLengthOf(first.subnet),
    MacAddress: '',
  };
}

function prefixLengthOf(subnet: string): number {
  return Number(subnet.split('/')[1] ?? 32);
}

function orNull<T>(list: readonly T[]): readonly T[] | null {
  return list.length === 0 ? null : list;
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
