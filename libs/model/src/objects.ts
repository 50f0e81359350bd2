/**
 * The nouns of a cluster as the replicated store holds them. Every top-level field below `spec` has exactly one
 * writer, named beside it; that is what lets writers send patches of their own fields without locks.
 */
import type {
  NetworkSpec,
  NodeSpec,
  PayloadSpec,
  PortConfig,
  ServiceSpec,
  SwarmSpec,
  TaskSpec,
} from './docker-spec.js';
import type {
  ClusterId,
  ConfigId,
  ContainerId,
  NetworkId,
  NodeId,
  RevisionId,
  SecretId,
  ServiceId,
  TaskId,
} from './ids.js';
import type { DesiredState, TaskState } from './task-state.js';

/** Written by the store when it applies a log entry. */
export interface ObjectMeta {
  /** Raft index of the entry that last changed the object: Docker's `Version.Index`. */
  version: number;
  createdAtMs: number;
  updatedAtMs: number;
}

/** A root CA, PEM. */
export interface CaCertificate {
  certificatePem: string;
  keyPem: string;
  /** Its key certified by the root before it: leads those who trust that one alone to this one's certificates. */
  crossSignedPem?: string;
}

/** What one end of a connection holds. */
export interface HeldTls {
  /** PEM of the root that it trusts. */
  trustRootPem: string;
  /** DER in base64, of the issuer of its certificate: subject and public key. */
  issuerSubject: string;
  issuerPublicKey: string;
}

export interface Cluster extends ObjectMeta {
  id: ClusterId;
  /** Writer: user. */
  spec: SwarmSpec;
  /** Writer: membership. Full tokens, `SWMTKN-1-...`. */
  joinTokens: { worker: string; manager: string };
  /** Writer: membership. What every node trusts. */
  rootCa: CaCertificate;
  /**
   * Writer: user, who begins it; membership, which ends it. The next root, which signs already; it takes the place of
   * `rootCa` when every node and manager holds a certificate of it.
   */
  rootRotation?: Required<CaCertificate>;
  /** Writer: user. `SWMKEY-1-...` while managers lock themselves when they stop; empty or absent otherwise. */
  unlockKey?: string;
  /** Set at init. CIDR pools that networks are cut from. */
  addressPools: string[];
  /** Set at init. Prefix length of a network cut from the pools. */
  subnetSize: number;
  /** Set at init. UDP port of the VXLAN overlay. */
  dataPathPort: number;
}

export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export type Reachability = 'unknown' | 'unreachable' | 'reachable';

export interface NodeDescription {
  hostname: string;
  platform: { os: string; architecture: string };
  resources: { nanoCpus: number; memoryBytes: number };
  engine: { version: string; labels: Record<string, string> };
}

export interface Node extends ObjectMeta {
  id: NodeId;
  /** Writer: user. */
  spec: NodeSpec;
  /** Writer: membership, once, at join. Small and unique: names the node in marks and device addresses (1..4094). */
  index: number;
  /** Writer: sessions. */
  description: NodeDescription;
  /** Writer: sessions. `address` is where the other nodes reach this one (underlay, IPv4). */
  status: {
    state: NodeState;
    message: string;
    address: string;
    enginePort?: number;
    /** Where overlay traffic to it goes; absent: `address`. */
    dataPathAddress?: string;
  };
  /**
   * Writer: membership. Set on members of the Raft group. `address` is host:port of the manager's gRPC port;
   * `reachability` is how the leader sees it.
   */
  manager?: { raftId: string; address: string; reachability?: Reachability };
  /** Writer: sessions. What the agent says that it holds. */
  tls?: HeldTls;
  /** Writer: the node's own manager. What that one holds: a process and a certificate of its own. */
  managerTls?: HeldTls;
}

export interface VirtualIp {
  networkId: NetworkId;
  /** IPv4 address without prefix. */
  address: string;
}

export interface ServiceEndpoint {
  mode: 'vip' | 'dnsrr';
  virtualIps: VirtualIp[];
  /** The spec's ports with every dynamic port filled in. */
  ports: Required<Omit<PortConfig, 'Name'>>[];
}

export type UpdateState =
  | 'updating'
  | 'paused'
  | 'completed'
  | 'rollback_started'
  | 'rollback_paused'
  | 'rollback_completed';

