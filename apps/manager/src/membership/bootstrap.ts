import {
  heartbeatPeriodDefault,
  nanosecondsPerMillisecond,
  taskHistoryRetentionDefault,
  type Change,
  type Cluster,
  type Draft,
  type Network,
  type Node,
  type NodeConfig,
  type ClusterId,
  type ClusterView,
  type NetworkId,
  type NodeId,
} from '#libs/model';

/** VTEP addresses and firewall marks have room for this many nodes. */
export const nodeIndexMax = 4094;

export interface BootstrapFacts {
  clusterId: ClusterId;
  nodeId: NodeId;
  ingressNetworkId: NetworkId;
  raftId: string;
  rootCa: { certificatePem: string; keyPem: string };
  joinTokens: { worker: string; manager: string };
}

/** The first entry of a cluster's log: the cluster, its first node and the network published services live on. */
export function bootstrapChanges(config: NodeConfig, facts: BootstrapFacts): Change[] {
  const { membership } = config;
  if (membership.kind !== 'init') throw new Error('only a node that is told to makes a cluster');
  const heartbeatPeriod = membership.heartbeatPeriodMs
    ? membership.heartbeatPeriodMs * nanosecondsPerMillisecond
    : heartbeatPeriodDefault;
  const cluster: Draft<Cluster> = {
    id: facts.clusterId,
    spec: {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: taskHistoryRetentionDefault },
      Raft: {
        SnapshotInterval: 10_000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      Dispatcher: { HeartbeatPeriod: heartbeatPeriod },
      CAConfig: { NodeCertExpiry: 90 * 24 * 3_600_000 * nanosecondsPerMillisecond },
      EncryptionConfig: { AutoLockManagers: false },
      TaskDefaults: {},
    },
    joinTokens: facts.joinTokens,
    rootCa: facts.rootCa,
    addressPools: membership.addressPools,
    subnetSize: membership.subnetSize,
    dataPathPort: membership.dataPathPort,
  };
  const node: Draft<Node> = {
    ...newNode({
      id: facts.nodeId,
      index: 1,
      role: 'manager',
      hostname: config.nodeName,
      address: config.address,
      availability: 'active',
    }),
    manager: {
      raftId: facts.raftId,
      address: `${config.address}:${config.clusterPort}`,
      reachability: 'reachable',
    },
  };
  const ingress: Draft<Network> = {
    id: facts.ingressNetworkId,
    spec: { Name: 'ingress', Labels: {}, Driver: 'overlay', Ingress: true },
    blocks: {},
  };
  return [
    { op: 'put', table: 'clusters', object: cluster },
    { op: 'put', table: 'nodes', object: node },
    { op: 'put', table: 'networks', object: ingress },
  ];
}

export interface NewNodeFacts {
  id: NodeId;
  index: number;
  role: 'worker' | 'manager';
  hostname: string;
  address: string;
  availability: 'active' | 'pause' | 'drain';
}

/** A node as it is before its agent has told anything about itself. */
export function newNode(options: NewNodeFacts): Draft<Node> {
  return {
    id: options.id,
    spec: { Labels: {}, Role: options.role, Availability: options.availability },
    index: options.index,
    description: {
      hostname: options.hostname,
      platform: { os: '', architecture: '' },
      resources: { nanoCpus: 0, memoryBytes: 0 },
      engine: { version: '', labels: {} },
    },
    status: { state: 'unknown', message: 'the node has not registered yet', address: options.address },
  };
}

/** The smallest index no node has. Undefined when all are taken. */
export function nextNodeIndex(view: Pick<ClusterView, 'nodes'>): number | undefined {
  const taken = new Set<number>();
  for (const node of view.nodes.all()) taken.add(node.index);
  for (let index = 1; index <= nodeIndexMax; index++) {
    if (!taken.has(index)) return index;
  }
  return undefined;
}
