/** What tasks should exist: replicated and global services, restarts, rollouts, moves, history. Pure. */
export { planOrchestration, planService } from './plan.js';
export type { Plan, PlanningInput } from './planning.js';
export { isRolloutActive } from './rollout-status.js';
export { TemplateComparison } from './template.js';
