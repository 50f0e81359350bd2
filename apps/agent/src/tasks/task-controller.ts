/**
 * One task's life on its node: accepted -> preparing -> ready -> starting -> running -> an end. It is driven by
 * levels, not by messages: each step looks at what is wanted, what was reported and what the container is, and does
 * the one next thing. Whatever happened meanwhile - a kill of the agent, a lost message, two changes at once - the
 * next step sees the same facts.
 */
import {
  describeError,
  isTerminal,
  mayFollow,
  taskStateOrder,
  type ContainerId,
  type RevisionItem,
  type TaskId,
  type TaskItem,
  type TaskState,
  type TaskStatus,
  type TaskStatusReport,
} from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { stopGraceMsOf } from './container-config.js';
import type { TaskPorts } from './ports.js';
import { filesOf, prepareContainer } from './preparation.js';

/** What one step leaves: go on with the next, wait for a kick, or try again after a pause. */
type StepOutcome = 'again' | 'wait' | 'retry';

/** On the way to the next one, which is told in its place when it comes soon. */
const steps: ReadonlySet<TaskState> = new Set(['accepted', 'preparing', 'starting']);
const drainPollMs = 50;
/**
 * A connection that a balancer sent here just before it let go may still be on its way, so the quiet must last. With
 * none at all it is the whole time that a stop waits for.
 */
const drainQuietMs = 200;
/** A connection that carried data this lately is in use. */
const connectionIdleMs = 1000;
const retryDelayMs = 1000;

/** A task has one container at most: its id follows from the task's, so there can be no second one. */
export function containerIdOf(taskId: TaskId): ContainerId {
  return createHash('sha256').update(`task ${taskId}`).digest('hex') as ContainerId;
}

export class TaskController {
  readonly #ports: TaskPorts;
  readonly #containerId: ContainerId;
  readonly #abort = new AbortController();
  #task: TaskItem;
  #revision: RevisionItem | undefined;
  #status: TaskStatus;
  #removed = false;
  #closed = false;
  #busy = false;
  #kicked = false;
  #retry: NodeJS.Timeout | undefined;
  /** Until the kernel has the network program that came with this task, or a newer one; then absent. */
  #networkReady: Promise<void> | undefined;

