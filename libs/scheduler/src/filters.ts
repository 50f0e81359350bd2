/**
 * The filters of the scheduler, in the order they are asked. Each accepts a node or stands as the reason why not; the
 * first that refuses speaks. The words are SwarmKit's (`manager/scheduler/filter.go`): people search for them.
 */
import { normalArchitecture, satisfiesConstraints } from '#libs/model';
import type { Demand } from './demand.js';
import type { NodeLoad } from './node-load.js';

export interface Filter {
  name: string;
  accepts(demand: Demand, load: NodeLoad): boolean;
  explain(nodes: number): string;
}

function nodesText(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`;
}

export const filters: readonly Filter[] = [
  {
    name: 'ready',
    accepts: (_, { node }) => node.status.state === 'ready' && node.spec.Availability === 'active',
    explain: (nodes) => `${nodesText(nodes)} not available for new tasks`,
  },
  {
    name: 'resources',
    accepts: (demand, load) =>
      (demand.nanoCpus === 0 || demand.nanoCpus <= load.freeNanoCpus) &&
      (demand.memoryBytes === 0 || demand.memoryBytes <= load.freeMemoryBytes),
    explain: (nodes) => `insufficient resources on ${nodesText(nodes)}`,
  },
  {
    name: 'constraints',
    accepts: (demand, { node }) => satisfiesConstraints(node, demand.constraints),
    explain: (nodes) => `scheduling constraints not satisfied on ${nodesText(nodes)}`,
  },
  {
    name: 'platform',
    accepts: (demand, { node }) =>
      demand.platforms.length === 0 || runsOneOf(demand, node.description.platform),
    explain: (nodes) => `unsupported platform on ${nodesText(nodes)}`,
  },
  {
    name: 'host port',
    accepts: (demand, load) => !demand.hostPorts.some((port) => load.hostPortsInUse.has(port)),
    explain: (nodes) => `host-mode port already in use on ${nodesText(nodes)}`,
  },
  {
    name: 'max replicas',
    accepts: (demand, load) =>
      demand.maxReplicasPerNode === 0 ||
      (load.presentByService.get(demand.service.id) ?? 0) < demand.maxReplicasPerNode,
    explain: () => 'max replicas per node limit exceed',
  },
];

// An empty field of a wanted platform matches everything.
function runsOneOf(demand: Demand, has: { os: string; architecture: string }): boolean {
  return demand.platforms.some(
    ({ OS = '', Architecture = '' }) =>
      (OS === '' || OS.toLowerCase() === has.os.toLowerCase()) &&
      (Architecture === '' || normalArchitecture(Architecture) === normalArchitecture(has.architecture)),
  );
}

export function refusingFilter(demand: Demand, load: NodeLoad): Filter | undefined {
  return filters.find((filter) => !filter.accepts(demand, load));
}

/** Docker's sentence for a task that waits: every filter's own words, commonest first. */
export function explainRefusals(demand: Demand, loads: Iterable<NodeLoad>): string {
  const refusals = new Map<Filter, number>();
  for (const load of loads) {
    const filter = refusingFilter(demand, load);
    if (filter !== undefined) refusals.set(filter, (refusals.get(filter) ?? 0) + 1);
  }
  if (refusals.size === 0) return 'no suitable node';
  // The sort is stable and the map keeps first-seen order, so ties are put in the order the filters are asked.
  const reasons = [...refusals]
    .sort(([a], [b]) => filters.indexOf(a) - filters.indexOf(b))
    .sort(([, a], [, b]) => b - a)
    .map(([filter, nodes]) => filter.explain(nodes));
  return `no suitable node (${reasons.join('; ')})`;
}
