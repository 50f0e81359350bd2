/**
 * One pass over all services. Each planner below knows one concern; their order matters only in that each sees what
 * the ones before it decided: slots that go away are not updated first, and a slot whose turn in a rollout has come
 * does not restart its old version.
 */
import type { ClusterView, Service } from '#libs/model';
import { planGlobal } from './global.js';
import { planHandovers } from './handover.js';
import { planMoves } from './moves.js';
import type { Plan, PlanningInput } from './planning.js';
import { planOrphans, planReaping } from './reaper.js';
import { planReplicas } from './replicated.js';
import { planRestarts } from './restart.js';
import { planRollout } from './rollout.js';
import { ServiceBoard } from './service-board.js';
import { planStartGates } from './start-gates.js';

type ServicePlanner = (board: ServiceBoard) => void;

const servicePlanners: readonly ServicePlanner[] = [
  (board) => (board.isGlobal ? planGlobal(board) : planReplicas(board)),
  planRollout,
  planRestarts,
  planMoves,
  planHandovers,
  planStartGates,
  planReaping,
];

/** Everything that should change now, for all services. An empty plan means that all is as it should be. */
export function planOrchestration(input: PlanningInput): Plan {
  const plan = planOrphans(input);
  for (const service of input.view.services.all()) {
    const part = planService(input, service);
    for (const change of part.changes) plan.changes.push(change);
    if (part.wakeAtMs !== undefined) plan.wakeAtMs = Math.min(plan.wakeAtMs ?? part.wakeAtMs, part.wakeAtMs);
  }
  return plan;
}

/** The plan of one service alone. */
export function planService(input: PlanningInput, service: Readonly<Service>): Plan {
  // Jobs are refused at the API's edge.
  if (service.spec.Mode?.ReplicatedJob !== undefined || service.spec.Mode?.GlobalJob !== undefined) {
    return { changes: [] };
  }
  const board = new ServiceBoard(input, service);
  for (const plan of servicePlanners) plan(board);
  const restored = restoredRevision(input.view, service);
  const changes = restored === undefined ? board.changes() : [restored, ...board.changes()];
  return { changes, ...(board.wakeAtMs === undefined ? {} : { wakeAtMs: board.wakeAtMs }) };
}

// A user may name a revision in the moment the reaper finds it unused; the spec has all it takes to write it again.
function restoredRevision(
  view: ClusterView,
  service: Readonly<Service>,
): Plan['changes'][number] | undefined {
  if (view.revisions.get(service.revisionId) !== undefined) return undefined;
  return {
    op: 'put',
    table: 'revisions',
    object: {
      id: service.revisionId,
      serviceId: service.id,
      serviceName: service.spec.Name,
      serviceLabels: service.spec.Labels ?? {},
      taskTemplate: service.spec.TaskTemplate,
    },
  };
}
