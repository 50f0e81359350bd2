/** One pass of all loops over one picture of the store. Pure. */
import type { Change } from '#libs/model';
import { withChanges } from '#libs/store';
import { foldChanges } from './fold-changes.js';
import type { LeaderLoop, LoopInput } from './loops.js';

export interface PassPlan {
  changes: Change[];
  wakeAtMs?: number;
  /** A loop could not plan; the others went on without it. */
  failedLoop: boolean;
}

export function planPass(
  loops: readonly LeaderLoop[],
  input: LoopInput,
  onFailure: (loop: LeaderLoop, error: unknown) => void,
): PassPlan {
  const changes: Change[] = [];
  const plan: PassPlan = { changes, failedLoop: false };
  let { view } = input;
  for (const loop of loops) {
    try {
      const part = loop.plan({ ...input, view });
      if (part.wakeAtMs !== undefined)
        plan.wakeAtMs = Math.min(plan.wakeAtMs ?? part.wakeAtMs, part.wakeAtMs);
      if (part.changes.length === 0) continue;
      view = withChanges(view, part.changes, { index: view.index + 1, atMs: input.nowMs });
      changes.push(...part.changes);
    } catch (error) {
      plan.failedLoop = true;
      onFailure(loop, error);
    }
  }
  plan.changes = foldChanges(input.view, changes);
  return plan;
}
