/**
 * The port between an agent and whatever runs containers. Our own launcher and shim implement it; any OCI runtime
 * binary can, too. Everything here is plain data with no choices left: names are resolved, defaults are filled in.
 */
import type { ContainerId, ContainerInterface } from '#libs/model';
import type { Readable, Writable } from 'node:stream';
import type { UsageDetail } from './cgroup/cgroup-files.js';
import type { MountFlag } from './launcher/launch-plan.js';

export interface ContainerConfig {
  id: ContainerId;
  /** Without the leading slash. Unique on the node. */
  name: string;
  labels: Record<string, string>;
  createdAtMs: number;
  image: { id: string; reference: string };
  /** Unpacked layer folders on this node, topmost first: the overlay's lower dirs. */
  rootLayers: string[];
  /** Full argv: entrypoint and command joined. */
  argv: string[];
  env: string[];
  workdir: string;
  /** `""`, `user`, `uid`, `user:group`, `uid:gid`: looked up in the container's own passwd and group files. */
  user: string;
  groups: string[];
  hostname: string;
  domainName?: string;
  tty: boolean;
  openStdin: boolean;
  stopSignal: string;
  stopGraceMs: number;
  readOnlyRootfs: boolean;
  init: boolean;
  mounts: ContainerMount[];
  resources: ContainerResources;
  security: ContainerSecurity;
  network: ContainerNetwork;
  /** Absent: each is the container's own. */
  namespaces?: ContainerNamespaces;
  /** Device nodes of the node that the container may use, beside the default ones. */
  devices?: ContainerDevice[];
  /** `c 1:3 rwm` lines of Docker's DeviceCgroupRules. */
  deviceRules?: string[];
  /** Another OCI runtime of the node that makes it, by name. Absent: our own. */
  runtime?: string;
  /** Absent: it stays down when it ends. */
  restart?: RestartPolicy;
  /** Absent or test `NONE`: no health check. Durations in milliseconds. */
  health?: ContainerHealth;
  /** `none`: output goes to attached clients only. */
  log: { driver?: 'file' | 'none'; fileBytesMax: number; filesMax: number };
  oomScoreAdj: number;
  ulimits: { name: string; soft: number; hard: number }[];
  sysctls: Record<string, string>;
  shmBytes: number;
  /** The body Docker's API shows in inspect, kept word for word for round trips. */
  inspect?: { config?: unknown; hostConfig?: unknown };
}

export interface RestartPolicy {
  name: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** For `on-failure`; 0: no limit. */
  retriesMax: number;
}

/** `host`: the node's own. A container id: that of another container, which must run. */
export type NamespaceMode = 'private' | 'host' | { container: ContainerId };

export interface ContainerNamespaces {
  pid?: NamespaceMode;
  ipc?: NamespaceMode;
  uts?: 'private' | 'host';
  cgroup?: 'private' | 'host';
  /** Overrules `network.mode`: the network of another container. */
  network?: { container: ContainerId };
}

export interface ContainerDevice {
  /** Inside the container. */
  path: string;
  type: 'character' | 'block' | 'fifo';
  major: number;
  minor: number;
  mode: number;
  uid: number;
  gid: number;
  /** Some of `rwm`. */
  access: string;
}

export type ContainerMount =
  | {
      type: 'bind';
      source: string;
      target: string;
      readOnly: boolean;
      propagation?: string;
      recursive: boolean;
      /** Made when missing, as `-v` does. */
      createSource?: boolean;
      /** As `-v` had it, for inspect. */
      mode?: string;
    }
  | {
      type: 'volume';
      name: string;
      /** Folder of the volume. */
      source: string;
      /** Below `source`, resolved without leaving it. */
      subpath?: string;
      target: string;
      readOnly: boolean;
      copyUp: boolean;
      propagation?: string;
      mode?: string;
      driver?: string;
      /** Mounted over the folder on the node while a container uses it. */
      filesystem?: { type: string; device: string; flags: MountFlag[]; options: string[] };
    }
  | {
      type: 'tmpfs';
      target: string;
      bytesMax?: number;
      mode?: number;
      readOnly: boolean;
      /** `exec`, `dev`, `suid`, `uid=N`, `gid=N`, `nr_inodes=N`: taken over the defaults. */
      options?: string[];
    };

/** 0 or absent: no limit. */
export interface ContainerResources {
  nanoCpus?: number;
  cpuShares?: number;
  cpusetCpus?: string;
  memoryBytes?: number;
  memorySwapBytes?: number;
  pids?: number;
  /** Instead of `nanoCpus`. */
  cpuPeriodUs?: number;
  cpuQuotaUs?: number;
  cpuRealtimePeriodUs?: number;
  cpuRealtimeRuntimeUs?: number;
  cpusetMems?: string;
  memoryReservationBytes?: number;
  /** 0 to 100. Absent: the node's. */
  memorySwappiness?: number;
  oomKillDisable?: boolean;
  /** 10 to 1000. */
  blkioWeight?: number;
  blkioWeightDevice?: DeviceRate[];
  blkioReadBps?: DeviceRate[];
  blkioWriteBps?: DeviceRate[];
  blkioReadIops?: DeviceRate[];
  blkioWriteIops?: DeviceRate[];
}

