/**
 * The tables and their indexes at one point of the log. A state is a view: once `Writer.finish` has made it, nothing
 * changes it, so readers keep it as long as they like and apply goes on with a copy.
 */
import {
  type Cluster,
  type ClusterView,
  type Config,
  type Network,
  type NetworkId,
  type Node,
  type NodeId,
  type Revision,
  type RevisionId,
  type Secret,
  type Service,
  type ServiceId,
  type TableName,
  type Tables,
  type TableView,
  type Task,
} from '#libs/model';
import { OrderedMap } from './ordered-map.js';

type TableMaps = { [T in TableName]: OrderedMap<Readonly<Tables[T]>> };

/** Each index keeps its objects under `<what they are found by>/<id>`. */
interface Indexes {
  serviceNames: OrderedMap<Readonly<Service>>;
  networkNames: OrderedMap<Readonly<Network>>;
  secretNames: OrderedMap<Readonly<Secret>>;
  configNames: OrderedMap<Readonly<Config>>;
  tasksByService: OrderedMap<Readonly<Task>>;
  tasksByNode: OrderedMap<Readonly<Task>>;
  tasksByRevision: OrderedMap<Readonly<Task>>;
  servicesByNetwork: OrderedMap<Readonly<Service>>;
}
type Maps = TableMaps & Indexes;

export class StoreState implements ClusterView {
  readonly nodes: TableView<Node>;
  readonly services: TableView<Service>;
  readonly revisions: TableView<Revision>;
  readonly tasks: TableView<Task>;
  readonly networks: TableView<Network>;
  readonly secrets: TableView<Secret>;
  readonly configs: TableView<Config>;

  constructor(
    readonly index: number,
    private readonly maps: Readonly<Maps>,
  ) {
    this.nodes = tableView(maps.nodes);
    this.services = tableView(maps.services);
    this.revisions = tableView(maps.revisions);
    this.tasks = tableView(maps.tasks);
    this.networks = tableView(maps.networks);
    this.secrets = tableView(maps.secrets);
    this.configs = tableView(maps.configs);
  }

  static empty(): StoreState {
    return new StoreState(0, {
      clusters: OrderedMap.empty(),
      nodes: OrderedMap.empty(),
      services: OrderedMap.empty(),
      revisions: OrderedMap.empty(),
      tasks: OrderedMap.empty(),
      networks: OrderedMap.empty(),
      secrets: OrderedMap.empty(),
      configs: OrderedMap.empty(),
      serviceNames: OrderedMap.empty(),
      networkNames: OrderedMap.empty(),
      secretNames: OrderedMap.empty(),
      configNames: OrderedMap.empty(),
      tasksByService: OrderedMap.empty(),
      tasksByNode: OrderedMap.empty(),
      tasksByRevision: OrderedMap.empty(),
      servicesByNetwork: OrderedMap.empty(),
    });
  }

  get cluster(): Readonly<Cluster> | undefined {
    for (const cluster of this.maps.clusters.values()) return cluster;
    return undefined;
  }

  table<T extends TableName>(table: T): TableView<Tables[T]> {
    return tableView(tableOf(this.maps, table));
  }

  serviceByName(name: string): Readonly<Service> | undefined {
    return this.maps.serviceNames.get(name);
  }

  networkByName(name: string): Readonly<Network> | undefined {
    return this.maps.networkNames.get(name);
  }

  secretByName(name: string): Readonly<Secret> | undefined {
    return this.maps.secretNames.get(name);
  }

  configByName(name: string): Readonly<Config> | undefined {
    return this.maps.configNames.get(name);
  }

  tasksOfService(id: ServiceId): readonly Readonly<Task>[] {
    return this.maps.tasksByService.withPrefix(`${id}/`);
  }

  tasksOfNode(id: NodeId): readonly Readonly<Task>[] {
    return this.maps.tasksByNode.withPrefix(`${id}/`);
  }

  tasksOfRevision(id: RevisionId): readonly Readonly<Task>[] {
    return this.maps.tasksByRevision.withPrefix(`${id}/`);
  }

