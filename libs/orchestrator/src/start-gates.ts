/** Opens the gate of prepared tasks: the time has come, and the task they succeed has stopped. */
import type { Task } from '#libs/model';
import { stopGraceMs } from './policy.js';
import type { ServiceBoard, Slot } from './service-board.js';
import { hasEnded, isAssigned, isLive, isLost, isWanted } from './standing.js';

/** How much longer than its stop grace period a task may take to stop before its successor starts regardless. */
export const stopPatienceMs = 60_000;

export function planStartGates(board: ServiceBoard): void {
  for (const slot of board.sortedSlots()) {
    for (const task of slot.tasks) {
      if (isLive(task) && task.desiredState === 'ready' && gateIsOpen(board, slot, task)) {
        board.desire(task, 'running');
      }
    }
  }
}

function gateIsOpen(board: ServiceBoard, slot: Slot, task: Readonly<Task>): boolean {
  const { nowMs } = board.input;
  const { notBeforeMs, afterTask } = task.startGate ?? {};
  if (notBeforeMs !== undefined && notBeforeMs > nowMs) {
    board.wakeAt(notBeforeMs);
    return false;
  }
  const awaited = afterTask === undefined ? undefined : board.task(afterTask, slot);
  return awaited === undefined || hasStopped(board, awaited);
}

function hasStopped(board: ServiceBoard, awaited: Readonly<Task>): boolean {
  const { view, nowMs } = board.input;
  if (hasEnded(awaited) || isLost(view, awaited)) return true;
  if (isWanted(awaited)) return false;
  if (!isAssigned(awaited)) return true;
  const overdueAtMs =
    awaited.updatedAtMs + stopGraceMs(board.templateOf(awaited.revisionId)) + stopPatienceMs;
  if (overdueAtMs > nowMs) board.wakeAt(overdueAtMs);
  return overdueAtMs <= nowMs;
}
