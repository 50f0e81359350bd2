/**
 * A cluster in virtual time: the real tables, the real loops, agents that play the nodes. Nothing waits: time jumps to
 * the next thing that happens.
 */
import {
  isTerminal,
  objectIdFromBytes,
  taskStateOrder,
  type Change,
  type ClusterId,
  type ClusterView,
  type IdSource,
  type NetworkId,
  type Node,
  type NodeId,
  type RevisionId,
  type Service,
  type ServiceId,
  type ServiceSpec,
  type Task,
} from '#libs/model';
import { viewOf, withChanges } from '#libs/store';
import { leaderLoops } from '../loops.js';
import { planPass } from '../pass.js';
import { Agents, type AgentTimes } from './agents.js';

/** More passes than this without an event from outside: the loops disagree with each other. */
const passesMax = 40;

export class World {
  view: ClusterView;
  nowMs = 1_000_000_000;
  readonly agents: Agents;
  /** Called with every state of the tables and the changes that led to it. */
  readonly checkers: ((before: ClusterView, after: ClusterView, changes: readonly Change[]) => void)[] = [];
  /** How many of a plan's changes get into the log before the leader is lost; the next one starts afresh. */
  loseRest: (changes: number) => number = (changes) => changes;
  #wakeAtMs: number | undefined;
  #ids = 0;

  constructor(times: AgentTimes) {
    this.agents = new Agents(times);
    this.view = viewOf({
      cluster: {
        id: 'cluster' as ClusterId,
        spec: {},
        joinTokens: { worker: '', manager: '' },
        rootCa: { certificatePem: '', keyPem: '' },
        addressPools: ['10.0.0.0/8'],
        subnetSize: 16,
        dataPathPort: 4789,
      },
      networks: [{ id: 'ingress' as NetworkId, spec: { Name: 'ingress', Ingress: true }, blocks: {} }],
    });
  }

  /** Counts up: ids in the order of making, so that runs of one seed are alike. */
  readonly newId: IdSource = () => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setUint32(12, ++this.#ids);
    return objectIdFromBytes(bytes);
  };

  commit(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    const before = this.view;
    this.view = withChanges(before, changes, { index: before.index + 1, atMs: this.nowMs });
    for (const check of this.checkers) check(before, this.view, changes);
  }

  /** Runs the loops until they have nothing more to do. */
  settle(): void {
    let last: readonly Change[] = [];
    for (let pass = 0; pass < passesMax; pass++) {
      const { view, nowMs, newId } = this;
      const plan = planPass(leaderLoops, { view, nowMs, newId }, (loop, cause) => {
        throw new Error(`the ${loop.name} failed`, { cause });
      });
      this.#wakeAtMs = plan.wakeAtMs;
      if (plan.changes.length === 0) {
        if (plan.wakeAtMs !== undefined && plan.wakeAtMs <= nowMs)
          throw new Error('the loops wake for nothing');
        this.agents.observe(this.view, nowMs);
        return;
      }
      last = plan.changes;
      this.commit(plan.changes.slice(0, this.loseRest(plan.changes.length)));
    }
    throw new Error(`the loops still want changes after ${passesMax} passes: ${JSON.stringify(last)}`);
  }

