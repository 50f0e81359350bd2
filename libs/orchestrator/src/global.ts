/** A global service has one slot on every node that its constraints allow. Source: SwarmKit `orchestrator/global`. */
import { isAssigned, hasEnded, isPast, isWanted, nodeStanding } from './standing.js';
import { restartVerdict } from './restart-verdict.js';
import type { ServiceBoard } from './service-board.js';

export function planGlobal(board: ServiceBoard): void {
  const { view } = board.input;
  for (const slot of board.sortedSlots()) {
    for (const task of slot.tasks) {
      if (!isWanted(task) || task.nodeId === undefined) continue;
      const node = view.nodes.get(task.nodeId);
      // A node that is gone or down is another planner's concern: its task is lost, not out of place.
      if (node === undefined || nodeStanding(view, node.id) === 'down') continue;
      const outOfPlace =
        node.spec.Availability === 'drain' || (node.status.state === 'ready' && !board.allowsNode(node));
      if (outOfPlace) board.desire(task, 'shutdown');
    }
  }
  const cause = board.slots.size === 0 ? 'create' : 'scale';
  for (const node of view.nodes.all()) {
    if (!board.acceptsGlobalTask(node.id)) continue;
    const slot = board.slots.get(node.id);
    if (slot?.tasks.some(isWanted)) continue;
    const newest = slot?.tasks.at(-1);
    if (slot !== undefined && newest !== undefined && board.isFinished(slot)) {
      // The node was drained while the task failed, say: that one was never judged by its restart policy.
      const mayRestart = restartVerdict(board, slot, newest, newest.status.atMs).kind === 'restart';
      if (!mayRestart || !board.isCurrent(newest)) continue;
    }
    // One at a time on a node: the task that still stops there may hold what the new one needs.
    const stopping = slot?.tasks.findLast(
      (task) => isAssigned(task) && !hasEnded(task) && !isPast(view, task),
    );
    board.create({
      slot: 0,
      nodeId: node.id,
      cause,
      revisionId: board.service.revisionId,
      ...(stopping === undefined ? {} : { startGate: { afterTask: stopping.id } }),
    });
  }
}
