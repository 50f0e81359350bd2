/** Docker's `GET /info`: this node, and what its manager says of the cluster. */
import type { NodeConfig } from '#libs/model';
import { foreignRuntimes } from '#libs/runtime';
import type { Machine } from './machine.js';
import type { NodeCounts, NodeStatus } from './node-status.js';
import { productVersion } from './product.js';

/** What the manager answers at `/_enxame/info`. */
export interface ClusterInfo {
  nodes: number;
  managers: number;
  /** Docker's ClusterInfo, as in `GET /swarm` without the join tokens. */
  cluster: Record<string, unknown>;
  remoteManagers: { nodeId: string; address: string }[];
  /** Why the figures may be old: the cluster has no leader now. */
  error?: string;
}

export interface InfoSource {
  config: NodeConfig;
  machine: Machine;
  status(): NodeStatus;
  counts(): NodeCounts;
  cluster: ClusterInfo | undefined;
  nowMs(): number;
}

export function presentInfo(source: InfoSource): Record<string, unknown> {
  const { config, machine } = source;
  const counts = source.counts();
  return {
    ID: source.status().nodeId ?? config.nodeName,
    Containers: counts.containers,
    ContainersRunning: counts.running,
    ContainersPaused: counts.paused,
    ContainersStopped: counts.stopped,
    Images: counts.images,
    Driver: 'overlay2',
    DriverStatus: [
      ['Backing Filesystem', 'extfs'],
      ['Supports d_type', 'true'],
      ['Using metacopy', 'false'],
      ['Native Overlay Diff', 'true'],
      ['userxattr', 'false'],
    ],
    Plugins: {
      Volume: ['local'],
      Network: ['bridge', 'host', 'null', 'overlay'],
      Authorization: null,
      Log: ['json-file', 'local', 'none'],
    },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    OomKillDisable: machine.cgroupVersion === '1',
    KernelMemory: false,
    KernelMemoryTCP: false,
    BridgeNfIptables: false,
    BridgeNfIp6tables: false,
    Debug: config.logLevel === 'debug',
    NFd: -1,
    NGoroutines: -1,
    SystemTime: new Date(source.nowMs()).toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: machine.cgroupVersion,
    NEventsListener: 0,
    KernelVersion: machine.kernelVersion,
    OperatingSystem: machine.operatingSystem,
    OSVersion: machine.operatingSystemVersion,
    OSType: 'linux',
    Architecture: machine.architecture,
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: {
      InsecureRegistryCIDRs: [
        '::1/128',
        '127.0.0.0/8',
        ...config.insecureRegistries.filter((entry) => entry.includes('/')),
      ],
      IndexConfigs: { 'docker.io': { Name: 'docker.io', Mirrors: [], Secure: true, Official: true } },
      Mirrors: null,
    },
    NCPU: machine.cpus,
    MemTotal: machine.memoryBytes,
    GenericResources: null,
    DockerRootDir: config.stateDir,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: config.nodeName,
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: productVersion,
    Runtimes: {
      enxame: { path: 'enxame-launcher' },
      ...Object.fromEntries([...foreignRuntimes()].map(([name, path]) => [name, { path }])),
    },
    DefaultRuntime: 'enxame',
    Swarm: presentSwarm(source),
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: { ID: '' },
    RuncCommit: { ID: '' },
    InitCommit: { ID: '' },
    SecurityOptions: ['name=seccomp,profile=builtin', 'name=cgroupns'],
    DefaultAddressPools: [],
    CDISpecDirs: [],
    FirewallBackend: { Driver: 'nftables' },
    Warnings: null,
  };
}

/** Docker's words and line breaks. */
const twoManagers = `WARNING: Running Swarm in a two-manager configuration. This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.`;

function presentSwarm(source: InfoSource): Record<string, unknown> {
  const status = source.status();
  const { cluster } = source;
  const managers = cluster?.remoteManagers ?? status.managers;
  return {
    NodeID: status.nodeId ?? '',
    NodeAddr: status.address ?? '',
    LocalNodeState: status.state,
    ControlAvailable: status.state === 'active' && status.role === 'manager',
    Error: status.error ?? cluster?.error ?? '',
    RemoteManagers:
      managers.length === 0
        ? null
        : managers.map(({ nodeId, address }) => ({ NodeID: nodeId, Addr: address })),
    ...(cluster === undefined
      ? {}
      : {
          Nodes: cluster.nodes,
          Managers: cluster.managers,
          Cluster: cluster.cluster,
          ...(cluster.managers === 2 ? { Warnings: [twoManagers] } : {}),
        }),
  };
}
