/** A small cluster for tests: two nodes, one allocated service and one that is not. */
import type {
  Cluster,
  NetworkId,
  Node,
  NodeId,
  NodeState,
  RevisionId,
  ServiceId,
  Task,
  TaskId,
  TaskState,
} from '#libs/model';
import type { PlainObjects } from '#libs/store';

export const ingress = 'net1' as NetworkId;
export const web = 'svc1' as ServiceId;
export const revision = 'rev1' as RevisionId;

export function plainNode(
  id: string,
  index: number,
  state: NodeState,
): Omit<Node, 'version' | 'createdAtMs' | 'updatedAtMs'> {
  return {
    id: id as NodeId,
    spec: { Role: 'worker', Availability: 'active' },
    index,
    description: {
      hostname: `host-${id}`,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 1e9, memoryBytes: 1e9 },
      engine: { version: '1', labels: {} },
    },
    status: { state, message: '', address: `10.0.0.${index}` },
  };
}

export function plainTask(
  id: string,
  nodeId: string | undefined,
  state: TaskState,
  desiredState: Task['desiredState'],
): Omit<Task, 'version' | 'createdAtMs' | 'updatedAtMs'> {
  return {
    id: id as TaskId,
    serviceId: web,
    revisionId: revision,
    slot: 1,
    ...(nodeId ? { nodeId: nodeId as NodeId } : {}),
    networks: [{ networkId: ingress, address: '10.1.1.1' }],
    desiredState,
    cause: 'create',
    status: { state, atMs: 1, message: '' },
  };
}

const cluster: Omit<Cluster, 'version' | 'createdAtMs' | 'updatedAtMs'> = {
  id: 'c1' as Cluster['id'],
  spec: {},
  joinTokens: { worker: '', manager: '' },
  rootCa: { certificatePem: '', keyPem: '' },
  addressPools: ['10.0.0.0/8'],
  subnetSize: 16,
  dataPathPort: 4789,
};

export function exampleObjects(tasks: PlainObjects['tasks']): PlainObjects {
  return {
    cluster,
    nodes: [plainNode('a', 1, 'ready'), plainNode('b', 2, 'down')],
    networks: [
      {
        id: ingress,
        spec: { Name: 'ingress', Ingress: true },
        subnet: '10.1.0.0/16',
        vni: 4096,
        blocks: { ['a' as NodeId]: ['10.1.1.0/24'] },
      },
      { id: 'net2' as NetworkId, spec: { Name: 'unallocated' }, blocks: {} },
    ],
    services: [
      {
        id: web,
        spec: { Name: 'web', TaskTemplate: { Networks: [{ Target: 'ingress', Aliases: ['www', 'app'] }] } },
        revisionId: revision,
        endpoint: { mode: 'vip', virtualIps: [{ networkId: ingress, address: '10.1.0.2' }], ports: [] },
      },
      { id: 'svc2' as ServiceId, spec: { Name: 'unallocated', TaskTemplate: {} }, revisionId: revision },
    ],
    revisions: [{ id: revision, serviceId: web, serviceName: 'web', serviceLabels: {}, taskTemplate: {} }],
    tasks: tasks ?? [],
  };
}
