/** What tasks of one service and revision ask of a node. */
import type { ClusterView, Placement, Revision, Service, Task } from '#libs/model';

export interface Demand {
  service: Readonly<Service>;
  revision: Readonly<Revision>;
  nanoCpus: number;
  memoryBytes: number;
  constraints: readonly string[];
  platforms: NonNullable<Placement['Platforms']>;
  /** `80/tcp` for every port published on the node itself. */
  hostPorts: readonly string[];
  /** 0: no limit. */
  maxReplicasPerNode: number;
  /** Labels to spread over, outermost first: `node.labels.zone`. */
  spreadOver: readonly string[];
}

/** Undefined when the service or the revision is gone: such a task waits for the orchestrator to remove it. */
export function demandOf(view: ClusterView, task: Readonly<Task>): Demand | undefined {
  const service = view.services.get(task.serviceId);
  const revision = view.revisions.get(task.revisionId);
  if (service === undefined || revision === undefined) return undefined;
  const { nanoCpus, memoryBytes } = reservationOf(revision);
  const placement = revision.taskTemplate.Placement;
  return {
    service,
    revision,
    nanoCpus,
    memoryBytes,
    constraints: placement?.Constraints ?? [],
    platforms: placement?.Platforms ?? [],
    hostPorts: hostPortsOf(service),
    maxReplicasPerNode: service.spec.Mode?.Global === undefined ? (placement?.MaxReplicas ?? 0) : 0,
    spreadOver: (placement?.Preferences ?? []).flatMap(({ Spread }) => Spread?.SpreadDescriptor ?? []),
  };
}

export function reservationOf(revision: Readonly<Revision>): { nanoCpus: number; memoryBytes: number } {
  const reserved = revision.taskTemplate.Resources?.Reservations;
  return { nanoCpus: reserved?.NanoCPUs ?? 0, memoryBytes: reserved?.MemoryBytes ?? 0 };
}

export function hostPortsOf(service: Readonly<Service>): string[] {
  return (service.spec.EndpointSpec?.Ports ?? [])
    .filter((port) => port.PublishMode === 'host' && (port.PublishedPort ?? 0) !== 0)
    .map((port) => `${port.PublishedPort}/${port.Protocol ?? 'tcp'}`);
}
