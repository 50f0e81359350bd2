/**
 * SwarmKit's task states. A task's observed state only moves forward through them, and so does its desired
 * state; the numbers give the order and are SwarmKit's own, so that tools that know them stay right.
 */
export const taskStateOrder = {
  new: 0,
  pending: 64,
  assigned: 192,
  accepted: 256,
  preparing: 320,
  ready: 384,
  starting: 448,
  running: 512,
  complete: 576,
  shutdown: 640,
  failed: 704,
  rejected: 768,
  remove: 800,
  orphaned: 832,
} as const;

export type TaskState = keyof typeof taskStateOrder;

/** What the orchestrator may ask for. `remove` asks for shutdown and then for the record to go. */
export type DesiredState = 'ready' | 'running' | 'complete' | 'shutdown' | 'remove';

/** Who reports that a task has come to a state. Each step has one owner and nobody else may write it. */
export type TaskStepOwner = 'orchestrator' | 'allocator' | 'scheduler' | 'agent' | 'dispatcher';

export const taskStateOwner = {
  new: 'orchestrator',
  pending: 'allocator',
  assigned: 'scheduler',
  accepted: 'agent',
  preparing: 'agent',
  ready: 'agent',
  starting: 'agent',
  running: 'agent',
  complete: 'agent',
  shutdown: 'agent',
  failed: 'agent',
  rejected: 'agent',
  remove: 'orchestrator',
  orphaned: 'dispatcher',
} as const satisfies Record<TaskState, TaskStepOwner>;

/** True when a task in `state` has a container that will never run again. */
export function isTerminal(state: TaskState): boolean {
  return taskStateOrder[state] > taskStateOrder.running;
}

/** Negative, zero or positive as `a` comes before, is, or comes after `b`. */
export function compareTaskStates(a: TaskState, b: TaskState): number {
  return taskStateOrder[a] - taskStateOrder[b];
}

/** True when an observed state may follow another: only forward, never the same again. */
export function mayFollow(next: TaskState, current: TaskState): boolean {
  return taskStateOrder[next] > taskStateOrder[current];
}
