/**
 * Brings a service's slots to its current spec, some at a time. There is no updater object to lose: every pass reads
 * from the store how far the rollout is. A slot is *dirty* while nothing of the current spec is in it, *busy* from the
 * moment its new task is made until that one has run for the delay; a new task fails the rollout when it ends before
 * it ran or within the monitor time. Source: SwarmKit `orchestrator/update/updater.go`.
 */
import type { Task } from '#libs/model';
import type { UpdateRules } from './policy.js';
import {
  completedStatus,
  isRolloutActive,
  pausedStatus,
  rolledBackStatus,
  rolloutRules,
  startedStatus,
} from './rollout-status.js';
import type { ServiceBoard, Slot } from './service-board.js';
import { hasEnded, isAssigned, isLive, isLost, isWanted } from './standing.js';

export function planRollout(board: ServiceBoard): void {
  if (!isRolloutActive(board.service) && !begin(board)) return;
  noteRunning(board);
  handleFailure(board);
  if (!isRolloutActive(board.service)) return;
  const rules = rolloutRules(board.service);
  beginSlots(board, rules);
  finish(board, rules);
}

function begin(board: ServiceBoard): boolean {
  const { updateStatus, revisionId } = board.service;
  const dirty = board.sortedSlots().filter((slot) => isDirty(board, slot));
  if (dirty.length === 0) return false;
  if (updateStatus !== undefined) {
    // A paused rollout waits for the user, whose next change of the spec removes the status.
    const { completedAtMs } = updateStatus;
    if (completedAtMs === undefined) return false;
    // A spec written after the last rollout ended is a new one even if its writer left the old status there.
    const revision = board.input.view.revisions.get(revisionId);
    const isNewer = revision !== undefined && revision.createdAtMs > completedAtMs;
    // Nodes that were paused or away during the rollout of a global service get their turn when they are back.
    const untried = (slot: Slot) => !slot.tasks.some((task) => task.revisionId === revisionId);
    if (!isNewer && !(board.isGlobal && dirty.some(untried))) return false;
  }
  board.patchService({ updateStatus: startedStatus(board.input.nowMs) });
  return true;
}

function isDirty(board: ServiceBoard, slot: Slot): boolean {
  if (board.isGlobal && !board.acceptsGlobalTask(slot.key)) return false;
  const wanted = slot.tasks.filter(isWanted);
  if (wanted.length > 0) return !wanted.some((task) => board.isCurrent(task));
  // What ended for good under the old spec gets its chance under the new one.
  const newest = slot.tasks.at(-1);
  return newest !== undefined && board.isFinished(slot) && !board.isCurrent(newest);
}

/** The tasks this rollout has made, one for each slot it has begun. */
function rolloutTasks(board: ServiceBoard): Readonly<Task>[] {
  const { updateStatus, revisionId } = board.service;
  const startedAtMs = updateStatus?.startedAtMs ?? Number.POSITIVE_INFINITY;
  return board
    .sortedSlots()
    .flatMap(({ tasks }) => tasks)
    .filter(
      (task) => task.cause === 'update' && task.revisionId === revisionId && task.createdAtMs >= startedAtMs,
    );
}

function noteRunning(board: ServiceBoard): void {
  for (const task of rolloutTasks(board)) {
    if (task.status.state === 'running' && task.runningAtMs === undefined) {
      board.patchTask(task, { runningAtMs: board.input.nowMs });
    }
  }
}

// A task that was asked to stop ends as `shutdown`: that is no failure of the version.
function hasFailed(task: Readonly<Task>, rules: UpdateRules): boolean {
  const { state } = task.status;
  if (state !== 'failed' && state !== 'rejected' && state !== 'complete') return false;
  // The store's clock of the last change stands for the end: unlike the agent's, it is the leader's as `runningAtMs`.
  return task.runningAtMs === undefined || task.updatedAtMs - task.runningAtMs <= rules.monitorMs;
}

function handleFailure(board: ServiceBoard): void {
  const { service, input } = board;
  const status = service.updateStatus;
  if (status === undefined) return;
  const rules = rolloutRules(service);
  const made = rolloutTasks(board);
  const failed = made.filter((task) => hasFailed(task, rules));
  const culprit = failed.reduce<Readonly<Task> | undefined>(
    (latest, task) => (latest !== undefined && latest.status.atMs > task.status.atMs ? latest : task),
    undefined,
  );
  if (culprit === undefined) return;
  const begun = new Set(made.map((task) => board.slotFor(task)));
  const total = board.sortedSlots().filter((slot) => begun.has(slot) || isDirty(board, slot)).length;
  if (failed.length / total <= rules.maxFailureRatio) return;
  switch (rules.failureAction) {
    case 'continue':
      return;
    case 'rollback':
      // A rollback is never rolled back, and a first version has nothing to go back to.
      if (status.state === 'updating' && rollBack(board, culprit, input.nowMs)) return;
      break;
    case 'pause':
      break;
  }
  board.patchService({ updateStatus: pausedStatus(status, culprit.id) });
  withdrawUnproven(board);
}

