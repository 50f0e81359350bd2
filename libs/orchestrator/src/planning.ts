/** What every planner is given, and what it gives back. */
import type { Change, ClusterView, IdSource, Task } from '#libs/model';

export interface PlanningInput {
  view: ClusterView;
  /** The leader's clock, milliseconds since the epoch. */
  nowMs: number;
  newId: IdSource;
  /**
   * The scheduler's answer: could `incoming` run on the node of `outgoing` once that one has left? Stopping a task
   * helps its waiting successor only then.
   */
  fitsInPlaceOf(view: ClusterView, tasks: { incoming: Readonly<Task>; outgoing: Readonly<Task> }): boolean;
}

export interface Plan {
  changes: Change[];
  /** Nothing may happen until then, but then it must be planned again. */
  wakeAtMs?: number;
}
