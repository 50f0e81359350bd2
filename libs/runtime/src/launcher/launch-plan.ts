/**
 * A launch plan is what the C launcher executes: a flat list of operations with no choices left. TypeScript decides
 * (names are resolved, defaults filled in, order chosen), C does each operation as written or fails with its name.
 *
 * Who executes an operation follows from its kind, in list order within each group:
 *
 *   keeper, before the container exists   cgroup-directory, cgroup-write, device-program, cgroup-join, namespaces,
 *                                         join-namespace, stdio, log, oom-file
 *   keeper, once its namespaces exist     interface, host-sysctl
 *   inside, before pivot-root             everything from root-propagation to pivot-root (targets resolve inside the root)
 *   inside, after pivot-root              rlimit ... exec; user, capabilities and seccomp in the order Linux needs
 */

export interface LaunchPlan {
  /** For the keeper's process title and its messages. */
  id: string;
  shim: ShimFiles;
  operations: readonly LaunchOperation[];
}

export interface ShimFiles {
  /** Unix socket the shim listens on. 107 bytes at most. Made by the shim, gone when it ends. */
  socketPath: string;
  /** JSON of `ContainerExit`, written (by rename) before anybody is told. Survives the shim. */
  exitPath: string;
  /** Do everything but the exec; the container's program starts at `ShimClient.start()`. */
  held: boolean;
}

export type LaunchOperation =
  | CgroupDirectory
  | CgroupWrite
  | CgroupJoin
  | DeviceProgram
  | Namespaces
  | JoinNamespace
  | Stdio
  | LogFile
  | OomFile
  | Interface
  | HostSysctl
  | RootPropagation
  | OverlayRoot
  | BindRoot
  | FilesystemMount
  | BindMount
  | Device
  | Symlink
  | Directory
  | File
  | Console
  | MaskPath
  | ReadOnlyPath
  | PivotRoot
  | Hostname
  | Sysctl
  | Loopback
  | OomScore
  | Rlimit
  | NoNewPrivileges
  | Capabilities
  | User
  | Seccomp
  | Workdir
  | Environment
  | Init
  | Exec
  | IdMaps
  | Hook
  | OciState
  | Umask
  | MountedRootPropagation
  | NoKeyring
  | MemoryFile
  | ForeignRuntime
  | ForeignProcess;

/** `mkdir -p` on the node, 0755. */
export interface CgroupDirectory {
  kind: 'cgroup-directory';
  path: string;
}

/** Writes `value` into a control file of the node. `optional`: a file that does not exist is no error. */
export interface CgroupWrite {
  kind: 'cgroup-write';
  path: string;
  value: string;
  optional: boolean;
}

/** The container's first process is in this cgroup before it does anything. One per v1 hierarchy, or the one of v2. */
export interface CgroupJoin {
  kind: 'cgroup-join';
  path: string;
  version: 1 | 2;
}

/** v2: `struct bpf_insn` array that decides over the devices of the cgroup at `path`. */
export interface DeviceProgram {
  kind: 'device-program';
  path: string;
  program: Buffer;
}

/**
 * In a launch plan: made new. In an exec plan: entered. `mount` must be true in a launch plan.
 * `network: false` is the node's own network.
 */
export interface Namespaces {
  kind: 'namespaces';
  pid: boolean;
  network: boolean;
  ipc: boolean;
  mount: boolean;
  uts: boolean;
  cgroup: boolean;
}

/** In a launch plan: a namespace of another process, instead of a new one. `path`: of `/proc/PID/ns`, or bound anywhere. */
export interface JoinNamespace {
  kind: 'join-namespace';
  namespace: 'pid' | 'network' | 'ipc' | 'uts' | 'cgroup';
  path: string;
}

/** With `tty` the container needs a devpts mount at /dev/pts. Without `stdin`, it reads /dev/null (or the idle tty). */
export interface Stdio {
  kind: 'stdio';
  tty: boolean;
  stdin: boolean;
  /** stdin closes when the first attached writer ends it (`docker run -i` without keeping it open). */
  stdinOnce: boolean;
  rows: number;
  columns: number;
}

/** Docker's json-file format. Absent: output goes to attached clients only. `filesMax` counts the current file. */
export interface LogFile {
  kind: 'log';
  path: string;
  fileBytesMax: number;
  filesMax: number;
}

/** File with an `oom_kill N` line: v1 `memory.oom_control`, v2 `memory.events`. Read at exit. */
export interface OomFile {
  kind: 'oom-file';
  path: string;
}

