/**
 * Deletes what nobody needs any more: tasks of which nothing runs beyond the history limit, tasks of removed slots and
 * nodes, tasks of deleted services once they have stopped, and task templates that nothing refers to.
 */
import { taskHistoryRetentionDefault, type Task } from '#libs/model';
import type { Plan, PlanningInput } from './planning.js';
import { restartRules } from './policy.js';
import { isRolloutActive } from './rollout-status.js';
import type { ServiceBoard, Slot } from './service-board.js';
import { hasEnded, isAssigned, isPast, nodeStanding } from './standing.js';

export function planReaping(board: ServiceBoard): void {
  const { view } = board.input;
  const limit = historyLimit(board);
  for (const slot of board.sortedSlots()) {
    const past = slot.tasks.filter((task) => isPast(view, task));
    const expendable: Readonly<Task>[] = [];
    for (const task of past) {
      const nodeIsGone = task.nodeId !== undefined && nodeStanding(view, task.nodeId) === 'gone';
      // A task that never had a node has no story to keep: its `pending` would stand in the history for ever.
      const neverRan = !isAssigned(task) && !hasEnded(task);
      if (task.desiredState === 'remove' || nodeIsGone || neverRan) board.deleteTask(task);
      else if (!isStillNeeded(board, slot, task)) expendable.push(task);
    }
    const excess = Math.max(0, slot.tasks.length - limit);
    for (const task of expendable.slice(0, excess)) board.deleteTask(task);
  }
}

function historyLimit(board: ServiceBoard): number {
  const { cluster } = board.input.view;
  const limit = cluster?.spec.Orchestration?.TaskHistoryRetentionLimit ?? taskHistoryRetentionDefault;
  if (limit < 0) return Number.POSITIVE_INFINITY;
  // Restart attempts are counted in the history, so as much of it must stay.
  const { maxAttempts } = restartRules(board.template);
  return maxAttempts > 0 ? Math.max(limit, maxAttempts + 1) : limit;
}

function isStillNeeded(board: ServiceBoard, slot: Slot, task: Readonly<Task>): boolean {
  if (board.isFinished(slot) && slot.tasks.at(-1)?.id === task.id) return true;
  if (slot.tasks.some((other) => other.startGate?.afterTask === task.id && other.desiredState === 'ready'))
    return true;
  // The failures of a rollout are counted from its tasks.
  return (
    task.cause === 'update' && isRolloutActive(board.service) && task.revisionId === board.service.revisionId
  );
}

/** Tasks whose service was deleted stop and go; so do templates without a service or task. */
export function planOrphans({ view }: PlanningInput): Plan {
  const changes: Plan['changes'] = [];
  for (const task of view.tasks.all()) {
    if (view.services.get(task.serviceId) !== undefined) continue;
    const removed = { ...task, desiredState: 'remove' } as const;
    if (isPast(view, removed)) changes.push({ op: 'delete', table: 'tasks', id: task.id });
    else if (task.desiredState !== 'remove') {
      changes.push({ op: 'patch', table: 'tasks', id: task.id, fields: { desiredState: 'remove' } });
    }
  }
  for (const revision of view.revisions.all()) {
    const service = view.services.get(revision.serviceId);
    const isNamed = service?.revisionId === revision.id || service?.previousRevisionId === revision.id;
    if (!isNamed && view.tasksOfRevision(revision.id).length === 0) {
      changes.push({ op: 'delete', table: 'revisions', id: revision.id });
    }
  }
  return { changes };
}
