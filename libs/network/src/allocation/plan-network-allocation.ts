/** The allocator's plan: what networks, services and tasks need before a task can be placed. */
import { isTerminal } from '#libs/model';
import type {
  Change,
  ClusterView,
  Network,
  NodeId,
  Service,
  ServiceEndpoint,
  Task,
  VirtualIp,
} from '#libs/model';
import { hash32 } from '../hash.js';
import { formatIpv4, parseIpv4 } from '../ipv4.js';
import { blocksTaken, gatewayOf, probe, storedPrefix, virtualIpRanges } from './address-plan.js';
import { networksOfService, networksOfTask } from './attachments.js';
import { PortRegistry } from './ports.js';
import { planSubnets } from './subnets.js';

/** Addresses in use by network id, as numbers. */
function addressesInUse(view: ClusterView): Map<string, Set<number>> {
  const used = new Map<string, Set<number>>();
  const add = (networkId: string, text: string): void => {
    const address = parseIpv4(text);
    if (address === undefined) return;
    const set = used.get(networkId) ?? new Set();
    used.set(networkId, set.add(address));
  };
  for (const service of view.services.all()) {
    for (const vip of service.endpoint?.virtualIps ?? []) add(vip.networkId, vip.address);
  }
  for (const task of view.tasks.all()) {
    if (isTerminal(task.status.state)) continue;
    for (const network of task.networks) add(network.networkId, network.address);
  }
  return used;
}

/** Blocks of nodes that have left the cluster come back once none of their tasks can run any more. */
function blocksKept(view: ClusterView, network: Readonly<Network>): Record<NodeId, string[]> | undefined {
  const entries = Object.entries(network.blocks) as [NodeId, string[]][];
  const kept = entries.filter(
    ([nodeId]) =>
      view.nodes.get(nodeId) !== undefined ||
      view.tasksOfNode(nodeId).some((task) => !isTerminal(task.status.state)),
  );
  return kept.length === entries.length ? undefined : (Object.fromEntries(kept) as Record<NodeId, string[]>);
}

interface Pass {
  view: ClusterView;
  subnets: Map<string, string>;
  networkFailures: Map<string, string>;
  /** Made when the first virtual IP is wanted: most passes want none, and there may be many tasks. */
  used(): Map<string, Set<number>>;
  ports: PortRegistry;
}

function allocateVirtualIp(
  pass: Pass,
  service: Readonly<Service>,
  network: Readonly<Network>,
): string | undefined {
  const subnet = storedPrefix(pass.subnets.get(network.id) ?? '');
  const used = pass.used().get(network.id) ?? new Set();
  pass.used().set(network.id, used);
  const gateway = gatewayOf(subnet);
  for (const range of virtualIpRanges(subnet, blocksTaken(network.blocks))) {
    const address = probe(range, hash32(service.id), (a) => a !== gateway && !used.has(a));
    if (address === undefined) continue;
    used.add(address);
    return formatIpv4(address);
  }
  return undefined;
}

/** The endpoint the spec asks for, keeping every address and number the service has; or why it cannot be had. */
function endpointFor(pass: Pass, service: Readonly<Service>): ServiceEndpoint | string {
  const attachments = networksOfService(pass.view, service);
  if ('missing' in attachments) return attachments.missing;
  const mode = service.spec.EndpointSpec?.Mode ?? 'vip';
  const virtualIps: VirtualIp[] = [];
  for (const network of attachments.networks) {
    if (!pass.subnets.has(network.id)) {
      return pass.networkFailures.get(network.id) ?? `network ${network.spec.Name} has no subnet yet`;
    }
    if (mode === 'dnsrr') continue;
    const old = service.endpoint?.virtualIps.find((vip) => vip.networkId === network.id);
    const address = old?.address ?? allocateVirtualIp(pass, service, network);
    if (address === undefined) {
      return `network ${network.spec.Name} (${pass.subnets.get(network.id)}) has no address left for a virtual IP`;
    }
    virtualIps.push({ networkId: network.id, address });
  }
  const ports = pass.ports.resolve(service);
  return typeof ports === 'string' ? ports : { mode, virtualIps, ports };
}

