/**
 * Tasks of a drained node, or of a node that no longer satisfies the constraints, move. The successor runs before the
 * old task is asked to stop, whatever the service's update order: a move must not be felt. (Docker stops first.)
 */
import type { ServiceBoard } from './service-board.js';
import { hasEnded, isLive, isWanted } from './standing.js';

export function planMoves(board: ServiceBoard): void {
  // A global service's task has nowhere to go.
  if (board.isGlobal) return;
  for (const slot of board.sortedSlots()) {
    const live = slot.tasks.filter(isLive);
    const leaving = live.filter((task) => board.mustLeave(task));
    const last = leaving.at(-1);
    if (last === undefined) continue;
    // A successor that ended is the restart planner's to replace, when its delay is over.
    const succeeded = slot.tasks.some((task) => isWanted(task) && hasEnded(task));
    if (!succeeded && !live.some((task) => board.isKeeper(slot, task))) {
      board.create({ slot: last.slot, cause: 'drain', revisionId: board.targetRevision(slot) });
    }
    for (const task of leaving) {
      if (!board.isRunning(task)) board.desire(task, 'shutdown');
    }
  }
}
