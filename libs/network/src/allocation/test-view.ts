/** A cluster view made of plain objects, for tests of the allocator. */
import type {
  Change,
  Cluster,
  ClusterView,
  Network,
  NetworkId,
  Node,
  NodeId,
  PortConfig,
  Revision,
  RevisionId,
  Service,
  ServiceId,
  TableView,
  Task,
  TaskId,
} from '#libs/model';

export interface TestObjects {
  cluster: Cluster;
  nodes: Node[];
  services: Service[];
  revisions: Revision[];
  tasks: Task[];
  networks: Network[];
}

const meta = { version: 1, createdAtMs: 0, updatedAtMs: 0 };

export function emptyCluster(addressPools = ['10.0.0.0/8'], subnetSize = 16): TestObjects {
  const cluster = { ...meta, addressPools, subnetSize, dataPathPort: 4789 } as unknown as Cluster;
  return { cluster, nodes: [], services: [], revisions: [], tasks: [], networks: [] };
}

export function network(name: string, rest: Partial<Network> = {}, subnet?: string): Network {
  const ipam = subnet === undefined ? {} : { IPAM: { Config: [{ Subnet: subnet }] } };
  const spec = { Name: name, Driver: 'overlay', Ingress: name === 'ingress', ...ipam };
  return { ...meta, id: `net-${name}` as NetworkId, spec, blocks: {}, ...rest };
}

export function node(name: string, address = '192.0.2.1'): Node {
  const status = { state: 'ready', message: '', address };
  return { ...meta, id: name as NodeId, index: 1, status } as unknown as Node;
}

export function service(
  name: string,
  rest: { ports?: PortConfig[]; networks?: string[]; mode?: 'vip' | 'dnsrr' } = {},
): Service {
  const networks = rest.networks?.map((target) => ({ Target: target }));
  return {
    ...meta,
    id: `svc-${name}` as ServiceId,
    revisionId: `rev-${name}` as RevisionId,
    spec: {
      Name: name,
      TaskTemplate: networks ? { Networks: networks } : {},
      EndpointSpec: { Mode: rest.mode, Ports: rest.ports },
    },
  };
}

export function task(name: string, owner: Service, rest: Partial<Task> = {}): Task {
  return {
    ...meta,
    id: name as TaskId,
    serviceId: owner.id,
    revisionId: owner.revisionId,
    slot: 1,
    networks: [],
    desiredState: 'running',
    cause: 'create',
    status: { state: 'new', atMs: 0, message: 'created' },
    ...rest,
  };
}

function table<T extends { id: string }>(objects: readonly T[]): TableView<T> {
  const sorted = [...objects].sort((a, b) => (a.id < b.id ? -1 : 1));
  return { get: (id) => sorted.find((object) => object.id === id), all: () => sorted, size: sorted.length };
}

export function viewOf(objects: TestObjects): ClusterView {
  return {
    index: 1,
    cluster: objects.cluster,
    nodes: table(objects.nodes),
    services: table(objects.services),
    revisions: table(objects.revisions),
    tasks: table(objects.tasks),
    networks: table(objects.networks),
    secrets: table([]),
    configs: table([]),
    secretByName: () => undefined,
    configByName: () => undefined,
    serviceByName: (name) => objects.services.find((entry) => entry.spec.Name === name),
    networkByName: (name) => objects.networks.find((entry) => entry.spec.Name === name),
    tasksOfService: (id) => objects.tasks.filter((entry) => entry.serviceId === id),
    tasksOfNode: (id) => objects.tasks.filter((entry) => entry.nodeId === id),
    tasksOfRevision: (id) => objects.tasks.filter((entry) => entry.revisionId === id),
  };
}

/** Applies patches as the store would. */
export function applied(objects: TestObjects, changes: readonly Change[]): TestObjects {
  const next = structuredClone(objects);
  for (const change of changes) {
    if (change.op !== 'patch') throw new Error(`the allocator only patches, not ${change.op}`);
    const rows = next[change.table as 'tasks' | 'services' | 'networks'] as { id: string; version: number }[];
    const row = rows.find((entry) => entry.id === change.id);
    if (!row) throw new Error(`no ${change.table} ${change.id}`);
    if (change.ifVersion !== undefined && change.ifVersion !== row.version)
      throw new Error('version-mismatch');
    Object.assign(row, change.fields, { version: row.version + 1 });
  }
  return next;
}