/**
 * A pause leaves every slot with what serves in it: successors that do not run yet go, where the old task still does.
 * Else a version the user has stopped would be tried again and again, and would take over once it is prepared.
 */
function withdrawUnproven(board: ServiceBoard): void {
  for (const slot of board.sortedSlots()) {
    const wanted = slot.tasks.filter(isWanted);
    const unproven = wanted.filter((task) => board.isCurrent(task) && !board.isRunning(task));
    const oldServes = wanted.some((task) => !board.isCurrent(task) && board.isRunning(task));
    const newServes = wanted.some((task) => board.isCurrent(task) && board.isRunning(task));
    if (oldServes && !newServes) for (const task of unproven) board.desire(task, 'shutdown');
  }
}

function rollBack(board: ServiceBoard, culprit: Readonly<Task>, nowMs: number): boolean {
  const { previousSpec, previousRevisionId } = board.service;
  if (previousSpec === undefined || previousRevisionId === undefined) return false;
  board.patchService({
    spec: previousSpec,
    revisionId: previousRevisionId,
    previousSpec: undefined,
    previousRevisionId: undefined,
    updateStatus: rolledBackStatus(culprit.id, nowMs),
  });
  return true;
}

function isBusy(task: Readonly<Task>, rules: UpdateRules, nowMs: number): boolean {
  if (!isLive(task)) return false;
  return task.runningAtMs === undefined || task.runningAtMs + rules.delayMs > nowMs;
}

function beginSlots(board: ServiceBoard, rules: UpdateRules): void {
  const { nowMs } = board.input;
  const busy = rolloutTasks(board).filter((task) => isBusy(task, rules, nowMs));
  const dirty = board.sortedSlots().filter((slot) => isDirty(board, slot));
  if (dirty.length === 0) return;
  for (const { runningAtMs } of busy) {
    if (runningAtMs !== undefined) board.wakeAt(runningAtMs + rules.delayMs);
  }
  // What serves nobody goes first: replacing it costs nothing and may mend it.
  const serves = (slot: Slot) => slot.tasks.some((task) => isWanted(task) && board.isRunning(task));
  const ordered = [...dirty.filter((slot) => !serves(slot)), ...dirty.filter(serves)];
  const room = Math.max(0, rules.parallelism - busy.length);
  for (const slot of ordered.slice(0, room)) beginSlot(board, slot, rules);
}

function beginSlot(board: ServiceBoard, slot: Slot, { order }: UpdateRules): void {
  const { view } = board.input;
  const outgoing = slot.tasks.filter(isWanted);
  const example = slot.tasks.at(-1);
  if (example === undefined) return;
  const serving = outgoing.findLast((task) => board.isRunning(task));
  // Even a task that does not serve must be out of its node before its successor starts there.
  const stopping = slot.tasks.findLast((task) => isAssigned(task) && !hasEnded(task) && !isLost(view, task));
  const awaited = serving === undefined ? stopping : order === 'stop-first' ? serving : undefined;
  board.create({
    slot: example.slot,
    ...(board.isGlobal && example.nodeId !== undefined ? { nodeId: example.nodeId } : {}),
    cause: 'update',
    revisionId: board.service.revisionId,
    ...(awaited === undefined ? {} : { startGate: { afterTask: awaited.id } }),
  });
  for (const task of outgoing) {
    if (task !== serving) board.desire(task, 'shutdown');
  }
}

function finish(board: ServiceBoard, rules: UpdateRules): void {
  const { service, input } = board;
  const status = service.updateStatus;
  if (status === undefined || board.sortedSlots().some((slot) => isDirty(board, slot))) return;
  let watchedUntilMs = 0;
  for (const task of rolloutTasks(board)) {
    if (!isLive(task)) continue;
    if (task.runningAtMs === undefined) return;
    watchedUntilMs = Math.max(watchedUntilMs, task.runningAtMs + rules.monitorMs);
  }
  if (watchedUntilMs > input.nowMs) board.wakeAt(watchedUntilMs);
  else board.patchService({ updateStatus: completedStatus(status, input.nowMs) });
}
