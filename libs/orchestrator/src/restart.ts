/**
 * Tasks that ended, and tasks whose node is down or gone, are replaced in their slots. A task is never started again:
 * its successor is made at once and prepared while the restart delay runs. A task whose node is lost did not end, so
 * neither the condition nor the delay of the restart policy speaks about it: the delay is there to slow down a
 * program that crashes, and waiting longer for a machine that died serves nobody.
 */
import type { Task } from '#libs/model';
import { restartVerdict } from './restart-verdict.js';
import type { ServiceBoard, Slot } from './service-board.js';
import { hasEnded, isLive, isLost, isWanted, nodeStanding } from './standing.js';

export function planRestarts(board: ServiceBoard): void {
  for (const slot of board.sortedSlots()) planSlot(board, slot);
}

function planSlot(board: ServiceBoard, slot: Slot): void {
  const { view } = board.input;
  const out = slot.tasks.filter((task) => isWanted(task) && (hasEnded(task) || isLost(view, task)));
  const last = out.at(-1);
  if (last === undefined) return;
  const survivors = slot.tasks.filter((task) => isLive(task) && !isLost(view, task));
  if (waitsForPreparation(board, slot, last)) {
    for (const task of out) if (task !== last) retire(board, task);
    return;
  }
  // The successor goes into the plan before its predecessor's end: a plan that is cut in two repeats nothing.
  if (!survivors.some((task) => board.isKeeper(slot, task)) && mayRunHere(board, last)) {
    replace(board, slot, last, survivors);
  }
  for (const task of out) retire(board, task);
}

function retire(board: ServiceBoard, task: Readonly<Task>): void {
  const gone = task.nodeId !== undefined && nodeStanding(board.input.view, task.nodeId) === 'gone';
  board.desire(task, gone ? 'remove' : 'shutdown');
}

// A global service's slot is its node: where the node cannot run it there is nothing to replace.
function mayRunHere(board: ServiceBoard, task: Readonly<Task>): boolean {
  if (!board.isGlobal) return true;
  const node = task.nodeId === undefined ? undefined : board.input.view.nodes.get(task.nodeId);
  return node !== undefined && nodeStanding(board.input.view, node.id) === 'usable' && board.allowsNode(node);
}

/**
 * A task that could not even be prepared tells that preparing its successor now would fail too: the registry is asked
 * again when the delay is over, not as fast as it can say no. Until then the ended task keeps its slot.
 */
function waitsForPreparation(board: ServiceBoard, slot: Slot, last: Readonly<Task>): boolean {
  if (!neverStarted(last)) return false;
  const verdict = restartVerdict(board, slot, last, last.updatedAtMs);
  const againAtMs = last.updatedAtMs + (verdict.kind === 'restart' ? verdict.delayMs : 0);
  if (againAtMs <= board.input.nowMs) return false;
  board.wakeAt(againAtMs);
  return true;
}

function neverStarted(task: Readonly<Task>): boolean {
  return task.status.state === 'rejected' || (hasEnded(task) && task.desiredState === 'ready');
}

function replace(
  board: ServiceBoard,
  slot: Slot,
  last: Readonly<Task>,
  survivors: readonly Readonly<Task>[],
): void {
  const { nowMs } = board.input;
  const lost = !hasEnded(last);
  let delayMs = 0;
  if (!lost) {
    const verdict = restartVerdict(board, slot, last, nowMs);
    if (verdict.kind === 'leave') return;
    if (!neverStarted(last)) delayMs = verdict.delayMs;
  }
  // A successor in a rollout or a move takes over the wait for the task that still serves.
  const awaited = survivors.find((task) => task.id === last.startGate?.afterTask);
  const notBeforeMs = delayMs === 0 ? undefined : nowMs + delayMs;
  const startGate =
    awaited === undefined && notBeforeMs === undefined
      ? undefined
      : {
          ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
          ...(awaited === undefined ? {} : { afterTask: awaited.id }),
        };
  board.create({
    slot: last.slot,
    ...(board.isGlobal && last.nodeId !== undefined ? { nodeId: last.nodeId } : {}),
    cause: lost ? 'drain' : 'restart',
    revisionId: board.targetRevision(slot),
    ...(startGate === undefined ? {} : { startGate }),
  });
}
