/** A replicated service has as many slots as its spec says. Source: SwarmKit `orchestrator/replicated`. */
import type { NodeId } from '#libs/model';
import type { ServiceBoard, Slot } from './service-board.js';
import { isWanted } from './standing.js';

export function planReplicas(board: ServiceBoard): void {
  const replicas = board.service.spec.Mode?.Replicated?.Replicas ?? 1;
  const isOccupied = (slot: Slot) => slot.tasks.some(isWanted) || board.isFinished(slot);
  const occupied = board.sortedSlots().filter(isOccupied);
  const kept = new Set(
    occupied.length <= replicas ? occupied : inOrderOfWorth(board, occupied).slice(0, replicas),
  );
  for (const slot of board.sortedSlots()) {
    // The history of a slot goes with it: nobody asks what ran in replica 9 of 3.
    if (!kept.has(slot) && (isOccupied(slot) || slot.order > replicas)) {
      for (const task of slot.tasks) board.desire(task, 'remove');
    }
  }
  const cause = board.slots.size === 0 ? 'create' : 'scale';
  const taken = new Set([...kept].map((slot) => slot.order));
  for (let slot = 1; taken.size < replicas; slot++) {
    if (taken.has(slot)) continue;
    taken.add(slot);
    board.create({ slot, cause, revisionId: board.service.revisionId });
  }
}

/**
 * Those to keep first: running before not running, then one of each node before the second of any, then low slots.
 * So scaling down takes what does not run, then from the nodes with most copies, higher slots first.
 */
function inOrderOfWorth(board: ServiceBoard, slots: readonly Slot[]): Slot[] {
  const copiesOnNode = new Map<NodeId, number>();
  const ranked = slots.map((slot) => {
    const running = slot.tasks.findLast((task) => isWanted(task) && board.isRunning(task));
    const nodeId = running?.nodeId;
    const copy = nodeId === undefined ? 0 : (copiesOnNode.get(nodeId) ?? 0);
    if (nodeId !== undefined) copiesOnNode.set(nodeId, copy + 1);
    return { slot, isRunning: running !== undefined, copy };
  });
  ranked.sort((a, b) => Number(b.isRunning) - Number(a.isRunning) || a.copy - b.copy);
  return ranked.map(({ slot }) => slot);
}
