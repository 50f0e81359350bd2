/**
 * What the leader tells a node: a keyed set of items, sent whole once per session and then as deltas. Every message
 * carries a generation that only grows; a node refuses an older one and acknowledges the newest it has applied.
 */
import type { TaskSpec } from './docker-spec.js';
import type { ConfigId, NetworkId, NodeId, RevisionId, SecretId, ServiceId, TaskId } from './ids.js';
import type { RegistryAuth, ServiceEndpoint, TaskNetwork, TaskStatus } from './objects.js';
import type { DesiredState } from './task-state.js';

/** A task of this node. `stopAllowed` is set only after every live node has taken the task out of its balancer. */
export interface TaskItem {
  kind: 'task';
  id: TaskId;
  serviceId: ServiceId;
  revisionId: RevisionId;
  slot: number;
  networks: TaskNetwork[];
  desiredState: DesiredState;
}

/** A task template that at least one task of this node refers to. */
export interface RevisionItem {
  kind: 'revision';
  id: RevisionId;
  serviceId: ServiceId;
  serviceName: string;
  serviceLabels: Record<string, string>;
  taskTemplate: TaskSpec;
  registryAuth?: RegistryAuth;
}

/** A network of the cluster. `blocks` says which node owns which part of the subnet. */
export interface NetworkItem {
  kind: 'network';
  id: NetworkId;
  name: string;
  subnet: string;
  vni: number;
  internal: boolean;
  blocks: Record<NodeId, string[]>;
}

/** A node of the cluster, this one included. */
export interface PeerItem {
  kind: 'peer';
  id: NodeId;
  hostname: string;
  /** Small unique number; VTEP address and marks derive from it. */
  index: number;
  /** Underlay IPv4 address: where overlay traffic goes to and comes from. */
  address: string;
  /** Where else the node is reached, where that is another address. */
  advertisedAddress?: string;
}

/** One endpoint of a service: a running, healthy task that may receive new connections. */
export interface EndpointItem {
  taskId: TaskId;
  nodeId: NodeId;
  slot: number;
  networks: TaskNetwork[];
}

/** How connections to a service are spread. Also the source of DNS names. */
export interface BalanceItem {
  kind: 'balance';
  id: ServiceId;
  name: string;
  endpoint: ServiceEndpoint;
  /** DNS aliases by network id. */
  aliases: Record<NetworkId, string[]>;
  /** Sorted by task id. */
  endpoints: EndpointItem[];
}

/** Cluster-wide settings a node needs. */
export interface SettingsItem {
  kind: 'settings';
  id: 'settings';
  dataPathPort: number;
  /** All pools networks are cut from: traffic inside them is never masqueraded. */
  addressPools: string[];
}

/** What at least one task of this node gets as a file. It is kept in memory alone. */
export interface PayloadItem {
  kind: 'secret' | 'config';
  id: SecretId | ConfigId;
  name: string;
  /** Base64. */
  data: string;
  /** Its placeholders are filled in for each task. */
  isTemplate: boolean;
}

export type AssignmentItem =
  | TaskItem
  | RevisionItem
  | NetworkItem
  | PeerItem
  | BalanceItem
  | SettingsItem
  | PayloadItem;
export type AssignmentKind = AssignmentItem['kind'];

export interface AssignmentDelta {
  generation: number;
  /** True: this is the whole set and replaces all the node had. */
  complete: boolean;
  put: AssignmentItem[];
  remove: { kind: AssignmentKind; id: string }[];
}

/** A status an agent reports. Batched; the newest per task wins. */
export interface TaskStatusReport {
  taskId: TaskId;
  status: TaskStatus;
}
