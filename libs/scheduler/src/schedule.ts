/** Gives waiting tasks a node, or says why none will do. Pure: the same view and time give the same answer. */
import type { ClusterView, NodeId, Task, TaskId } from '#libs/model';
import { demandOf, type Demand } from './demand.js';
import { explainRefusals, refusingFilter } from './filters.js';
import { addPlaced, isWanted, measureLoad, measureLoads, type NodeLoad } from './node-load.js';
import { rankNodes } from './ranking.js';

export interface TaskPlacement {
  task: Readonly<Task>;
  nodeId: NodeId;
}

export interface Schedule {
  placements: TaskPlacement[];
  unplaced: { task: Readonly<Task>; explanation: string }[];
}

interface Group {
  demand: Demand;
  tasks: Readonly<Task>[];
}

/** True for a task the scheduler has still to act on: the allocator lets tasks become pending. */
export function awaitsPlacement(task: Readonly<Task>): boolean {
  return isWanted(task) && task.status.state === 'pending';
}

export function schedule(view: ClusterView, { nowMs }: { nowMs: number }): Schedule {
  const result: Schedule = { placements: [], unplaced: [] };
  const preassigned: Readonly<Task>[] = [];
  const groups = new Map<string, Group>();
  for (const task of view.tasks.all()) {
    if (!awaitsPlacement(task)) continue;
    if (task.nodeId === undefined) addToGroup(view, groups, task);
    else preassigned.push(task);
  }
  if (preassigned.length === 0 && groups.size === 0) return result;

  const loads = measureLoads(view, { nowMs, outgoing: tasksOnTheirWayOut(view, groups.values()) });
  for (const task of preassigned) placePreassigned(view, task, loads, result);
  const loadList = [...loads.values()];
  for (const group of [...groups.values()].sort(oldestFirst)) placeGroup(group, loadList, result);
  return result;
}

function addToGroup(view: ClusterView, groups: Map<string, Group>, task: Readonly<Task>): void {
  const key = `${task.serviceId} ${task.revisionId}`;
  const group = groups.get(key);
  if (group !== undefined) {
    group.tasks.push(task);
    return;
  }
  const demand = demandOf(view, task);
  if (demand !== undefined) groups.set(key, { demand, tasks: [task] });
}

// Services are served in the order they began to wait, so that a big one does not starve the others by its name.
function oldestFirst(a: Group, b: Group): number {
  const age = (group: Group) => Math.min(...group.tasks.slice(0, 1000).map((task) => task.createdAtMs));
  return age(a) - age(b) || (a.demand.service.id < b.demand.service.id ? -1 : 1);
}

/**
 * Tasks whose replacement waits for a node. Counting them would push replacements away from the nodes their
 * predecessors are about to free, and every rollout would leave the service a little less even.
 */
function tasksOnTheirWayOut(view: ClusterView, groups: Iterable<Group>): Set<TaskId> {
  const outgoing = new Set<TaskId>();
  for (const { demand, tasks } of groups) {
    const slots = new Set(tasks.map((task) => task.slot));
    for (const other of view.tasksOfService(demand.service.id)) {
      if (other.nodeId !== undefined && slots.has(other.slot)) outgoing.add(other.id);
    }
  }
  return outgoing;
}

function placePreassigned(
  view: ClusterView,
  task: Readonly<Task>,
  loads: ReadonlyMap<NodeId, NodeLoad>,
  result: Schedule,
): void {
  const demand = demandOf(view, task);
  const load = task.nodeId === undefined ? undefined : loads.get(task.nodeId);
  if (demand === undefined || load === undefined || task.nodeId === undefined) return;
  if (refusingFilter(demand, load) !== undefined) {
    result.unplaced.push({ task, explanation: explainRefusals(demand, [load]) });
    return;
  }
  addPlaced(load, demand);
  result.placements.push({ task, nodeId: task.nodeId });
}

function placeGroup({ demand, tasks }: Group, loads: readonly NodeLoad[], result: Schedule): void {
  const accepts = (load: NodeLoad) => refusingFilter(demand, load) === undefined;
  const ranking = rankNodes(demand, loads, accepts);
  let explanation: string | undefined;
  for (const task of tasks) {
    const load = explanation === undefined ? ranking.best() : undefined;
    if (load === undefined) {
      explanation ??= explainRefusals(demand, loads);
      result.unplaced.push({ task, explanation });
      continue;
    }
    addPlaced(load, demand);
    ranking.placed(accepts(load));
    result.placements.push({ task, nodeId: load.node.id });
  }
}

/** True when `incoming` could run on the node of `outgoing` once that one has left it. */
export function fitsInPlaceOf(
  view: ClusterView,
  { incoming, outgoing }: { incoming: Readonly<Task>; outgoing: Readonly<Task> },
): boolean {
  const node = outgoing.nodeId === undefined ? undefined : view.nodes.get(outgoing.nodeId);
  const demand = demandOf(view, incoming);
  if (node === undefined || demand === undefined) return false;
  return refusingFilter(demand, measureLoad(view, node, outgoing.id)) === undefined;
}