  constructor(
    ports: TaskPorts,
    options: { task: TaskItem; revision: RevisionItem | undefined; known?: TaskStatus },
  ) {
    this.#ports = ports;
    this.#task = options.task;
    this.#revision = options.revision;
    this.#containerId = containerIdOf(options.task.id);
    this.#status = options.known ?? this.#adopted();
    this.#networkReady = ports.networkSettled().then(() => {
      this.#networkReady = undefined;
    });
  }

  get containerId(): ContainerId {
    return this.#containerId;
  }

  get status(): TaskStatus {
    return this.#status;
  }

  /** The newest status, once there is one that the agent may report. */
  report(): TaskStatusReport | undefined {
    if (this.#status.state === 'assigned') return undefined;
    return { taskId: this.#task.id, status: this.#status };
  }

  update(task: TaskItem, revision: RevisionItem | undefined): void {
    this.#task = task;
    this.#revision = revision ?? this.#revision;
    this.kick();
  }

  /** The task has left the node's assignment: its container is stopped and removed. */
  remove(): void {
    this.#removed = true;
    this.kick();
  }

  /** Lets go; the container stays as it is. */
  close(): void {
    this.#closed = true;
    this.#abort.abort();
    clearTimeout(this.#retry);
  }

  /** Something may have changed: look again. */
  kick(): void {
    if (this.#mustStop()) this.#abort.abort();
    if (this.#busy) {
      this.#kicked = true;
      return;
    }
    void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    try {
      let outcome: StepOutcome;
      do {
        this.#kicked = false;
        outcome = await this.#step();
        if (outcome === 'retry') this.#kickLater();
      } while (!this.#closed && (outcome === 'again' || (this.#kicked && outcome === 'wait')));
    } catch (error) {
      if (this.#closed) return;
      this.#ports.log('error', 'task step failed; trying again', { task: this.#task.id, error });
      this.#kickLater();
    } finally {
      this.#busy = false;
    }
  }

  #kickLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.kick(), retryDelayMs);
  }

  async #step(): Promise<StepOutcome> {
    if (this.#closed) return 'wait';
    if (this.#mustStop()) return this.#stop();
    const { state } = this.#status;
    switch (state) {
      case 'new':
      case 'pending':
      case 'assigned':
        return this.#report('accepted', 'accepted');
      case 'accepted':
        return this.#report('preparing', 'preparing');
      case 'preparing':
        return this.#prepare();
      case 'ready':
        return this.#task.desiredState === 'ready' ? 'wait' : this.#report('starting', 'starting');
      case 'starting':
        return this.#start();
      case 'running':
        return this.#observe();
      case 'complete':
      case 'shutdown':
      case 'failed':
      case 'rejected':
      case 'remove':
      case 'orphaned':
        return 'wait';
    }
  }

  #mustStop(): boolean {
    const { desiredState } = this.#task;
    return this.#removed || desiredState === 'shutdown' || desiredState === 'remove';
  }

  async #prepare(): Promise<StepOutcome> {
    if (!this.#revision) return 'wait';
    try {
      await prepareContainer(this.#ports, {
        task: this.#task,
        revision: this.#revision,
        containerId: this.#containerId,
        signal: this.#abort.signal,
      });
    } catch (error) {
      if (this.#closed) return 'wait';
      if (this.#abort.signal.aborted) return 'again';
      this.#ports.log('warn', 'task rejected', { task: this.#task.id, error });
      return this.#report('rejected', 'preparing', { error: describeError(error) });
    }
    return this.#report('ready', 'prepared', { isStep: this.#task.desiredState !== 'ready' });
  }

  async #start(): Promise<StepOutcome> {
    const container = this.#ports.runtime.get(this.#containerId);
    if (!container) return this.#report('failed', 'starting', { error: 'the container is gone' });
    if (container.phase === 'created') {
      // Its first connection is to find the routes and names it needs; a stop does not wait for them.
      const until = this.#networkReady && Promise.race([this.#networkReady, aborted(this.#abort.signal)]);
      try {
        const revision = this.#revision;
        const files = revision && filesOf(this.#ports, { task: this.#task, revision });
        await this.#ports.runtime.run(this.#containerId, {
          ...(until ? { until } : {}),
          ...(files?.length ? { files } : {}),
        });
        return 'again';
      } catch (error) {
        return this.#report('failed', 'starting', { error: describeError(error) });
      }
    }
    if (container.phase === 'exited') return this.#ended(container);
    switch (container.health.status) {
      case 'none':
      case 'healthy':
        return this.#report('running', 'started');
      case 'starting':
        return 'wait';
      case 'unhealthy':
        return this.#endUnhealthy();
    }
  }

  async #observe(): Promise<StepOutcome> {
    const container = this.#ports.runtime.get(this.#containerId);
    if (!container) {
      this.#withdraw();
      return this.#report('failed', 'started', { error: 'the container is gone' });
    }
    if (container.phase === 'exited') return this.#ended(container);
    if (container.health.status === 'unhealthy') return this.#endUnhealthy();
    return 'wait';
  }

  #ended(container: ContainerState): StepOutcome {
    // This node's balancer lets go of it now; the others hear it from the leader.
    this.#withdraw();
    const { exit } = container;
    if (exit?.exitCode === 0 && !exit.error) return this.#report('complete', 'finished');
    const code = `task: non-zero exit (${exit?.exitCode ?? -1})`;
    const why = exit?.error ?? (exit?.oomKilled ? 'killed by the kernel: out of memory' : undefined);
    return this.#report('failed', 'started', { error: why ? `${code}: ${why}` : code });
  }

  async #endUnhealthy(): Promise<StepOutcome> {
    this.#withdraw();
    const exit = await this.#ports.runtime.stop(this.#containerId);
    return this.#report('failed', 'started', {
      error: `task: non-zero exit (${exit.exitCode}): unhealthy container`,
    });
  }

  #withdraw(): void {
    this.#ports.network.withdraw(this.#task.id).catch((error: unknown) => {
      this.#ports.log('warn', 'withdrawing an ended task from the balancer failed', {
        task: this.#task.id,
        error,
      });
    });
  }

  async #stop(): Promise<StepOutcome> {
    const container = this.#ports.runtime.get(this.#containerId);
    if (container?.phase === 'running') {
      if (!this.#removed) await this.#drain();
      if (this.#closed) return 'wait';
      try {
        await this.#ports.runtime.stop(this.#containerId);
      } catch (error) {
        this.#ports.log('warn', 'stopping a container failed; trying again', { task: this.#task.id, error });
        return 'retry';
      }
    }
    if (!isTerminal(this.#status.state)) this.#report('shutdown', 'shutdown');
    return this.#removed ? this.#clean() : 'wait';
  }

  /**
   * The leader asks for a stop only after every balancer has let go of the task: no new connection comes. The ones
   * that are open and in use get until the stop grace period to end by themselves.
   */
  async #drain(): Promise<void> {
    if (!this.#revision || !this.#ports.isBalanced(this.#task.serviceId)) return;
    const untilMs = this.#ports.nowMs() + stopGraceMsOf(this.#revision);
    let quietSinceMs: number | undefined;
    while (!this.#closed && !this.#removed && this.#ports.nowMs() < untilMs) {
      if (this.#ports.runtime.get(this.#containerId)?.phase !== 'running') return;
      const askedAtMs = this.#ports.nowMs();
      if ((await this.#openConnections()) > 0) quietSinceMs = undefined;
      else quietSinceMs ??= this.#ports.nowMs();
      if (quietSinceMs !== undefined && this.#ports.nowMs() - quietSinceMs >= drainQuietMs) return;
      // In a large table the count takes long; half of the time at most goes to it.
      await sleep(Math.max(drainPollMs, this.#ports.nowMs() - askedAtMs));
    }
  }

  async #openConnections(): Promise<number> {
    try {
      const counts = await Promise.all(
        this.#task.networks.map(({ address }) =>
          this.#ports.network.activeConnections(address, connectionIdleMs),
        ),
      );
      return counts.reduce((sum, count) => sum + count, 0);
    } catch (error) {
      this.#ports.log('warn', 'connections cannot be counted; not waiting for them', {
        task: this.#task.id,
        error,
      });
      return 0;
    }
  }

  async #clean(): Promise<StepOutcome> {
    const { runtime, volumes, records, log } = this.#ports;
    try {
      const container = runtime.get(this.#containerId);
      if (container) await runtime.remove(this.#containerId);
      for (const mount of container?.config.mounts ?? []) {
        // Anonymous volumes carry the container's id in their name and go with it.
        if (mount.type === 'volume' && mount.name.startsWith(this.#containerId)) {
          await volumes.remove(mount.name);
        }
      }
    } catch (error) {
      log('warn', 'removing a container failed; trying again', { task: this.#task.id, error });
      return 'retry';
    }
    records.remove(this.#task.id);
    this.#closed = true;
    this.#ports.gone(this.#task.id);
    return 'wait';
  }

  /** Notes and tells a new state. States only move forward; one that does not is left out. */
  #report(state: TaskState, message: string, more: { error?: string; isStep?: boolean } = {}): StepOutcome {
    if (!mayFollow(state, this.#status.state)) return 'wait';
    const container = this.#ports.runtime.get(this.#containerId);
    this.#status = {
      state,
      atMs: this.#ports.nowMs(),
      message,
      ...(more.error ? { error: more.error } : {}),
      ...(container && taskStateOrder[state] >= taskStateOrder.ready
        ? { container: containerStatusOf(container) }
        : {}),
    };
    this.#ports.records.save({ taskId: this.#task.id, status: this.#status });
    const report = { taskId: this.#task.id, status: this.#status };
    this.#ports.report(report, more.isStep ?? steps.has(state));
    return 'again';
  }

  /** The state of a task that has no record: judged by its container. */
  #adopted(): TaskStatus {
    const container = this.#ports.runtime.get(this.#containerId);
    const state = !container ? 'assigned' : container.phase === 'created' ? 'ready' : 'starting';
    return { state, atMs: this.#ports.nowMs(), message: state };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function containerStatusOf(container: ContainerState): NonNullable<TaskStatus['container']> {
  return {
    id: container.config.id,
    pid: container.pid,
    ...(container.exit ? { exitCode: container.exit.exitCode } : {}),
    ...(container.exit?.oomKilled ? { oomKilled: true } : {}),
  };
}
