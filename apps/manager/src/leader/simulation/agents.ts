/** Nodes that run tasks in virtual time, with the rules of real agents: forward only, and only what they are told. */
import {
  isTerminal,
  type ClusterView,
  type NodeId,
  type Task,
  type TaskId,
  type TaskState,
} from '#libs/model';

/** What a container of an image does, by the image's tag: `demo:bad` and so on. */
export type Behaviour = 'fine' | 'bad' | 'crash' | 'flaky' | 'done' | 'slow';

export interface AgentTimes {
  prepareMs(): number;
  startMs(): number;
  stopMs(): number;
  /** How long a flaky container lives. */
  lifeMs(): number;
}

interface Step {
  /** What the step was planned for; a task that moved on meanwhile makes a new one. */
  from: string;
  atMs: number;
  to: TaskState;
  exitCode?: number;
}

export interface Report {
  taskId: TaskId;
  state: TaskState;
  error?: string;
}

export class Agents {
  readonly #times: AgentTimes;
  readonly #steps = new Map<TaskId, Step>();
  readonly #dead = new Set<NodeId>();
  /** Containers that a node lost when it died. */
  readonly #lost = new Set<TaskId>();

  constructor(times: AgentTimes) {
    this.#times = times;
  }

  isDead(id: NodeId): boolean {
    return this.#dead.has(id);
  }

  die(view: ClusterView, id: NodeId): void {
    this.#dead.add(id);
    for (const task of view.tasksOfNode(id)) {
      this.#steps.delete(task.id);
      if (!isTerminal(task.status.state)) this.#lost.add(task.id);
    }
  }

  revive(id: NodeId): void {
    this.#dead.delete(id);
  }

  /** Plans the next step of every task whose situation changed. */
  observe(view: ClusterView, nowMs: number): void {
    for (const id of this.#steps.keys()) {
      const task = view.tasks.get(id);
      if (task === undefined || isTerminal(task.status.state)) this.#steps.delete(id);
    }
    for (const task of view.tasks.all()) {
      const { state } = task.status;
      if (task.nodeId === undefined || state === 'new' || state === 'pending' || isTerminal(state)) continue;
      if (this.#dead.has(task.nodeId)) continue;
      const from = `${state} ${task.desiredState}`;
      if (this.#steps.get(task.id)?.from === from) continue;
      const step = this.#nextStep(view, task);
      if (step === undefined) this.#steps.delete(task.id);
      else this.#steps.set(task.id, { from, atMs: nowMs + step.afterMs, to: step.to });
    }
  }

  nextAtMs(): number | undefined {
    let next: number | undefined;
    for (const { atMs } of this.#steps.values()) next = next === undefined ? atMs : Math.min(next, atMs);
    return next;
  }

  /** The steps whose time has come. */
  due(nowMs: number): Report[] {
    const reports: Report[] = [];
    for (const [taskId, step] of this.#steps) {
      if (step.atMs > nowMs) continue;
      reports.push({ taskId, state: step.to, ...(step.to === 'rejected' ? { error: 'No such image' } : {}) });
      this.#steps.delete(taskId);
    }
    return reports;
  }

  #nextStep(view: ClusterView, task: Readonly<Task>): { afterMs: number; to: TaskState } | undefined {
    const { state } = task.status;
    const behaviour = behaviourOf(view, task);
    const stops = task.desiredState === 'shutdown' || task.desiredState === 'remove';
    const lost = this.#lost.has(task.id);
    if (stops) {
      const hasContainer = (state === 'running' || state === 'starting') && !lost;
      return { afterMs: hasContainer ? this.#times.stopMs() : 0, to: 'shutdown' };
    }
    if (lost) return { afterMs: 0, to: 'failed' };
    switch (state) {
      case 'assigned':
        return { afterMs: 0, to: 'accepted' };
      case 'accepted':
        return { afterMs: 0, to: 'preparing' };
      case 'preparing': {
        const afterMs = this.#times.prepareMs() * (behaviour === 'slow' ? 50 : 1);
        return { afterMs, to: behaviour === 'bad' ? 'rejected' : 'ready' };
      }
      case 'ready':
        return task.desiredState === 'running' ? { afterMs: 0, to: 'starting' } : undefined;
      case 'starting':
        return { afterMs: this.#times.startMs(), to: behaviour === 'crash' ? 'failed' : 'running' };
      case 'running':
        if (behaviour === 'flaky') return { afterMs: this.#times.lifeMs(), to: 'failed' };
        return behaviour === 'done' ? { afterMs: this.#times.lifeMs(), to: 'complete' } : undefined;
      default:
        return undefined;
    }
  }
}

function behaviourOf(view: ClusterView, task: Readonly<Task>): Behaviour {
  const image = view.revisions.get(task.revisionId)?.taskTemplate.ContainerSpec?.Image ?? '';
  const tag = image.split(':')[1] ?? '';
  const known: readonly Behaviour[] = ['bad', 'crash', 'flaky', 'done', 'slow'];
  return known.find((behaviour) => tag.startsWith(behaviour)) ?? 'fine';
}