  /** Services whose spec names the network by its id or by its name. */
  servicesOfNetwork(id: NetworkId): readonly Readonly<Service>[] {
    const found = new Map<string, Readonly<Service>>();
    const name = this.networks.get(id)?.spec.Name;
    for (const target of name === undefined || name === id ? [id] : [id, name]) {
      for (const service of this.maps.servicesByNetwork.withPrefix(`${target}/`)) {
        found.set(service.id, service);
      }
    }
    return [...found.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** The same tables at a later entry that changed nothing. */
  at(index: number): StoreState {
    return new StoreState(index, this.maps);
  }

  /** Begins a set of writes that becomes a new state, or is dropped; this state stays as it is either way. */
  writer(): StateWriter {
    return new StateWriter(this.maps);
  }
}

/** Writes to copies. A map is copied the first time it is written. */
export class StateWriter {
  private readonly maps: Maps;
  private readonly copied = new Set<keyof Maps>();

  constructor(maps: Readonly<Maps>) {
    this.maps = { ...maps };
  }

  get<T extends TableName>(table: T, id: string): Readonly<Tables[T]> | undefined {
    return tableOf(this.maps, table).get(id);
  }

  all<T extends TableName>(table: T): Iterable<Readonly<Tables[T]>> {
    return tableOf(this.maps, table).values();
  }

  serviceByName(name: string): Readonly<Service> | undefined {
    return this.maps.serviceNames.get(name);
  }

  networkByName(name: string): Readonly<Network> | undefined {
    return this.maps.networkNames.get(name);
  }

  secretByName(name: string): Readonly<Secret> | undefined {
    return this.maps.secretNames.get(name);
  }

  configByName(name: string): Readonly<Config> | undefined {
    return this.maps.configNames.get(name);
  }

  set<T extends TableName>(table: T, object: Readonly<Tables[T]>): void {
    const before = this.maps[table].get(object.id);
    if (before !== undefined) this.removeFromIndexes(table, before);
    this.writable(table);
    tableOf(this.maps, table).set(object.id, object);
    for (const entry of indexEntries(table, object))
      this.writable(entry.index).set(entry.key, object as never);
  }

  delete(table: TableName, id: string): void {
    const before = this.maps[table].get(id);
    if (before === undefined) return;
    this.removeFromIndexes(table, before);
    this.writable(table).delete(id);
  }

  finish(index: number): StoreState {
    return new StoreState(index, this.maps);
  }

  private removeFromIndexes(table: TableName, object: Readonly<Tables[TableName]>): void {
    for (const entry of indexEntries(table, object)) this.writable(entry.index).delete(entry.key);
  }

  private writable<K extends keyof Maps>(name: K): Maps[K] {
    if (!this.copied.has(name)) {
      this.copied.add(name);
      this.maps[name] = this.maps[name].copy() as Maps[K];
    }
    return this.maps[name];
  }
}

function tableOf<T extends TableName>(maps: TableMaps, table: T): OrderedMap<Readonly<Tables[T]>> {
  return maps[table];
}

function tableView<T>(map: OrderedMap<Readonly<T>>): TableView<T> {
  return {
    get: (id) => map.get(id),
    all: () => map.values(),
    get size() {
      return map.size;
    },
  };
}

interface IndexEntry {
  index: keyof Indexes;
  key: string;
}

/** Where an object is found beside its own table; derived from the object alone, so removal needs no bookkeeping. */
function indexEntries(table: TableName, object: Readonly<Tables[TableName]>): IndexEntry[] {
  switch (table) {
    case 'services': {
      const service = object as Service;
      return [
        { index: 'serviceNames', key: service.spec.Name },
        ...networkTargets(service).map(
          (target): IndexEntry => ({ index: 'servicesByNetwork', key: `${target}/${service.id}` }),
        ),
      ];
    }
    case 'networks':
      return [{ index: 'networkNames', key: (object as Network).spec.Name }];
    case 'secrets':
      return [{ index: 'secretNames', key: (object as Secret).spec.Name }];
    case 'configs':
      return [{ index: 'configNames', key: (object as Config).spec.Name }];
    case 'tasks': {
      const task = object as Task;
      const entries: IndexEntry[] = [
        { index: 'tasksByService', key: `${task.serviceId}/${task.id}` },
        { index: 'tasksByRevision', key: `${task.revisionId}/${task.id}` },
      ];
      if (task.nodeId !== undefined) entries.push({ index: 'tasksByNode', key: `${task.nodeId}/${task.id}` });
      return entries;
    }
    case 'clusters':
    case 'nodes':
    case 'revisions':
      return [];
  }
}

function networkTargets(service: Service): string[] {
  const attachments = [...(service.spec.TaskTemplate.Networks ?? []), ...(service.spec.Networks ?? [])];
  return [
    ...new Set(attachments.map((attachment) => attachment.Target).filter((target) => target !== undefined)),
  ];
}
