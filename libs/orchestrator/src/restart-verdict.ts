/** What the restart policy says about a task that ended. Source: SwarmKit `orchestrator/restart`. */
import type { Task } from '#libs/model';
import { restartRules } from './policy.js';
import type { ServiceBoard, Slot } from './service-board.js';

export type RestartVerdict = { kind: 'restart'; delayMs: number } | { kind: 'leave' };

/** A slot that restarts this often within the window is slowed down, whatever delay the user chose. */
const brakeRestarts = 4;
const brakeWindowMs = 10_000;
const brakeDelayMs = 1_000;

/** `atMs` is the moment to judge at: attempts within the policy's window before it count. */
export function restartVerdict(
  board: ServiceBoard,
  slot: Slot,
  ended: Readonly<Task>,
  atMs: number,
): RestartVerdict {
  const rules = restartRules(board.templateOf(ended.revisionId) ?? board.template);
  if (rules.condition === 'none') return { kind: 'leave' };
  if (rules.condition === 'on-failure' && ended.status.state === 'complete') return { kind: 'leave' };
  // Attempts of another version do not count: the user has changed something that may have been the cause.
  const restarts = slot.tasks.filter(
    (task) => task.cause === 'restart' && task.revisionId === ended.revisionId && task.createdAtMs <= atMs,
  );
  if (rules.maxAttempts > 0) {
    const counted = restarts.filter(
      (task) => rules.windowMs === 0 || task.createdAtMs > atMs - rules.windowMs,
    );
    if (counted.length >= rules.maxAttempts) return { kind: 'leave' };
  }
  // With no delay, a program that exits at once would keep the whole cluster's log busy.
  const hot = restarts.filter((task) => task.createdAtMs > atMs - brakeWindowMs).length >= brakeRestarts;
  return { kind: 'restart', delayMs: hot ? Math.max(rules.delayMs, brakeDelayMs) : rules.delayMs };
}
