/**
 * The loops that only the leader runs, in order. Each is a pure function from a picture of the store to changes, and
 * each sees what the ones before it want, so that one new service becomes tasks, addresses and places in one entry of
 * the log. They never call each other and keep nothing between two passes: a new leader begins where the old one was.
 */
import type {
  Change,
  ClusterView,
  IdSource,
  NodeId,
  Task,
  TaskId,
  TaskNetwork,
  TaskStatus,
} from '#libs/model';
import { allocateTaskAddresses, planNetworkAllocation } from '#libs/network';
import { planOrchestration, type Plan } from '#libs/orchestrator';
import { fitsInPlaceOf, schedule } from '#libs/scheduler';

export interface LoopInput {
  view: ClusterView;
  nowMs: number;
  newId: IdSource;
}

export interface LeaderLoop {
  name: string;
  plan(input: LoopInput): Plan;
}

export const leaderLoops: readonly LeaderLoop[] = [
  { name: 'orchestrator', plan: (input) => planOrchestration({ ...input, fitsInPlaceOf }) },
  { name: 'allocator', plan: ({ view, nowMs }) => ({ changes: planNetworkAllocation(view, nowMs) }) },
  { name: 'scheduler', plan: planPlacements },
];

/** Places waiting tasks; each gets its addresses in the transaction that gives it its node. */
export function planPlacements({ view, nowMs }: LoopInput): Plan {
  const { placements, unplaced } = schedule(view, { nowMs });
  const addresses = allocateTaskAddresses(view, placements);
  const changes: Change[] = [...addresses.changes];
  const waiting = new Map<TaskId, string>(addresses.failures);
  for (const { task, explanation } of unplaced) waiting.set(task.id, explanation);
  for (const { task, nodeId } of placements) {
    const networks = addresses.networks.get(task.id);
    if (networks === undefined) continue;
    changes.push({
      op: 'patch',
      table: 'tasks',
      id: task.id,
      fields: placedFields(task.nodeId === undefined, { nowMs, nodeId, networks }),
    });
  }
  for (const [id, error] of waiting) {
    // Once, when the reason changes: a task that waits for a day must not fill the log.
    if (view.tasks.get(id)?.status.error === error) continue;
    const status: TaskStatus = { state: 'pending', atMs: nowMs, message: 'pending task scheduling', error };
    changes.push({ op: 'patch', table: 'tasks', id, fields: { status } });
  }
  return { changes };
}

function placedFields(
  isChosen: boolean,
  placed: { nowMs: number; nodeId: NodeId; networks: TaskNetwork[] },
): Pick<Task, 'nodeId' | 'networks' | 'status'> {
  const { nowMs, nodeId, networks } = placed;
  const message = isChosen
    ? 'scheduler assigned task to node'
    : 'scheduler confirmed task can run on preassigned node';
  return { nodeId, networks, status: { state: 'assigned', atMs: nowMs, message } };
}
