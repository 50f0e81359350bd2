/**
 * Removal before the stop signal: a running task that is to stop first leaves the balancers of all nodes; only when
 * each node has acknowledged a generation without it is the task's own node told to stop it.
 *
 * Waited for are all nodes that may still send it connections: every node that is not down. A node whose session
 * broke still balances with what its kernel has, so it is waited for until it comes back and acknowledges, or is
 * declared down; and no node, whatever is wrong with it, holds up a stop for longer than `waitMsMax`.
 */
import type { NodeId, NodeState, Task, TaskId } from '#libs/model';

export interface GateNode {
  id: NodeId;
  state: NodeState;
  /** Newest generation acknowledged in the present session; 0 without a session. */
  acknowledged: number;
}

export type GateVerdict = { open: true } | { open: false; waitingFor: NodeId[]; untilMs: number };

/** True when a task could be in a balancer and is to leave it. */
export function mustLeaveFirst(task: Readonly<Task>): boolean {
  return task.status.state === 'running' && task.desiredState !== 'running' && task.desiredState !== 'ready';
}

export class RemovalGate {
  readonly #waitMsMax: () => number;
  /** By task: the first generation without it, and when that was sent. */
  readonly #excluded = new Map<TaskId, { generation: number; atMs: number }>();
  readonly #opened = new Set<TaskId>();

  constructor(options: { waitMsMax: () => number }) {
    this.#waitMsMax = options.waitMsMax;
  }

  /** Tasks that are out of the sent sets but not yet allowed to stop. */
  waiting(): TaskId[] {
    return [...this.#excluded.keys()];
  }

  /** Notes the generation that first left a task out. Later calls for the same task change nothing. */
  exclude(taskId: TaskId, options: { generation: number; nowMs: number }): void {
    if (this.#opened.has(taskId) || this.#excluded.has(taskId)) return;
    this.#excluded.set(taskId, { generation: options.generation, atMs: options.nowMs });
  }

  knows(taskId: TaskId): boolean {
    return this.#opened.has(taskId) || this.#excluded.has(taskId);
  }

  isOpen(taskId: TaskId): boolean {
    return this.#opened.has(taskId);
  }

  /** Asks again for one task. An opened gate stays open. */
  check(taskId: TaskId, nodes: Iterable<GateNode>, nowMs: number): GateVerdict {
    if (this.#opened.has(taskId)) return { open: true };
    const excluded = this.#excluded.get(taskId);
    if (!excluded) return { open: false, waitingFor: [], untilMs: Number.POSITIVE_INFINITY };
    const waitingFor: NodeId[] = [];
    for (const node of nodes) {
      if (node.state !== 'down' && node.acknowledged < excluded.generation) waitingFor.push(node.id);
    }
    const untilMs = excluded.atMs + this.#waitMsMax();
    if (waitingFor.length > 0 && nowMs < untilMs) return { open: false, waitingFor, untilMs };
    this.#excluded.delete(taskId);
    this.#opened.add(taskId);
    return { open: true };
  }

  /** The task has ended or is gone. */
  forget(taskId: TaskId): void {
    this.#excluded.delete(taskId);
    this.#opened.delete(taskId);
  }
}