function sameEndpoint(a: ServiceEndpoint | undefined, b: ServiceEndpoint): boolean {
  const text = (endpoint: ServiceEndpoint): string =>
    JSON.stringify([
      endpoint.mode,
      endpoint.virtualIps.map((vip) => [vip.networkId, vip.address]),
      endpoint.ports.map((port) => [port.Protocol, port.TargetPort, port.PublishedPort, port.PublishMode]),
    ]);
  return a !== undefined && text(a) === text(b);
}

/** Words for a task that cannot leave `new` yet, or undefined when everything it needs is allocated. */
function taskBlocker(pass: Pass, task: Readonly<Task>, refused: Map<string, string>): string | undefined {
  const refusal = refused.get(task.serviceId);
  if (refusal !== undefined) return refusal;
  const attachments = networksOfTask(pass.view, task);
  if ('missing' in attachments) return attachments.missing;
  const waiting = attachments.networks.find((network) => !pass.subnets.has(network.id));
  if (!waiting) return undefined;
  return pass.networkFailures.get(waiting.id) ?? `network ${waiting.spec.Name} has no subnet yet`;
}

/**
 * One pass of the allocator over the whole cluster: subnets and identifiers for new networks, endpoints of services
 * that lack one or whose spec moved, and `new` tasks to `pending` as soon as what they need is there. All of it can
 * go in one transaction. What cannot be had keeps its old allocation, and its new tasks say why in their error.
 *
 * `nowMs` stamps the statuses; without it a task keeps the time it was made at, so that the plan stays pure.
 */
export function planNetworkAllocation(view: ClusterView, nowMs?: number): Change[] {
  const changes: Change[] = [];
  const plan = planSubnets(view);
  const subnets = new Map<string, string>();
  for (const network of view.networks.all()) {
    const planned = plan.subnets.get(network.id);
    if (planned) {
      changes.push({
        op: 'patch',
        table: 'networks',
        id: network.id,
        fields: { ...planned },
        ifVersion: network.version,
      });
    } else {
      const blocks = blocksKept(view, network);
      if (blocks) {
        changes.push({
          op: 'patch',
          table: 'networks',
          id: network.id,
          fields: { blocks },
          ifVersion: network.version,
        });
      }
    }
    const subnet = planned?.subnet ?? (network.vni === undefined ? undefined : network.subnet);
    if (subnet !== undefined) subnets.set(network.id, subnet);
  }
  let used: Map<string, Set<number>> | undefined;
  const pass: Pass = {
    view,
    subnets,
    networkFailures: plan.failures,
    used: () => (used ??= addressesInUse(view)),
    ports: new PortRegistry(view),
  };
  const refused = new Map<string, string>();
  for (const service of view.services.all()) {
    const endpoint = endpointFor(pass, service);
    if (typeof endpoint === 'string') {
      refused.set(service.id, endpoint);
    } else if (!sameEndpoint(service.endpoint, endpoint)) {
      // The guard keeps an endpoint from landing on a spec that moved on meanwhile; the next pass sees both.
      changes.push({
        op: 'patch',
        table: 'services',
        id: service.id,
        fields: { endpoint },
        ifVersion: service.version,
      });
    }
  }
  for (const task of view.tasks.all()) {
    if (task.status.state !== 'new') continue;
    if (view.services.get(task.serviceId) === undefined) continue;
    const blocker = taskBlocker(pass, task, refused);
    const atMs = nowMs ?? task.status.atMs;
    if (blocker === undefined) {
      const status = { state: 'pending', atMs, message: 'pending task scheduling' } as const;
      changes.push({ op: 'patch', table: 'tasks', id: task.id, fields: { status } });
    } else if (task.status.error !== blocker) {
      const status = { ...task.status, atMs, error: blocker };
      changes.push({ op: 'patch', table: 'tasks', id: task.id, fields: { status } });
    }
  }
  return changes;
}