export interface DeviceRate {
  major: number;
  minor: number;
  rate: number;
}

export interface ContainerSecurity {
  capabilitiesAdd: string[];
  capabilitiesDrop: string[];
  seccomp: { mode: 'default' } | { mode: 'unconfined' } | { mode: 'custom'; profile: string };
  noNewPrivileges: boolean;
  privileged: boolean;
  /** Absent: the default ones. */
  maskedPaths?: string[];
  readOnlyPaths?: string[];
}

export interface ContainerNetwork {
  /** `none`: loopback only. `host`: the node's own namespace. */
  mode: 'routed' | 'none' | 'host';
  interfaces: ContainerInterface[];
  nameservers: string[];
  searchDomains: string[];
  resolverOptions: string[];
  /** `ip name [alias...]` lines for /etc/hosts, beside localhost and the container's own name. */
  hosts: string[];
  /** Ports of the node that lead to the container. */
  ports?: ContainerPort[];
}

export interface ContainerPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  containerPort: number;
  /** Absent: every address of the node. */
  hostAddress?: string;
  hostPort: number;
}

export interface ContainerHealth {
  /** `["CMD", ...]` or `["CMD-SHELL", line]`. */
  test: string[];
  intervalMs: number;
  timeoutMs: number;
  startPeriodMs: number;
  startIntervalMs: number;
  retries: number;
}

export type ContainerPhase = 'created' | 'running' | 'exited';

export interface HealthState {
  status: 'none' | 'starting' | 'healthy' | 'unhealthy';
  failingStreak: number;
  log: { startMs: number; endMs: number; exitCode: number; output: string }[];
}

export interface ContainerExit {
  /** 128 + signal when a signal ended it. */
  exitCode: number;
  signal?: number;
  oomKilled: boolean;
  finishedAtMs: number;
  /** The process never ran: exec failed, mount refused, ... */
  error?: string;
}

export interface ContainerState {
  config: ContainerConfig;
  phase: ContainerPhase;
  /** 0 unless running. */
  pid: number;
  startedAtMs?: number;
  exit?: ContainerExit;
  /** The end of the run before the present one. */
  lastFinishedAtMs?: number;
  health: HealthState;
  paused?: boolean;
  /** It has ended, and its restart policy runs it again in a moment. */
  restarting?: boolean;
  restartCount?: number;
  /** Where its files are on the node. */
  files?: ContainerFiles;
}

export interface ContainerFiles {
  log: string;
  hostname: string;
  hosts: string;
  resolvConf: string;
  upperDir: string;
  workDir: string;
  mountPoint: string;
}

/** What `docker update` may change. A field that is absent stays. */
export interface ContainerChange {
  resources?: ContainerResources;
  restart?: RestartPolicy;
  /** The interfaces are changed in the kernel already, when it runs. */
  network?: ContainerNetwork;
  inspect?: ContainerConfig['inspect'];
}

export interface ExecConfig {
  /** For events and the session; absent: a new one. */
  id?: string;
  argv: string[];
  env: string[];
  workdir: string;
  user: string;
  tty: boolean;
  attachStdin: boolean;
  privileged: boolean;
  size?: { rows: number; columns: number };
}

/** Live output of a container's first process from now on, and its stdin. With a TTY everything comes on `stdout`. */
export interface ContainerAttachment {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when the container ended, or this connection to it. */
  ended: Promise<void>;
  close(): void;
}

/** A process in a running container, and its ends. With a TTY everything comes on `stdout`. */
export interface ExecSession {
  id: string;
  pid: number;
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  resize(size: { rows: number; columns: number }): Promise<void>;
  kill(signal: string): Promise<void>;
  /** Resolves when the process is gone and its output has been delivered. */
  exited: Promise<{ exitCode: number }>;
}

export interface LogLine {
  stream: 'stdout' | 'stderr';
  /** RFC 3339 in UTC, always with nine decimals: such texts compare as their times do. */
  time: string;
  /** With its newline; a part of an over-long line comes without. */
  data: Buffer;
}

export interface LogQuery {
  follow: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Number of lines from the end; absent: all. */
  tail?: number;
  sinceNano?: bigint;
  untilNano?: bigint;
  signal?: AbortSignal;
}

export interface ContainerStats {
  atMs: number;
  cpuNanoseconds: number;
  cpuUserNanoseconds: number;
  cpuSystemNanoseconds: number;
  memoryBytes: number;
  memoryLimitBytes: number;
  memoryInactiveFileBytes: number;
  pids: number;
  /** Absent: no limit. */
  pidsLimit?: number;
  /** What only some clients look at, as the kernel has it. */
  detail?: UsageDetail;
  network: Record<
    string,
    { receivedBytes: number; sentBytes: number; receivedPackets: number; sentPackets: number }
  >;
}

