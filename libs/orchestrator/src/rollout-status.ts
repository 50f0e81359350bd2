/**
 * The states of a rollout as a table: which lead on to which, and in what words. The words are SwarmKit's
 * (`orchestrator/update/updater.go`); clients show them to people as they are.
 */
import type { Service, TaskId, UpdateState, UpdateStatus } from '#libs/model';
import { updateRules, type UpdateRules } from './policy.js';

interface StateFacts {
  /** Slots are being replaced. */
  active: boolean;
  /** The service goes back to its former spec: the rollback rules apply. */
  rollingBack: boolean;
}

export const rolloutStates = {
  updating: { active: true, rollingBack: false },
  paused: { active: false, rollingBack: false },
  completed: { active: false, rollingBack: false },
  rollback_started: { active: true, rollingBack: true },
  rollback_paused: { active: false, rollingBack: true },
  rollback_completed: { active: false, rollingBack: true },
} as const satisfies Record<UpdateState, StateFacts>;

export function isRolloutActive(service: Readonly<Service>): boolean {
  return service.updateStatus !== undefined && rolloutStates[service.updateStatus.state].active;
}

/** The rules of the rollout that runs or would run now. */
export function rolloutRules(service: Readonly<Service>): UpdateRules {
  const { updateStatus, spec } = service;
  const rollingBack = updateStatus !== undefined && rolloutStates[updateStatus.state].rollingBack;
  return updateRules(rollingBack ? spec.RollbackConfig : spec.UpdateConfig);
}

export function startedStatus(nowMs: number): UpdateStatus {
  return { state: 'updating', startedAtMs: nowMs, message: 'update in progress' };
}

export function completedStatus(status: UpdateStatus, nowMs: number): UpdateStatus {
  const { rollingBack } = rolloutStates[status.state];
  return {
    state: rollingBack ? 'rollback_completed' : 'completed',
    startedAtMs: status.startedAtMs,
    completedAtMs: nowMs,
    message: rollingBack ? 'rollback completed' : 'update completed',
  };
}

export function pausedStatus(status: UpdateStatus, failed: TaskId): UpdateStatus {
  const { rollingBack } = rolloutStates[status.state];
  return {
    state: rollingBack ? 'rollback_paused' : 'paused',
    startedAtMs: status.startedAtMs,
    message: `${rollingBack ? 'rollback' : 'update'} paused due to failure or early termination of task ${failed}`,
  };
}

/** The failures of the rollback are counted from here, so its start is its own. */
export function rolledBackStatus(failed: TaskId, nowMs: number): UpdateStatus {
  return {
    state: 'rollback_started',
    startedAtMs: nowMs,
    message: `update rolled back due to failure or early termination of task ${failed}`,
  };
}