/**
 * A veth pair: `hostName` in the launcher's network namespace (up, with a /32 route to the address), `name` inside
 * (up, with address/32). A host link of the same name is left-over of an earlier run and is replaced.
 */
export interface Interface {
  kind: 'interface';
  hostName: string;
  name: string;
  /** Dotted IPv4, without prefix. */
  address: string;
  mtu: number;
  /** Address put on the host end, /32. Absent: none (the gateway is an address of the node's `lo`). */
  hostAddress?: string;
  /** On-link next hop of the default route. Absent: this interface has no default route. */
  defaultGateway?: string;
  /** `A.B.C.D/len` reached through this interface. */
  routes: readonly { destination: string; gateway?: string }[];
}

/** `net/ipv4/conf/veth.../rp_filter` below /proc/sys, in the launcher's network namespace, after the interfaces. */
export interface HostSysctl {
  kind: 'host-sysctl';
  name: string;
  value: string;
}

/** How mounts of the node reach the new namespace: `private` unless a bind asks for (r)slave. */
export interface RootPropagation {
  kind: 'root-propagation';
  propagation: 'private' | 'slave';
}

/** Lower dirs topmost first. Paths may be of any length; `mountPoint` is an existing folder of the node. */
export interface OverlayRoot {
  kind: 'overlay-root';
  lowerDirs: readonly string[];
  upperDir: string;
  workDir: string;
  mountPoint: string;
  /** More overlay options, such as `index=off`, `metacopy=off`. */
  options: readonly string[];
}

/** A folder of the node as the root, instead of an overlay. */
export interface BindRoot {
  kind: 'bind-root';
  source: string;
  mountPoint: string;
}

export type MountFlag =
  | 'read-only'
  | 'nosuid'
  | 'nodev'
  | 'noexec'
  | 'noatime'
  | 'strictatime'
  | 'relatime'
  | 'nosymfollow';

/** A new filesystem: proc, sysfs, tmpfs, devpts, mqueue, cgroup, cgroup2. `target` is made when missing. */
export interface FilesystemMount {
  kind: 'mount';
  type: string;
  source: string;
  target: string;
  flags: readonly MountFlag[];
  /** `key=value` or `key`, as in mount(8)'s -o, without the flags above. */
  options: readonly string[];
  /** What the root has at `target` is copied into it. */
  copyUp?: boolean;
}

/**
 * A path of the node inside the container. `target` resolves inside the container's root (symlinks of the image
 * cannot leave it) and is made when missing: a folder or an empty file, as the source is.
 */
export interface BindMount {
  kind: 'bind';
  source: string;
  /** A place below `source`, resolved without leaving it. */
  subpath?: string;
  /** `/proc/PID/ns/mnt` of the container whose path `source` is. Absent: the node's. */
  mountNamespace?: string;
  target: string;
  recursive: boolean;
  flags: readonly MountFlag[];
  /** The flags hold for the mounts below it as well. Absent: when it is recursive. */
  flagsRecursive?: boolean;
  propagation: 'private' | 'rprivate' | 'slave' | 'rslave' | 'shared' | 'rshared';
}

export interface Device {
  kind: 'device';
  path: string;
  type: 'character' | 'block' | 'fifo';
  major: number;
  minor: number;
  mode: number;
  uid: number;
  gid: number;
}

/** A link at `path` with the text `target`. One that is there already stays. */
export interface Symlink {
  kind: 'symlink';
  path: string;
  target: string;
}

/** `mkdir -p` inside the root; mode and owner apply to a folder that was made now. */
export interface Directory {
  kind: 'directory';
  path: string;
  mode: number;
  uid: number;
  gid: number;
}

/** A small file inside the root, replaced when there. */
export interface File {
  kind: 'file';
  path: string;
  data: Buffer;
  mode: number;
  uid: number;
  gid: number;
}

/** A read-only file on a tmpfs of its own over `path`, which is made when missing: no disk sees what is in it. */
export interface MemoryFile {
  kind: 'memory-file';
  path: string;
  data: Buffer;
  mode: number;
  uid: number;
  gid: number;
}

/** Binds the container's terminal on /dev/console. Only with `stdio.tty`. */
export interface Console {
  kind: 'console';
}

/** Covers a file with /dev/null, a folder with an empty read-only tmpfs. A path that does not exist is no error. */
export interface MaskPath {
  kind: 'mask';
  path: string;
}

/** A path that does not exist is no error. */
export interface ReadOnlyPath {
  kind: 'read-only-path';
  path: string;
}

