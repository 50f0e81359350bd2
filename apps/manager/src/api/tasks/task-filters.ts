/** Which tasks a list is asked for. */
import { anyValue, labelsMatch, parseFilters } from '#libs/docker-api';
import {
  EnxameError,
  satisfiesConstraints,
  type ClusterView,
  type NodeId,
  type Task,
  type TaskId,
} from '#libs/model';
import { TemplateComparison } from '#libs/orchestrator';

const filterNames = ['desired-state', 'id', 'label', 'name', 'node', 'service', '_up-to-date', 'runtime'];
const desiredStates = ['running', 'shutdown', 'accepted', 'ready', 'complete', 'remove'];

/** `web.1.<task id>`, `agent.<node id>.<task id>`: also the name of the task's container. */
export function taskName(view: ClusterView, task: Readonly<Task>): string {
  const service =
    view.services.get(task.serviceId)?.spec.Name ??
    view.revisions.get(task.revisionId)?.serviceName ??
    task.serviceId;
  return `${service}.${task.slot === 0 ? (task.nodeId ?? '') : task.slot}.${task.id}`;
}

export function listTasks(
  view: ClusterView,
  text: string | undefined,
  self: NodeId | undefined,
): Readonly<Task>[] {
  const filters = parseFilters(text, filterNames);
  for (const state of filters.get('desired-state') ?? []) {
    if (!desiredStates.includes(state))
      throw new EnxameError('invalid-argument', `invalid filter 'desired-state=${state}'`);
  }
  const upToDate = filters.get('_up-to-date')?.some((value) => value === 'true' || value === '1') ?? false;
  const templates = new TemplateComparison(view);
  const matches = (task: Readonly<Task>): boolean =>
    anyValue(filters, 'id', (value) => task.id.startsWith(value)) &&
    anyValue(filters, 'name', (value) => taskName(view, task).startsWith(value)) &&
    anyValue(filters, 'desired-state', (value) => task.desiredState === value) &&
    anyValue(filters, 'node', (value) => isOnNode(view, task, value, self)) &&
    anyValue(filters, 'runtime', (value) => value === 'container') &&
    labelsMatch(filters, 'label', labelsOf(view, task)) &&
    (!upToDate || isUpToDate(view, task, templates));
  return candidates(view, filters.get('service')).filter(matches);
}

/** With a service filter its own tasks are enough: the docker CLI asks five times a second. */
function candidates(view: ClusterView, services: readonly string[] | undefined): Readonly<Task>[] {
  if (services === undefined) return [...view.tasks.all()];
  const found = new Map<TaskId, Readonly<Task>>();
  for (const reference of services) {
    const service = view.services.get(reference) ?? view.serviceByName(reference);
    // A service that was deleted may still have tasks on their way out.
    for (const task of view.tasksOfService(service?.id ?? (reference as Task['serviceId'])))
      found.set(task.id, task);
  }
  return [...found.values()];
}

function isOnNode(
  view: ClusterView,
  task: Readonly<Task>,
  reference: string,
  self: NodeId | undefined,
): boolean {
  if (task.nodeId === undefined) return false;
  if (task.nodeId === reference || (reference === 'self' && task.nodeId === self)) return true;
  return view.nodes.get(task.nodeId)?.description.hostname === reference;
}

/** Docker lets tasks be found by their service's labels, which is how stacks are told apart. */
function labelsOf(view: ClusterView, task: Readonly<Task>): Record<string, string> {
  const revision = view.revisions.get(task.revisionId);
  return {
    ...revision?.taskTemplate.ContainerSpec?.Labels,
    ...(view.services.get(task.serviceId)?.spec.Labels ?? revision?.serviceLabels),
  };
}

/** The rollout's own notion: what it would replace is not up to date, and the CLI's progress bars wait for the rest. */
function isUpToDate(view: ClusterView, task: Readonly<Task>, templates: TemplateComparison): boolean {
  const service = view.services.get(task.serviceId);
  if (service === undefined) return false;
  if (templates.same(task.revisionId, service.revisionId)) return true;
  if (!templates.sameButForConstraints(task.revisionId, service.revisionId)) return false;
  const node = task.nodeId === undefined ? undefined : view.nodes.get(task.nodeId);
  return node !== undefined && satisfiesConstraints(node, service.spec.TaskTemplate.Placement?.Constraints);
}
