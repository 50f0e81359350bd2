/**
 * The tasks of this node: one controller for each, kept equal to the assignment. What runs here without being
 * assigned here is stopped, but only when a complete assignment says so; a node cut off keeps what it has.
 */
import type { RevisionItem, ServiceId, TaskId, TaskItem, TaskStatus, TaskStatusReport } from '#libs/model';
import type { ContainerRuntime, ContainerState } from '#libs/runtime';
import type { TaskPorts } from './ports.js';
import { containerIdOf, TaskController } from './task-controller.js';
import type { TaskRecords } from './task-records.js';

export interface TaskWorkerOptions extends Omit<TaskPorts, 'records' | 'gone' | 'runtime'> {
  runtime: ContainerRuntime;
  records: TaskRecords;
}

const taskLabel = 'com.docker.swarm.task.id';

export class TaskWorker {
  readonly #options: TaskWorkerOptions;
  readonly #ports: TaskPorts;
  readonly #controllers = new Map<TaskId, TaskController>();
  readonly #byContainer = new Map<string, TaskController>();
  /** From an earlier run of the agent, until the task is assigned again. */
  readonly #known = new Map<TaskId, TaskStatus>();
  #unwatch: (() => void) | undefined;
  #orphansLookedFor = false;

  constructor(options: TaskWorkerOptions) {
    this.#options = options;
    this.#ports = { ...options, gone: (taskId) => this.#gone(taskId) };
  }

  /** The runtime has started and knows its containers. */
  start(): void {
    for (const { taskId, status } of this.#options.records.load()) this.#known.set(taskId, status);
    this.#unwatch = this.#options.runtime.watch((event) => this.#byContainer.get(event.id)?.kick());
  }

  /** Lets go of all tasks; their containers keep running. */
  close(): void {
    this.#unwatch?.();
    for (const controller of this.#controllers.values()) controller.close();
  }

  /** Brings the controllers to the node's assignment as it is now. */
  assign(assignment: {
    tasks: ReadonlyMap<string, TaskItem>;
    revisions: ReadonlyMap<string, RevisionItem>;
  }): void {
    for (const task of assignment.tasks.values()) {
      const revision = assignment.revisions.get(task.revisionId);
      const controller = this.#controllers.get(task.id);
      if (controller) controller.update(task, revision);
      else this.#add(task, revision);
    }
    for (const [taskId, controller] of this.#controllers) {
      if (!assignment.tasks.has(taskId)) controller.remove();
    }
    if (!this.#orphansLookedFor) {
      this.#orphansLookedFor = true;
      this.#removeOrphans(assignment.tasks);
    }
  }

  /** The cluster does not know a task that was reported from here. */
  forget(taskId: TaskId): void {
    this.#controllers.get(taskId)?.remove();
  }

  /** The newest status of every task. */
  reports(): TaskStatusReport[] {
    const reports: TaskStatusReport[] = [];
    for (const controller of this.#controllers.values()) {
      const report = controller.report();
      if (report) reports.push(report);
    }
    // Before the first assignment of this run, what the last run knew is still true.
    for (const [taskId, status] of this.#known) reports.push({ taskId, status });
    return reports;
  }

  #add(task: TaskItem, revision: RevisionItem | undefined): void {
    const known = this.#known.get(task.id);
    this.#known.delete(task.id);
    const controller = new TaskController(this.#ports, { task, revision, ...(known ? { known } : {}) });
    this.#controllers.set(task.id, controller);
    this.#byContainer.set(controller.containerId, controller);
    controller.kick();
  }

  /** Containers and records of tasks that were taken from this node while its agent was away. */
  #removeOrphans(tasks: ReadonlyMap<string, TaskItem>): void {
    for (const taskId of this.#known.keys()) this.#options.records.remove(taskId);
    this.#known.clear();
    for (const container of this.#options.runtime.list()) {
      const taskId = container.config.labels[taskLabel] as TaskId | undefined;
      if (taskId === undefined || tasks.has(taskId) || container.config.id !== containerIdOf(taskId))
        continue;
      this.#options.log('info', 'removing the container of a task that is not assigned here', {
        task: taskId,
        container: container.config.id,
      });
      this.#add(orphanTask(container, taskId), undefined);
      this.#controllers.get(taskId)?.remove();
    }
  }

  #gone(taskId: TaskId): void {
    const controller = this.#controllers.get(taskId);
    if (!controller) return;
    this.#controllers.delete(taskId);
    this.#byContainer.delete(controller.containerId);
  }
}

function orphanTask(container: ContainerState, taskId: TaskId): TaskItem {
  return {
    kind: 'task',
    id: taskId,
    serviceId: (container.config.labels['com.docker.swarm.service.id'] ?? '') as ServiceId,
    revisionId: '' as TaskItem['revisionId'],
    slot: 0,
    networks: [],
    desiredState: 'remove',
  };
}