  /** Jumps to the next event within the time. False when there is none: time has passed and nothing happened. */
  advance(untilMs: number): boolean {
    const next = Math.min(this.agents.nextAtMs() ?? Infinity, this.#wakeAtMs ?? Infinity);
    if (next > untilMs) {
      this.nowMs = untilMs;
      return false;
    }
    this.nowMs = Math.max(this.nowMs, next);
    const changes = this.agents.due(this.nowMs).flatMap(({ taskId, state, error }): Change[] => {
      const task = this.view.tasks.get(taskId);
      if (task === undefined || taskStateOrder[state] <= taskStateOrder[task.status.state]) return [];
      const status = { state, atMs: this.nowMs, message: state, ...(error === undefined ? {} : { error }) };
      return [{ op: 'patch', table: 'tasks', id: taskId, fields: { status } }];
    });
    this.commit(changes);
    this.settle();
    return true;
  }

  runFor(ms: number): void {
    const untilMs = this.nowMs + ms;
    while (this.advance(untilMs));
  }

  addNode(name: string, fields: { memoryBytes?: number } = {}): NodeId {
    const id = name as NodeId;
    this.commit([
      {
        op: 'put',
        table: 'nodes',
        object: {
          id,
          index: this.view.nodes.size + 1,
          spec: { Role: 'worker', Availability: 'active' },
          description: {
            hostname: name,
            platform: { os: 'linux', architecture: 'x86_64' },
            resources: { nanoCpus: 4e9, memoryBytes: fields.memoryBytes ?? 1000 },
            engine: { version: '', labels: {} },
          },
          status: { state: 'ready', message: '', address: `10.99.0.${this.view.nodes.size + 1}` },
        },
      },
    ]);
    return id;
  }

  patchNode(id: NodeId, fields: Partial<Pick<Node, 'spec' | 'status'>>): void {
    this.commit([{ op: 'patch', table: 'nodes', id, fields }]);
    this.settle();
  }

  /** The node's machine stops; the cluster notices when `declareDown` is called. */
  killNode(id: NodeId): void {
    this.agents.die(this.view, id);
  }

  declareDown(id: NodeId): void {
    const node = this.view.nodes.get(id);
    if (node !== undefined) this.patchNode(id, { status: { ...node.status, state: 'down' } });
  }

  reviveNode(id: NodeId): void {
    const node = this.view.nodes.get(id);
    this.agents.revive(id);
    if (node !== undefined) this.patchNode(id, { status: { ...node.status, state: 'ready' } });
  }

  createService(spec: ServiceSpec): ServiceId {
    const serviceId = spec.Name as ServiceId;
    const revisionId = this.newId<RevisionId>();
    this.commit([
      revision(revisionId, serviceId, spec),
      { op: 'put', table: 'services', object: { id: serviceId, spec, revisionId } },
    ]);
    this.settle();
    return serviceId;
  }

  service(id: ServiceId): Readonly<Service> {
    const service = this.view.services.get(id);
    if (service === undefined) throw new Error(`no service ${id}`);
    return service;
  }

  /** As the API does it: the spec, the former one beside it, and no status of an old rollout. */
  updateService(id: ServiceId, spec: ServiceSpec): void {
    const service = this.service(id);
    const sameTemplate = JSON.stringify(spec.TaskTemplate) === JSON.stringify(service.spec.TaskTemplate);
    const revisionId = sameTemplate ? service.revisionId : this.newId<RevisionId>();
    this.commit([
      ...(sameTemplate ? [] : [revision(revisionId, id, spec)]),
      {
        op: 'patch',
        table: 'services',
        id,
        fields: {
          spec,
          revisionId,
          previousSpec: service.spec,
          previousRevisionId: service.revisionId,
          updateStatus: undefined,
        },
      },
    ]);
    this.settle();
  }

  removeService(id: ServiceId): void {
    this.commit([{ op: 'delete', table: 'services', id }]);
    this.settle();
  }

  /** A running container ends by itself. */
  failTask(task: Readonly<Task>): void {
    if (isTerminal(task.status.state)) return;
    const status = { state: 'failed', atMs: this.nowMs, message: 'failed', error: 'exit code 137' } as const;
    this.commit([{ op: 'patch', table: 'tasks', id: task.id, fields: { status } }]);
    this.settle();
  }
}

function revision(id: RevisionId, serviceId: ServiceId, spec: ServiceSpec): Change {
  return {
    op: 'put',
    table: 'revisions',
    object: { id, serviceId, serviceName: spec.Name, serviceLabels: {}, taskTemplate: spec.TaskTemplate },
  };
}
