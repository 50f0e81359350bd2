/**
 * One service with all its tasks, slot by slot, as the planners leave it: each planner sees what the ones before it
 * decided in the same pass, and everything decided is written down as changes. Made for one pass and thrown away.
 */
import {
  satisfiesConstraints,
  taskStateOrder,
  type Change,
  type DesiredState,
  type Node,
  type NodeId,
  type RevisionId,
  type Service,
  type Task,
  type TaskId,
  type TaskSpec,
} from '#libs/model';
import type { PlanningInput } from './planning.js';
import { hasEnded, isLive, isLost, isWanted, nodeStanding } from './standing.js';
import { TemplateComparison } from './template.js';

/** Slot number of a replicated service, node id of a global one. */
export type SlotKey = string;

export interface Slot {
  key: SlotKey;
  order: number;
  /** Oldest first. */
  tasks: Readonly<Task>[];
}

type ServiceFields = Partial<
  Pick<Service, 'spec' | 'previousSpec' | 'revisionId' | 'previousRevisionId' | 'updateStatus'>
>;

export interface NewTask {
  slot: number;
  nodeId?: NodeId;
  cause: Task['cause'];
  revisionId: RevisionId;
  /** With a gate the task is prepared and waits; without one it starts as soon as it can. */
  startGate?: Task['startGate'];
}

export class ServiceBoard {
  readonly input: PlanningInput;
  readonly isGlobal: boolean;
  readonly slots = new Map<SlotKey, Slot>();
  readonly #taskChanges: Change[] = [];
  readonly #templates: TemplateComparison;
  #service: Readonly<Service>;
  #sortedSlots: Slot[] | undefined;
  #serviceFields: ServiceFields | undefined;
  #wakeAtMs: number | undefined;

  constructor(input: PlanningInput, service: Readonly<Service>) {
    this.input = input;
    this.#service = service;
    this.isGlobal = service.spec.Mode?.Global !== undefined;
    this.#templates = new TemplateComparison(input.view);
    for (const task of input.view.tasksOfService(service.id)) this.slotFor(task).tasks.push(task);
    for (const slot of this.slots.values()) slot.tasks.sort(byAge);
  }

  get service(): Readonly<Service> {
    return this.#service;
  }