export interface UpdateStatus {
  state: UpdateState;
  startedAtMs: number;
  completedAtMs?: number;
  message: string;
}

export interface Service extends ObjectMeta {
  id: ServiceId;
  /** Writer: user, and the updater when it rolls back (guarded by the version it read). */
  spec: ServiceSpec;
  previousSpec?: ServiceSpec;
  /** The revision that holds `spec.TaskTemplate`; written together with `spec`. */
  revisionId: RevisionId;
  previousRevisionId?: RevisionId;
  /** Writer: allocator. Absent until allocated; its ports follow the spec. */
  endpoint?: ServiceEndpoint;
  /** Writer: updater; removed by the user's next change of the spec. */
  updateStatus?: UpdateStatus;
}

/** Who pulls an image from a registry. */
export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
}

/** An immutable copy of a service's task template. Tasks refer to it by id. */
export interface Revision extends ObjectMeta {
  id: RevisionId;
  serviceId: ServiceId;
  serviceName: string;
  serviceLabels: Record<string, string>;
  taskTemplate: TaskSpec;
  /**
   * Writer: user. From `--with-registry-auth`, for the nodes that pull; the API never shows it. New ones may come with a
   * template that stays the same.
   */
  registryAuth?: RegistryAuth;
}

export interface TaskStatus {
  state: TaskState;
  atMs: number;
  message: string;
  error?: string;
  container?: { id: ContainerId; pid: number; exitCode?: number; oomKilled?: boolean };
}

export interface TaskNetwork {
  networkId: NetworkId;
  /** IPv4 address without prefix. */
  address: string;
}

export interface Task extends ObjectMeta {
  id: TaskId;
  serviceId: ServiceId;
  revisionId: RevisionId;
  /** 1-based for replicated services; 0 for global ones, whose slot is the node. */
  slot: number;
  /** Writer: scheduler, once; the orchestrator at creation for global services. */
  nodeId?: NodeId;
  /** Writer: scheduler, in the transaction that sets the node. Empty until then. */
  networks: TaskNetwork[];
  /** Writer: orchestrator. Forward only. */
  desiredState: DesiredState;
  /**
   * Writer: orchestrator, at creation. A task with desired state `ready` becomes `running` when both gates are open:
   * the time has come, and the named task has stopped.
   */
  startGate?: { notBeforeMs?: number; afterTask?: TaskId };
  /**
   * Writer: orchestrator, at creation. Why the task exists: rollout failures count only tasks of the rollout, restart
   * attempts only restarts. `drain` is any move off a node that cannot keep its task: drained, lost or no longer fit.
   */
  cause: 'create' | 'scale' | 'restart' | 'update' | 'drain';
  /**
   * Writer: orchestrator. When the leader first saw this task of a rollout running, by the leader's clock: the
   * rollout's delay and monitor times count from here, also after a change of leader.
   */
  runningAtMs?: number;
  /** Writer: each state's owner, see `taskStateOwner`. Forward only. */
  status: TaskStatus;
}

export interface Network extends ObjectMeta {
  id: NetworkId;
  /** Writer: user. */
  spec: NetworkSpec;
  /** Writer: allocator. Subnet in CIDR form; VXLAN network identifier from 4096 up. */
  subnet?: string;
  vni?: number;
  /**
   * Writer: allocator. Blocks of the subnet (CIDR) that each node hands to its tasks. Networks whose subnet is too
   * small for blocks leave this empty; their tasks' addresses travel one by one.
   */
  blocks: Record<NodeId, string[]>;
}

/** What services hand to their tasks as files. Only labels ever change. */
export interface Secret extends ObjectMeta {
  id: SecretId;
  /** Writer: user. */
  spec: PayloadSpec;
}

export interface Config extends ObjectMeta {
  id: ConfigId;
  /** Writer: user. */
  spec: PayloadSpec;
}

/** The replicated tables, by name. */
export interface Tables {
  clusters: Cluster;
  nodes: Node;
  services: Service;
  revisions: Revision;
  tasks: Task;
  networks: Network;
  secrets: Secret;
  configs: Config;
}

export type TableName = keyof Tables;
export const tableNames = [
  'clusters',
  'nodes',
  'services',
  'revisions',
  'tasks',
  'networks',
  'secrets',
  'configs',
] as const satisfies readonly TableName[];
