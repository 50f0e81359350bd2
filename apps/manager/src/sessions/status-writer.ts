/**
 * Statuses that agents report become proposals: immediately when none is under way, else together with whatever
 * arrives meanwhile. The newest status of a task wins.
 */
import {
  compareTaskStates,
  isEnxameError,
  mayFollow,
  type Change,
  type ClusterStore,
  type ClusterView,
  type NodeId,
  type TaskId,
  type TaskStatusReport,
} from '#libs/model';
import type { Log } from '../membership/ports.js';

export interface ReportedStatus extends TaskStatusReport {
  nodeId: NodeId;
}

export interface AcceptedReports {
  changes: Change[];
  /** Tasks the cluster does not know, or that belong to another node: the reporter is to remove what it runs. */
  unknown: { nodeId: NodeId; taskId: TaskId }[];
}

const changesPerProposalMax = 2000;
const retryDelayMsMax = 2000;

/** Which reports the store is to hear of: of known tasks, from the task's own node, forward. */
export function acceptReports(
  view: Pick<ClusterView, 'tasks'>,
  reports: Iterable<ReportedStatus>,
): AcceptedReports {
  const accepted: AcceptedReports = { changes: [], unknown: [] };
  for (const { nodeId, taskId, status } of reports) {
    const task = view.tasks.get(taskId);
    if (!task || task.nodeId !== nodeId) {
      accepted.unknown.push({ nodeId, taskId });
      continue;
    }
    if (!mayFollow(status.state, task.status.state)) continue;
    accepted.changes.push({ op: 'patch', table: 'tasks', id: taskId, fields: { status } });
  }
  return accepted;
}

export class StatusWriter {
  readonly #store: ClusterStore;
  readonly #log: Log;
  readonly #onUnknown: (nodeId: NodeId, taskId: TaskId) => void;
  readonly #pending = new Map<TaskId, ReportedStatus>();
  #writing = false;
  #stopped = false;

  constructor(options: {
    store: ClusterStore;
    log: Log;
    onUnknown: (nodeId: NodeId, taskId: TaskId) => void;
  }) {
    this.#store = options.store;
    this.#log = options.log;
    this.#onUnknown = options.onUnknown;
  }

  start(): void {
    this.#stopped = false;
  }

  stop(): void {
    this.#stopped = true;
    this.#pending.clear();
  }

  add(report: ReportedStatus): void {
    const waiting = this.#pending.get(report.taskId);
    if (
      waiting?.nodeId === report.nodeId &&
      compareTaskStates(waiting.status.state, report.status.state) > 0
    ) {
      return;
    }
    this.#pending.set(report.taskId, report);
    if (!this.#writing) void this.#write();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    let delayMs = 50;
    try {
      // Reports of one network packet arrive in one turn of the event loop: let them all in.
      await new Promise<void>((resolve) => setImmediate(resolve));
      while (this.#pending.size > 0 && !this.#stopped) {
        const batch = [...this.#pending.values()].slice(0, changesPerProposalMax);
        for (const report of batch) this.#pending.delete(report.taskId);
        const { changes, unknown } = acceptReports(this.#store.view(), batch);
        for (const { nodeId, taskId } of unknown) this.#onUnknown(nodeId, taskId);
        if (changes.length === 0) continue;
        try {
          await this.#store.propose(changes);
          delayMs = 50;
        } catch (error) {
          // A task deleted meanwhile refuses the whole batch: the next round sees the newer picture and leaves it out.
          const deleted = isEnxameError(error) && error.code === 'not-found';
          if (!deleted) this.#log('warn', 'writing task statuses failed; trying again', { error });
          for (const report of batch) {
            if (!this.#pending.has(report.taskId)) this.#pending.set(report.taskId, report);
          }
          const waitMs = deleted ? 0 : delayMs;
          await new Promise<void>((resolve) => setTimeout(resolve, waitMs));
          delayMs = Math.min(delayMs * 2, retryDelayMsMax);
        }
      }
    } finally {
      this.#writing = false;
    }
  }
}
