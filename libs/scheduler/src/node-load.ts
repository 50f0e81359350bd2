/** What each node already carries, as the filters and the ranking see it. */
import {
  isTerminal,
  type ClusterView,
  type Node,
  type NodeId,
  type RevisionId,
  type ServiceId,
  type Task,
  type TaskId,
} from '#libs/model';
import { hostPortsOf, reservationOf, type Demand } from './demand.js';

/** A service version that failed this often on a node within the window goes there last. SwarmKit's numbers. */
export const recentFailuresMax = 5;
export const recentFailuresWindowMs = 5 * 60_000;

export interface NodeLoad {
  node: Readonly<Node>;
  freeNanoCpus: number;
  freeMemoryBytes: number;
  /** Wanted tasks; those about to be replaced do not count in the first. */
  stayingByService: Map<ServiceId, number>;
  presentByService: Map<ServiceId, number>;
  wantedTotal: number;
  hostPortsInUse: Set<string>;
  recentFailures: Map<RevisionId, number>;
}

export function isWanted(task: Readonly<Task>): boolean {
  return task.desiredState === 'ready' || task.desiredState === 'running' || task.desiredState === 'complete';
}

export function emptyLoad(node: Readonly<Node>): NodeLoad {
  return {
    node,
    freeNanoCpus: node.description.resources.nanoCpus,
    freeMemoryBytes: node.description.resources.memoryBytes,
    stayingByService: new Map(),
    presentByService: new Map(),
    wantedTotal: 0,
    hostPortsInUse: new Set(),
    recentFailures: new Map(),
  };
}

/** The load of every node. `outgoing` are tasks whose replacement in the same slot is still to be placed. */
export function measureLoads(
  view: ClusterView,
  { nowMs, outgoing }: { nowMs: number; outgoing: ReadonlySet<TaskId> },
): Map<NodeId, NodeLoad> {
  const loads = new Map<NodeId, NodeLoad>();
  for (const node of view.nodes.all()) loads.set(node.id, emptyLoad(node));
  for (const task of view.tasks.all()) {
    const load = task.nodeId === undefined ? undefined : loads.get(task.nodeId);
    if (load === undefined) continue;
    if (isTerminal(task.status.state)) noteFailure(load, task, nowMs);
    else if (task.status.state !== 'new' && task.status.state !== 'pending') {
      carry(view, load, task, outgoing.has(task.id));
    }
  }
  return loads;
}

/** One node's load as if `without` had left it. */
export function measureLoad(view: ClusterView, node: Readonly<Node>, without: TaskId): NodeLoad {
  const load = emptyLoad(node);
  for (const task of view.tasksOfNode(node.id)) {
    if (task.id !== without && !isTerminal(task.status.state)) carry(view, load, task, false);
  }
  return load;
}

// A task that was asked to stop holds its memory and ports until it has stopped, but no longer counts for spreading.
function carry(view: ClusterView, load: NodeLoad, task: Readonly<Task>, isOutgoing: boolean): void {
  const revision = view.revisions.get(task.revisionId);
  if (revision !== undefined) {
    const { nanoCpus, memoryBytes } = reservationOf(revision);
    load.freeNanoCpus -= nanoCpus;
    load.freeMemoryBytes -= memoryBytes;
  }
  const service = view.services.get(task.serviceId);
  if (service?.spec.EndpointSpec?.Ports !== undefined) {
    for (const port of hostPortsOf(service)) load.hostPortsInUse.add(port);
  }
  if (!isWanted(task)) return;
  increment(load.presentByService, task.serviceId);
  if (isOutgoing) return;
  increment(load.stayingByService, task.serviceId);
  load.wantedTotal++;
}

/** Counts a task placed in this run, so that the next one sees it. */
export function addPlaced(load: NodeLoad, demand: Demand): void {
  load.freeNanoCpus -= demand.nanoCpus;
  load.freeMemoryBytes -= demand.memoryBytes;
  for (const port of demand.hostPorts) load.hostPortsInUse.add(port);
  increment(load.presentByService, demand.service.id);
  increment(load.stayingByService, demand.service.id);
  load.wantedTotal++;
}

function noteFailure(load: NodeLoad, task: Readonly<Task>, nowMs: number): void {
  const { state, atMs } = task.status;
  if ((state === 'failed' || state === 'rejected') && atMs > nowMs - recentFailuresWindowMs) {
    increment(load.recentFailures, task.revisionId);
  }
}

function increment<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
