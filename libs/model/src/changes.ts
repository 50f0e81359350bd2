/** What travels in the Raft log, and what the control loops read. */
import type { NetworkId, NodeId, RevisionId, ServiceId } from './ids.js';
import type {
  Cluster,
  Config,
  Network,
  Node,
  ObjectMeta,
  Revision,
  Secret,
  Service,
  TableName,
  Tables,
  Task,
} from './objects.js';

type Stored<T extends TableName> = Tables[T];
/** An object as its writer proposes it: the store fills in the meta fields. */
export type Draft<T extends ObjectMeta> = Omit<T, keyof ObjectMeta>;

/**
 * One change of one object. `ifVersion` refuses the whole transaction with `version-mismatch` when the object has
 * moved on since it was read. A `put` makes a new object and refuses an id that exists; a `patch` replaces the named
 * top-level fields of an existing one (an `undefined` field is removed, written as null on the wire).
 * Patches that would move a task's status or desired state backwards lose those fields without an error.
 */
export type Change = {
  [T in TableName]:
    | { op: 'put'; table: T; object: Draft<Stored<T>> }
    | {
        op: 'patch';
        table: T;
        id: Stored<T>['id'];
        fields: Partial<Omit<Draft<Stored<T>>, 'id'>>;
        ifVersion?: number;
      }
    | { op: 'delete'; table: T; id: Stored<T>['id']; ifVersion?: number };
}[TableName];

/** The payload of a log entry. All of it applies, or none. */
export interface Transaction {
  /** The proposer's clock, milliseconds since the epoch; `apply` reads no other. */
  atMs: number;
  changes: Change[];
  /** Refused when the entry that carries it is of another term: what a leader decided counts while it leads. */
  ifTerm?: number;
}

/** One applied change, as watchers see it. `before` is absent for a new object, `after` for a deleted one. */
export type AppliedChange = {
  [T in TableName]: {
    table: T;
    id: Stored<T>['id'];
    before?: Readonly<Stored<T>>;
    after?: Readonly<Stored<T>>;
  };
}[TableName];

export interface StoreEvent {
  index: number;
  atMs: number;
  changes: readonly AppliedChange[];
}

export interface TableView<T> {
  get(id: string): Readonly<T> | undefined;
  /** In ascending order of id. */
  all(): Iterable<Readonly<T>>;
  readonly size: number;
}

/** A frozen picture of the whole store. Later changes do not show in it. */
export interface ClusterView {
  /** Raft index of the last entry in this picture. */
  readonly index: number;
  readonly cluster: Readonly<Cluster> | undefined;
  readonly nodes: TableView<Node>;
  readonly services: TableView<Service>;
  readonly revisions: TableView<Revision>;
  readonly tasks: TableView<Task>;
  readonly networks: TableView<Network>;
  readonly secrets: TableView<Secret>;
  readonly configs: TableView<Config>;
  serviceByName(name: string): Readonly<Service> | undefined;
  networkByName(name: string): Readonly<Network> | undefined;
  secretByName(name: string): Readonly<Secret> | undefined;
  configByName(name: string): Readonly<Config> | undefined;
  /** In ascending order of id; empty for an unknown id. */
  tasksOfService(id: ServiceId): readonly Readonly<Task>[];
  tasksOfNode(id: NodeId): readonly Readonly<Task>[];
  tasksOfRevision(id: RevisionId): readonly Readonly<Task>[];
  servicesOfNetwork?(id: NetworkId): readonly Readonly<Service>[];
}

/**
 * The replicated store as its users see it. `propose` resolves when the transaction is on disk at a quorum and
 * applied here, with the index of its entry; it rejects with an EnxameError (`version-mismatch`, `conflict`,
 * `not-found`, `unavailable`) when nothing was applied.
 */
export interface ClusterStore {
  view(): ClusterView;
  propose(changes: Change[], options?: { ifTerm?: number }): Promise<{ index: number }>;
  /** Calls back after every applied entry, in order. Returns the way to stop. */
  watch(listener: (event: StoreEvent) => void): () => void;
}
