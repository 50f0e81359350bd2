/** What must hold in every state of the tables, whatever happens. Each throws with the sentence that was broken. */
import { isTerminal, taskStateOrder, type Change, type ClusterView, type Task } from '#libs/model';

export type Checker = (before: ClusterView, after: ClusterView, changes: readonly Change[]) => void;

function broken(sentence: string, what: unknown): never {
  throw new Error(`${sentence}: ${JSON.stringify(what)}`);
}

/** A task never moves to another node, and neither its status nor its desired state goes backwards. */
export const tasksGoForward: Checker = (before, _after, changes) => {
  for (const change of changes) {
    if (change.table !== 'tasks' || change.op !== 'patch') continue;
    const task = before.tasks.get(change.id);
    if (task === undefined) continue;
    const { nodeId, desiredState, status } = change.fields;
    if (nodeId !== undefined && task.nodeId !== undefined && nodeId !== task.nodeId) {
      broken('a task never moves to another node', { task, change });
    }
    if (desiredState !== undefined && taskStateOrder[desiredState] <= taskStateOrder[task.desiredState]) {
      broken('desired states only go forward', { task, change });
    }
    if (status !== undefined && taskStateOrder[status.state] < taskStateOrder[task.status.state]) {
      broken('statuses only go forward', { task, change });
    }
  }
};

/** A task that a node may be running is not deleted while the node is there to stop it. */
export const nothingRunningIsForgotten: Checker = (before, after, changes) => {
  for (const change of changes) {
    if (change.table !== 'tasks' || change.op !== 'delete') continue;
    const task = before.tasks.get(change.id);
    if (task?.nodeId === undefined || isTerminal(task.status.state)) continue;
    if (task.status.state === 'new' || task.status.state === 'pending') continue;
    const node = after.nodes.get(task.nodeId);
    if (node !== undefined && node.status.state !== 'down') broken('a running task was forgotten', task);
  }
};

/** Placed tasks hold what they reserved, and no more than the node has. */
export const nodesAreNotOverbooked: Checker = (_before, after) => {
  for (const node of after.nodes.all()) {
    let reserved = 0;
    for (const task of after.tasksOfNode(node.id)) {
      if (!holdsPlace(task)) continue;
      const template = after.revisions.get(task.revisionId)?.taskTemplate;
      reserved += template?.Resources?.Reservations?.MemoryBytes ?? 0;
    }
    const { memoryBytes } = node.description.resources;
    if (reserved > memoryBytes) broken('a node is overbooked', { node: node.id, reserved, memoryBytes });
  }
};

export const addressesAreUnique: Checker = (_before, after) => {
  const holders = new Map<string, string>();
  for (const task of after.tasks.all()) {
    if (!holdsPlace(task)) continue;
    for (const { networkId, address } of task.networks) {
      const key = `${networkId} ${address}`;
      const other = holders.get(key);
      if (other !== undefined) broken('two tasks have one address', { address, tasks: [other, task.id] });
      holders.set(key, task.id);
    }
  }
};

/** Every task can be run: its template is there. */
export const templatesAreThere: Checker = (_before, after) => {
  for (const task of after.tasks.all()) {
    if (after.revisions.get(task.revisionId) === undefined) broken('a task has lost its template', task);
  }
};

/** No slot piles up tasks. */
export const slotsStaySmall: Checker = (_before, after) => {
  for (const service of after.services.all()) {
    const wanted = new Map<string, Readonly<Task>[]>();
    for (const task of after.tasksOfService(service.id)) {
      if (task.desiredState !== 'ready' && task.desiredState !== 'running') continue;
      const key = service.spec.Mode?.Global === undefined ? String(task.slot) : String(task.nodeId);
      wanted.set(key, [...(wanted.get(key) ?? []), task]);
    }
    for (const tasks of wanted.values()) if (tasks.length > 3) broken('a slot piles up tasks', tasks);
  }
};

export const allCheckers: readonly Checker[] = [
  tasksGoForward,
  nothingRunningIsForgotten,
  nodesAreNotOverbooked,
  addressesAreUnique,
  templatesAreThere,
  slotsStaySmall,
];

function holdsPlace(task: Readonly<Task>): boolean {
  const { state } = task.status;
  return task.nodeId !== undefined && state !== 'new' && state !== 'pending' && !isTerminal(state);
}

/** Tasks that take connections now: running and meant to. */
export function serving(view: ClusterView, serviceId: Task['serviceId']): number {
  return view
    .tasksOfService(serviceId)
    .filter((task) => task.status.state === 'running' && task.desiredState === 'running').length;
}
