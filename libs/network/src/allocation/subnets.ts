/** Subnets and VXLAN identifiers of networks. */
import type { ClusterView, Network, NetworkSpec } from '#libs/model';
import { contains, formatPrefix, overlap, parseIpv4, parsePrefix } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';

/** SwarmKit's first identifier. */
const vniFirst = 4096;
const vniLast = 2 ** 24 - 1;
/** The smallest subnet still has room for a gateway, a VIP and a few tasks. */
const prefixLengthMax = 29;

/** What is taken already: the subnets of networks, and where nodes reach each other. */
interface Taken {
  subnets: { prefix: Prefix; owner: string }[];
  nodeAddresses: number[];
  vnis: Set<number>;
}

function takenIn(view: ClusterView): Taken {
  const taken: Taken = { subnets: [], nodeAddresses: [], vnis: new Set() };
  for (const network of view.networks.all()) {
    const prefix = network.subnet === undefined ? undefined : parsePrefix(network.subnet);
    if (prefix) taken.subnets.push({ prefix, owner: network.spec.Name });
    if (network.vni !== undefined) taken.vnis.add(network.vni);
  }
  for (const node of view.nodes.all()) {
    const { address, dataPathAddress = address } = node.status;
    for (const own of new Set([address, dataPathAddress])) {
      const value = parseIpv4(own);
      if (value !== undefined) taken.nodeAddresses.push(value);
    }
  }
  return taken;
}

function requestedSubnet(spec: NetworkSpec): string | undefined {
  return spec.IPAM?.Config?.find((config) => config.Subnet)?.Subnet;
}

function checkRequested(text: string, taken: Taken): Prefix | string {
  const prefix = parsePrefix(text);
  if (!prefix) return `invalid subnet ${text}: not an IPv4 CIDR`;
  if (prefix.length > prefixLengthMax) {
    return `invalid subnet ${text}: the prefix may be /${prefixLengthMax} at most`;
  }
  const other = taken.subnets.find((entry) => overlap(entry.prefix, prefix));
  if (other) return `subnet ${text} overlaps with ${formatPrefix(other.prefix)} of network ${other.owner}`;
  if (taken.nodeAddresses.some((address) => contains(prefix, address))) {
    return `subnet ${text} contains the address of a node`;
  }
  return prefix;
}

/**
 * The words that refuse a network's own subnet, or undefined when it may be had. The edge asks before it proposes;
 * the allocator checks again, since two networks may be asked for at once.
 */
export function findSubnetConflict(
  view: ClusterView,
  network: { id?: string; spec: NetworkSpec },
): string | undefined {
  const requested = requestedSubnet(network.spec);
  if (requested === undefined) return undefined;
  const taken = takenIn(view);
  if (network.id !== undefined && view.networks.get(network.id)?.subnet !== undefined) return undefined;
  const result = checkRequested(requested, taken);
  return typeof result === 'string' ? result : undefined;
}

function freeSubnet(view: ClusterView, taken: Taken): Prefix | string {
  const cluster = view.cluster;
  if (!cluster) return 'the cluster is not initialised';
  for (const text of cluster.addressPools) {
    const pool = parsePrefix(text);
    if (!pool) continue;
    const length = Math.max(pool.length, cluster.subnetSize);
    const size = 2 ** (32 - length);
    let base = pool.base;
    while (base < pool.base + pool.size) {
      const candidate: Prefix = { base, length, size };
      const other = taken.subnets.find((entry) => overlap(entry.prefix, candidate));
      if (other) {
        // Jump over the whole of a larger neighbour instead of walking through it.
        base = Math.max(base + size, Math.ceil((other.prefix.base + other.prefix.size) / size) * size);
      } else if (taken.nodeAddresses.some((address) => contains(candidate, address))) {
        base += size;
      } else {
        return candidate;
      }
    }
  }
  return `no free /${cluster.subnetSize} subnet is left in the address pools`;
}

export interface NetworkPlan {
  /** What each network without a subnet gets. */
  subnets: Map<string, { subnet: string; vni: number }>;
  /** Why a network stays without, by id. */
  failures: Map<string, string>;
}

/** Gives every network that lacks one a subnet and an identifier, in ascending order of id. */
export function planSubnets(view: ClusterView): NetworkPlan {
  const plan: NetworkPlan = { subnets: new Map(), failures: new Map() };
  const waiting: Readonly<Network>[] = [];
  for (const network of view.networks.all()) {
    if (network.subnet === undefined || network.vni === undefined) waiting.push(network);
  }
  if (waiting.length === 0) return plan;
  const taken = takenIn(view);
  // Subnets that users named come first, so that no pool allocation of this same pass takes one away.
  waiting.sort((a, b) => Number(!requestedSubnet(a.spec)) - Number(!requestedSubnet(b.spec)));
  let vniNext = vniFirst;
  for (const network of waiting) {
    const requested = requestedSubnet(network.spec);
    const result = requested === undefined ? freeSubnet(view, taken) : checkRequested(requested, taken);
    while (taken.vnis.has(vniNext)) vniNext++;
    if (typeof result === 'string' || vniNext > vniLast) {
      plan.failures.set(network.id, typeof result === 'string' ? result : 'no VXLAN identifier is left');
      continue;
    }
    plan.subnets.set(network.id, { subnet: formatPrefix(result), vni: vniNext });
    taken.subnets.push({ prefix: result, owner: network.spec.Name });
    taken.vnis.add(vniNext);
  }
  return plan;
}
