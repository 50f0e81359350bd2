/** Small questions about tasks and nodes that several planners ask. */
import { isTerminal, type ClusterView, type NodeId, type Task } from '#libs/model';

/** True while the orchestrator wants this task to run now or soon. */
export function isWanted(task: Readonly<Task>): boolean {
  return task.desiredState === 'ready' || task.desiredState === 'running' || task.desiredState === 'complete';
}

export function hasEnded(task: Readonly<Task>): boolean {
  return isTerminal(task.status.state);
}

export function isLive(task: Readonly<Task>): boolean {
  return isWanted(task) && !hasEnded(task);
}

/** True for a task that a node may know of. */
export function isAssigned(task: Readonly<Task>): boolean {
  return task.nodeId !== undefined && task.status.state !== 'new' && task.status.state !== 'pending';
}

/** True when the scheduler has looked for a node and found none. */
export function isUnplaceable(task: Readonly<Task>): boolean {
  return task.status.state === 'pending' && task.status.error !== undefined && task.status.error !== '';
}

export type NodeStanding = 'gone' | 'down' | 'drained' | 'usable';

export function nodeStanding(view: ClusterView, nodeId: NodeId): NodeStanding {
  const node = view.nodes.get(nodeId);
  if (node === undefined) return 'gone';
  if (node.status.state === 'down') return 'down';
  return node.spec.Availability === 'drain' ? 'drained' : 'usable';
}

/** True when the task's node cannot speak for it: what was last reported says nothing about now. */
export function isLost(view: ClusterView, task: Readonly<Task>): boolean {
  if (task.nodeId === undefined) return false;
  const standing = nodeStanding(view, task.nodeId);
  return standing === 'gone' || standing === 'down';
}

/** True when nothing of this task can run any more, as far as the cluster can know. */
export function isPast(view: ClusterView, task: Readonly<Task>): boolean {
  return !isWanted(task) && (hasEnded(task) || !isAssigned(task) || isLost(view, task));
}