  /**
   * All that was decided. The service's own patch is guarded and goes first: a status of one rollout must not land
   * on a spec the user has written since, and then nothing that followed from it happens either.
   */
  changes(): Change[] {
    if (this.#serviceFields === undefined) return this.#taskChanges;
    const { id, version } = this.#service;
    return [
      { op: 'patch', table: 'services', id, fields: this.#serviceFields, ifVersion: version },
      ...this.#taskChanges,
    ];
  }

  get wakeAtMs(): number | undefined {
    return this.#wakeAtMs;
  }

  /** The slots in a fixed order. */
  sortedSlots(): readonly Slot[] {
    this.#sortedSlots ??= [...this.slots.values()].sort(
      (a, b) => a.order - b.order || (a.key < b.key ? -1 : 1),
    );
    return this.#sortedSlots;
  }

  slotFor(task: Pick<Task, 'slot' | 'nodeId'>): Slot {
    const key = this.isGlobal ? (task.nodeId ?? '') : String(task.slot);
    const known = this.slots.get(key);
    if (known !== undefined) return known;
    const slot: Slot = { key, order: task.slot, tasks: [] };
    this.slots.set(key, slot);
    this.#sortedSlots = undefined;
    return slot;
  }

  /** The template new tasks of this service get. */
  get template(): TaskSpec {
    return this.templateOf(this.#service.revisionId) ?? this.#service.spec.TaskTemplate;
  }

  templateOf(id: RevisionId): TaskSpec | undefined {
    return this.input.view.revisions.get(id)?.taskTemplate;
  }

  /** True when the task is what the service's spec asks for now. */
  isCurrent(task: Readonly<Task>): boolean {
    const { revisionId } = this.#service;
    if (this.#templates.same(task.revisionId, revisionId)) return true;
    if (!this.#templates.sameButForConstraints(task.revisionId, revisionId)) return false;
    const node = task.nodeId === undefined ? undefined : this.input.view.nodes.get(task.nodeId);
    return node !== undefined && this.allowsNode(node);
  }

  allowsNode(node: Readonly<Node>): boolean {
    return satisfiesConstraints(node, this.template.Placement?.Constraints);
  }

  /** True when a global service may get a new task on this node now. */
  acceptsGlobalTask(nodeId: string): boolean {
    const node = this.input.view.nodes.get(nodeId);
    return node?.status.state === 'ready' && node.spec.Availability === 'active' && this.allowsNode(node);
  }

  /** True when the task's node works but is not to keep this task: drained, or its labels or role changed. */
  mustLeave(task: Readonly<Task>): boolean {
    if (task.nodeId === undefined) return false;
    const standing = nodeStanding(this.input.view, task.nodeId);
    if (standing === 'drained') return true;
    if (standing !== 'usable' || !this.isCurrent(task)) return false;
    const node = this.input.view.nodes.get(task.nodeId);
    // Only nodes in good order are judged: facts about the others may be old.
    return node?.status.state === 'ready' && !this.allowsNode(node);
  }

  /**
   * The revision a slot is to run until its turn in the rollout comes. A task that crashes or moves while the rollout
   * is under way or paused comes back as it was: a version the user has stopped must not spread by accident.
   */
  targetRevision(slot: Slot): RevisionId {
    const { updateStatus, revisionId } = this.#service;
    const finished = updateStatus?.state === 'completed' || updateStatus?.state === 'rollback_completed';
    const wanted = slot.tasks.filter(isWanted);
    const newest = wanted.at(-1);
    if (finished || newest === undefined || wanted.some((task) => this.isCurrent(task))) return revisionId;
    return newest.revisionId;
  }

  /** True for a live task that may stay in its slot for good. */
  isKeeper(slot: Slot, task: Readonly<Task>): boolean {
    if (!isLive(task) || isLost(this.input.view, task) || this.mustLeave(task)) return false;
    const target = this.targetRevision(slot);
    return target === this.#service.revisionId
      ? this.isCurrent(task)
      : this.#templates.same(task.revisionId, target);
  }

  /** True when the slot's last task ended by itself and was not to be replaced: the slot is done, not empty. */
  isFinished(slot: Slot): boolean {
    const newest = slot.tasks.at(-1);
    return (
      newest !== undefined &&
      newest.desiredState === 'shutdown' &&
      (newest.status.state === 'complete' ||
        newest.status.state === 'failed' ||
        newest.status.state === 'rejected')
    );
  }

  isRunning(task: Readonly<Task>): boolean {
    return task.status.state === 'running' && !isLost(this.input.view, task);
  }

  create(made: NewTask): Readonly<Task> {
    const { nowMs, newId } = this.input;
    const draft = {
      id: newId<TaskId>(),
      serviceId: this.#service.id,
      revisionId: made.revisionId,
      slot: made.slot,
      ...(made.nodeId === undefined ? {} : { nodeId: made.nodeId }),
      networks: [],
      desiredState: made.startGate === undefined ? ('running' as const) : ('ready' as const),
      ...(made.startGate === undefined ? {} : { startGate: made.startGate }),
      cause: made.cause,
      status: { state: 'new' as const, atMs: nowMs, message: 'created' },
    };
    this.#taskChanges.push({ op: 'put', table: 'tasks', object: draft });
    const task: Task = { ...draft, version: 0, createdAtMs: nowMs, updatedAtMs: nowMs };
    this.slotFor(task).tasks.push(task);
    return task;
  }

  /** Asks for a later state; asking for the same or an earlier one changes nothing. */
  desire(task: Readonly<Task>, desiredState: DesiredState): void {
    if (taskStateOrder[desiredState] > taskStateOrder[task.desiredState])
      this.patchTask(task, { desiredState });
  }

  patchTask(task: Readonly<Task>, fields: Partial<Pick<Task, 'desiredState' | 'runningAtMs'>>): void {
    this.#taskChanges.push({ op: 'patch', table: 'tasks', id: task.id, fields });
    const { tasks } = this.slotFor(task);
    const at = tasks.findIndex(({ id }) => id === task.id);
    if (at >= 0) tasks[at] = { ...task, ...fields };
  }

  deleteTask(task: Readonly<Task>): void {
    this.#taskChanges.push({ op: 'delete', table: 'tasks', id: task.id });
    const slot = this.slotFor(task);
    slot.tasks = slot.tasks.filter(({ id }) => id !== task.id);
    if (slot.tasks.length > 0) return;
    this.slots.delete(slot.key);
    this.#sortedSlots = undefined;
  }

  patchService(fields: ServiceFields): void {
    this.#serviceFields = { ...this.#serviceFields, ...fields };
    this.#service = { ...this.#service, ...fields };
  }

  wakeAt(atMs: number): void {
    if (this.#wakeAtMs === undefined || atMs < this.#wakeAtMs) this.#wakeAtMs = atMs;
  }

  task(id: TaskId, slot: Slot): Readonly<Task> | undefined {
    return slot.tasks.find((task) => task.id === id) ?? this.input.view.tasks.get(id);
  }
}

// A wanted task always came after the unwanted ones of its slot; times alone may mislead after a change of leader.
function byAge(a: Readonly<Task>, b: Readonly<Task>): number {
  return (
    Number(isWanted(a)) - Number(isWanted(b)) ||
    a.createdAtMs - b.createdAtMs ||
    Number(hasEnded(b)) - Number(hasEnded(a)) ||
    (a.id < b.id ? -1 : 1)
  );
}