export type RuntimeEvent =
  | {
      type: 'create' | 'start' | 'stop' | 'restart' | 'pause' | 'unpause' | 'update' | 'destroy';
      id: ContainerId;
      atMs: number;
    }
  | { type: 'rename'; id: ContainerId; atMs: number; oldName: string }
  | { type: 'die'; id: ContainerId; atMs: number; exit: ContainerExit }
  | { type: 'oom'; id: ContainerId; atMs: number }
  | { type: 'kill'; id: ContainerId; atMs: number; signal: string }
  | { type: 'health'; id: ContainerId; atMs: number; status: HealthState['status'] }
  | { type: 'exec_start'; id: ContainerId; atMs: number; execId: string; argv: string[] }
  | { type: 'exec_die'; id: ContainerId; atMs: number; execId: string; exitCode: number };

export interface StopOptions {
  signal?: string;
  graceMs?: number;
  nodeGoesDown?: boolean;
}

/** A file that the container sees and no disk: it is handed over with the start and goes with the container. */
export interface ContainerFile {
  /** Absolute inside the container. */
  path: string;
  data: Buffer;
  mode: number;
  uid: number;
  gid: number;
}

export interface RunOptions {
  /** Its program begins once this has resolved (it must not reject); all else is made ready meanwhile. */
  until?: Promise<unknown>;
  files?: readonly ContainerFile[];
}

export interface ContainerRuntime {
  /** Connects to the launcher (starting it when needed) and adopts every container on disk. */
  start(): Promise<void>;
  /** Lets go of everything; containers and shims keep running. */
  close(): Promise<void>;
  /** As `close`, and ends the launcher, for a node that is taken down. Containers that run go on. */
  shutDown(): Promise<void>;
  /** Writes the container to disk; nothing runs yet. `conflict` when the name is taken. */
  create(config: ContainerConfig): Promise<ContainerState>;
  /**
   * Runs it. Rejects with the kernel step that failed; the container is then `exited` with code 127 or 126.
   */
  run(id: ContainerId, options?: RunOptions): Promise<ContainerState>;
  /** Runs what restart policies want running; called once the node can serve it. */
  resume(): Promise<void>;
  /**
   * Stop signal, then after the grace SIGKILL (a negative grace: never). Resolves when it is gone. It stays down
   * whatever its restart policy says, unless the node itself goes down (`nodeGoesDown`).
   */
  stop(id: ContainerId, options?: StopOptions): Promise<ContainerExit>;
  /** Stops it if it runs, and runs it. */
  restart(id: ContainerId, options?: StopOptions): Promise<void>;
  kill(id: ContainerId, signal: string): Promise<void>;
  pause(id: ContainerId): Promise<void>;
  unpause(id: ContainerId): Promise<void>;
  /** `conflict` when the name is taken. */
  rename(id: ContainerId, name: string): Promise<void>;
  /** Takes effect at once on a container that runs. */
  update(id: ContainerId, change: ContainerChange): Promise<void>;
  wait(id: ContainerId): Promise<ContainerExit>;
  /** Removes an exited or created container with its disk, cgroup and namespaces. `conflict` when it runs. */
  remove(id: ContainerId): Promise<void>;
  get(id: ContainerId): ContainerState | undefined;
  list(): readonly ContainerState[];
  exec(id: ContainerId, config: ExecConfig): Promise<ExecSession>;
  /** At once when it runs; for one that was only created, once it starts, before its program's first output. */
  attach(id: ContainerId, options: { stdin: boolean; signal?: AbortSignal }): Promise<ContainerAttachment>;
  /** Size of the container's terminal. */
  resize(id: ContainerId, size: { rows: number; columns: number }): Promise<void>;
  /** In batches, none of them empty. */
  logs(id: ContainerId, query: LogQuery): AsyncIterable<readonly LogLine[]>;
  stats(id: ContainerId): Promise<ContainerStats>;
  /** The part of its stats that is kept as history; cheap enough for all containers every few seconds. */
  sample(
    id: ContainerId,
  ): Pick<ContainerStats, 'atMs' | 'cpuNanoseconds' | 'memoryBytes' | 'pids' | 'network'>;
  /** The folder of this node with what it has written over its image: an overlay's upper layer. */
  upperDir(id: ContainerId): string;
  /**
   * Calls `use` with a folder of the node that is the container's root while it runs: `whole` with volumes and binds,
   * `own` without, `image` as the image had it. Paths in it are the container's to choose: never follow them as texts.
   */
  withRoot<T>(
    id: ContainerId,
    view: 'whole' | 'own' | 'image',
    use: (root: string) => Promise<T>,
  ): Promise<T>;
  /** Bytes it has written over its image. */
  writtenBytes(id: ContainerId): Promise<number>;
  /** Process table of the container: pids as the node sees them. */
  pids(id: ContainerId): Promise<number[]>;
  watch(listener: (event: RuntimeEvent) => void): () => void;
}
