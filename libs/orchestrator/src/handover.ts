/**
 * A slot with more than one wanted task is changing hands: in a rollout, or because its node is drained. The old task
 * is asked to stop as late as possible. Start-first: once the successor runs. Stop-first: once the successor is
 * prepared, its image there and its container made, so that a version that cannot even be prepared takes nothing
 * down. And when the successor finds no place but would find one where the old task is, the old task makes room.
 */
import type { Task } from '#libs/model';
import type { ServiceBoard, Slot } from './service-board.js';
import { isLive, isUnplaceable } from './standing.js';

/** A node that is to be emptied is emptied, even if the successor does not come up. SwarmKit waits as long. */
export const movePatienceMs = 60_000;

export function planHandovers(board: ServiceBoard): void {
  for (const slot of board.sortedSlots()) {
    const live = slot.tasks.filter(isLive);
    if (live.length < 2) continue;
    const keepers = live.filter((task) => board.isKeeper(slot, task));
    // A running keeper wins over a newer one: after a rollback, or when a drained node is taken back.
    const incoming = keepers.find((task) => board.isRunning(task)) ?? keepers.at(-1);
    if (incoming === undefined) continue;
    const outgoing = live.filter((task) => task.id !== incoming.id);
    for (const task of outgoing) {
      if (mayStop(board, slot, incoming, task)) board.desire(task, 'shutdown');
    }
  }
}

function mayStop(
  board: ServiceBoard,
  slot: Slot,
  incoming: Readonly<Task>,
  outgoing: Readonly<Task>,
): boolean {
  const { view, nowMs, fitsInPlaceOf } = board.input;
  if (board.isRunning(incoming) || !board.isRunning(outgoing)) return true;
  if (incoming.startGate?.afterTask === outgoing.id && incoming.status.state === 'ready') {
    // A successor that waits out its restart delay would leave the slot empty meanwhile.
    const { notBeforeMs = nowMs } = incoming.startGate;
    if (notBeforeMs > nowMs) board.wakeAt(notBeforeMs);
    else return true;
  }
  const leaves = board.mustLeave(outgoing);
  if (isUnplaceable(incoming) && (leaves || fitsInPlaceOf(view, { incoming, outgoing }))) return true;
  if (!leaves) return false;
  const patienceEndMs = moveBeganAtMs(slot, incoming) + movePatienceMs;
  if (patienceEndMs > nowMs) board.wakeAt(patienceEndMs);
  return patienceEndMs <= nowMs;
}

// The first successor counts, not the newest: one that fails and is made again must not start the clock anew.
function moveBeganAtMs(slot: Slot, incoming: Readonly<Task>): number {
  const began = slot.tasks.findLast((task) => task.cause === 'drain') ?? incoming;
  return Math.min(began.createdAtMs, incoming.createdAtMs);
}