export interface PivotRoot {
  kind: 'pivot-root';
  readOnly: boolean;
  /** The root is moved over `/` instead, for nodes whose own root cannot be pivoted from (an initramfs). */
  move?: boolean;
}

export interface Hostname {
  kind: 'hostname';
  name: string;
  domainName: string;
}

/** `net/ipv4/ip_unprivileged_port_start` or with dots. Inside the container's namespaces. */
export interface Sysctl {
  kind: 'sysctl';
  name: string;
  value: string;
  /** A kernel without this name is no error. */
  optional: boolean;
}

export interface Loopback {
  kind: 'loopback';
}

export interface OomScore {
  kind: 'oom-score';
  value: number;
}

/** Name as in ulimit lists: nofile, nproc, core, ... -1n is unlimited. */
export interface Rlimit {
  kind: 'rlimit';
  name: RlimitName;
  soft: bigint;
  hard: bigint;
}

export const rlimitNumbers = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
} as const;

export type RlimitName = keyof typeof rlimitNumbers;

export interface NoNewPrivileges {
  kind: 'no-new-privileges';
}

/** Bit masks: bit n is capability n. Bits this kernel or node lacks are left out. */
export interface Capabilities {
  kind: 'capabilities';
  bounding: bigint;
  effective: bigint;
  permitted: bigint;
  inheritable: bigint;
  /** Survive the exec of a program without rights of its own. Only what is permitted and inheritable can be. */
  ambient?: bigint;
}

export interface User {
  kind: 'user';
  uid: number;
  gid: number;
  groups: readonly number[];
}

/** `struct sock_filter` array, host byte order. Loaded as the last thing before exec. */
export interface Seccomp {
  kind: 'seccomp';
  program: Buffer;
}

/** Made when missing if `create`: 0755, owned by root as docker does it. Entered with the rights of the user. */
export interface Workdir {
  kind: 'workdir';
  path: string;
  create: boolean;
}

export interface Environment {
  kind: 'environment';
  variables: readonly string[];
}

/** A small init as process 1: forwards signals, reaps, ends with the program's exit code. */
export interface Init {
  kind: 'init';
}

/** `argv[0]` without a slash is looked up in the PATH of `environment`, inside the container. */
export interface Exec {
  kind: 'exec';
  argv: readonly string[];
}

/** A new user namespace with these lines of `/proc/PID/uid_map` and `gid_map`. */
export interface IdMaps {
  kind: 'id-maps';
  uids: string;
  gids: string;
}

export const hookStages = {
  prestart: 0n,
  createRuntime: 1n,
  createContainer: 2n,
  startContainer: 3n,
  poststart: 4n,
  poststop: 5n,
} as const;

/** A program of the node's (at startContainer: of the container's) that gets the state on its stdin. In list order. */
export interface Hook {
  kind: 'hook';
  stage: keyof typeof hookStages;
  path: string;
  args: readonly string[];
  environment: readonly string[];
  /** 0: as long as it takes. */
  timeoutSeconds: number;
}

/** What the state of an OCI container shows beside id, status and pid. */
export interface OciState {
  kind: 'oci-state';
  ociVersion: string;
  bundle: string;
  /** A JSON object. */
  annotations: string;
}

export interface Umask {
  kind: 'umask';
  mask: number;
}

/** What becomes of mounts below `/` once the root is `/`. Absent: private. */
export interface MountedRootPropagation {
  kind: 'mounted-root-propagation';
  propagation: 'shared' | 'rshared' | 'slave' | 'rslave' | 'unbindable' | 'runbindable';
}

/** The process stays in the session keyring of whoever starts it. */
export interface NoKeyring {
  kind: 'no-keyring';
}

/** The container is made by this OCI runtime from the bundle, whose config.json says what the plan else would. */
export interface ForeignRuntime {
  kind: 'foreign-runtime';
  program: string;
  /** Where it keeps its own state. */
  root: string;
  bundle: string;
}

/** For an exec plan: the file that `exec --process` reads; removed then. */
export interface ForeignProcess {
  kind: 'foreign-process';
  path: string;
}

/**
 * A process more in a running container. Operations allowed: cgroup-join, namespaces, stdio, rlimit, oom-score,
 * no-new-privileges, capabilities, user, seccomp, workdir, environment, exec.
 */
export interface ExecPlan {
  /** The process is killed when the connection that asked for it ends (health probes). Else it goes on unseen. */
  killOnDisconnect: boolean;
  operations: readonly LaunchOperation[];
}
