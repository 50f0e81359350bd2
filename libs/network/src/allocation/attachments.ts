/** Which networks a service or task is on. */
import {
  hostNetwork,
  type ClusterView,
  type Network,
  type NetworkAttachmentConfig,
  type Service,
  type Task,
} from '#libs/model';

/** Networks in the order of the spec, each once, without the node's own; or the words for the first that is not there. */
export type Attachments = { networks: Readonly<Network>[] } | { missing: string };

/** The network of services that name none: the one made with the cluster. */
export function ingressNetwork(view: ClusterView): Readonly<Network> | undefined {
  for (const network of view.networks.all()) if (network.spec.Ingress) return network;
  return undefined;
}

function resolve(view: ClusterView, configs: readonly NetworkAttachmentConfig[]): Attachments {
  if (configs.length === 0) {
    const ingress = ingressNetwork(view);
    return ingress ? { networks: [ingress] } : { missing: 'the cluster has no ingress network' };
  }
  const networks = new Map<string, Readonly<Network>>();
  for (const { Target: target = '' } of configs) {
    if (target === hostNetwork) continue;
    const network = view.networks.get(target) ?? view.networkByName(target);
    if (!network) return { missing: `network ${target} not found` };
    networks.set(network.id, network);
  }
  return { networks: [...networks.values()] };
}

/** As the API reads it: the task template's networks, else the service's older field of the same meaning. */
export function networksOfService(view: ClusterView, service: Readonly<Service>): Attachments {
  const { TaskTemplate: template, Networks: networks } = service.spec;
  return resolve(view, template.Networks?.length ? template.Networks : (networks ?? []));
}

/** A task keeps the networks of its own revision while its service moves on. */
export function networksOfTask(view: ClusterView, task: Readonly<Task>): Attachments {
  const service = view.services.get(task.serviceId);
  const template = view.revisions.get(task.revisionId)?.taskTemplate ?? service?.spec.TaskTemplate;
  const own = template?.Networks;
  return resolve(view, own?.length ? own : (service?.spec.Networks ?? []));
}
