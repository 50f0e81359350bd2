/** A service as Docker's API shows it. */
import { rfc3339Nano } from '#libs/docker-api';
import {
  restartDefaults,
  stopGracePeriodDefault,
  taskStateOrder,
  updateDefaults,
  type ClusterView,
  type Service,
  type ServiceSpec,
  type Task,
} from '#libs/model';
import { presentMeta } from '../edge/present.js';

export function presentService(
  view: ClusterView,
  service: Readonly<Service>,
  options: { insertDefaults: boolean; withStatus: boolean },
): Record<string, unknown> {
  const { insertDefaults } = options;
  return {
    ...presentMeta(service),
    Spec: presentSpec(service.spec, insertDefaults),
    ...(service.previousSpec === undefined
      ? {}
      : { PreviousSpec: presentSpec(service.previousSpec, insertDefaults) }),
    Endpoint: presentEndpoint(view, service),
    ...(service.updateStatus === undefined
      ? {}
      : { UpdateStatus: presentUpdateStatus(service.updateStatus) }),
    ...(options.withStatus ? { ServiceStatus: serviceStatus(view, service) } : {}),
  };
}

function presentSpec(spec: ServiceSpec, insertDefaults: boolean): Record<string, unknown> {
  const shown = { ...spec, Labels: spec.Labels ?? {} };
  if (!insertDefaults) return shown;
  const { TaskTemplate: task } = spec;
  return {
    ...shown,
    TaskTemplate: {
      ...task,
      ContainerSpec:
        task.ContainerSpec === undefined
          ? undefined
          : {
              StopGracePeriod: stopGracePeriodDefault,
              DNSConfig: {},
              Isolation: 'default',
              ...task.ContainerSpec,
            },
      Resources: { Limits: {}, Reservations: {}, ...task.Resources },
      RestartPolicy: { ...restartDefaults, ...task.RestartPolicy },
      Placement: task.Placement ?? {},
      ForceUpdate: task.ForceUpdate ?? 0,
      Runtime: task.Runtime ?? 'container',
    },
    UpdateConfig: { ...updateDefaults, ...spec.UpdateConfig },
    RollbackConfig: { ...updateDefaults, ...spec.RollbackConfig },
    EndpointSpec: { Mode: 'vip', ...spec.EndpointSpec },
  };
}

function presentEndpoint(view: ClusterView, service: Readonly<Service>): Record<string, unknown> {
  const { endpoint, spec } = service;
  // Docker shows no endpoint spec where the user gave none.
  const Spec = spec.EndpointSpec ?? {};
  if (endpoint === undefined) return { Spec };
  return {
    Spec: { Mode: endpoint.mode, ...spec.EndpointSpec },
    ...(endpoint.ports.length === 0 ? {} : { Ports: endpoint.ports }),
    ...(endpoint.virtualIps.length === 0
      ? {}
      : {
          VirtualIPs: endpoint.virtualIps.map(({ networkId, address }) => ({
            NetworkID: networkId,
            Addr: `${address}/${prefixLength(view, networkId)}`,
          })),
        }),
  };
}

/** The length of the network's prefix, as addresses are shown with it. */
export function prefixLength(view: ClusterView, networkId: string): string {
  return view.networks.get(networkId)?.subnet?.split('/')[1] ?? '32';
}

function presentUpdateStatus(status: NonNullable<Service['updateStatus']>): Record<string, unknown> {
  return {
    State: status.state,
    StartedAt: rfc3339Nano(status.startedAtMs),
    ...(status.completedAtMs === undefined ? {} : { CompletedAt: rfc3339Nano(status.completedAtMs) }),
    Message: status.message,
  };
}

interface ServiceStatus {
  RunningTasks: number;
  DesiredTasks: number;
  CompletedTasks: number;
}

/** Docker counts running tasks on nodes that are up, and wants as many as the spec says, or as a global one has. */
export function serviceStatus(view: ClusterView, service: Readonly<Service>): ServiceStatus {
  const tasks = view.tasksOfService(service.id);
  const wanted = tasks.filter((task) => taskIsWanted(task));
  const running = tasks.filter(
    (task) =>
      task.status.state === 'running' &&
      task.desiredState === 'running' &&
      task.nodeId !== undefined &&
      view.nodes.get(task.nodeId)?.status.state !== 'down',
  );
  return {
    RunningTasks: running.length,
    DesiredTasks: service.spec.Mode?.Replicated?.Replicas ?? wanted.length,
    CompletedTasks: tasks.filter((task) => task.status.state === 'complete').length,
  };
}

function taskIsWanted(task: Readonly<Task>): boolean {
  return (
    (task.desiredState === 'running' || task.desiredState === 'ready') &&
    taskStateOrder[task.status.state] <= taskStateOrder.running
  );
}
