/** What an earlier run of this node left in the kernel, read once at the start and after a failure. */
import { EnxameError } from '#libs/model';
import { mustRun } from './command.js';
import {
  emptyKernelState,
  markRule,
  nowhereKey,
  nowhereRoute,
  overlayRule,
  ownAddressKey,
  ownAddressRoute,
} from './desired-state.js';
import type { KernelState } from './desired-state.js';
import { containerPrefix, nowhereMetric, overlayPrefix, rulePriorities } from './names.js';

interface LinkJson {
  ifname?: string;
  mtu?: number;
  address?: string;
  linkinfo?: { info_kind?: string; info_data?: { id?: number; port?: number; local?: string } };
}
interface NeighbourJson {
  dst?: string;
  dev?: string;
  lladdr?: string;
}
interface ForwardingJson {
  mac?: string;
  ifname?: string;
  dst?: string;
}
interface RouteJson {
  type?: string;
  metric?: number;
  dst?: string;
  dev?: string;
  table?: string;
  gateway?: string;
  prefsrc?: string;
}
interface RuleJson {
  priority?: number;
  ipproto?: string;
  dport?: number;
  fwmark?: string;
  table?: string;
}
interface AddressJson {
  ifname?: string;
  mtu?: number;
  addr_info?: { family?: string; local?: string }[];
}

async function list<T>(program: 'ip' | 'bridge', args: readonly string[]): Promise<T[]> {
  const text = await mustRun(program, ['-j', ...args]);
  if (text.trim() === '') return [];
  try {
    // iproute2 prints empty objects for what a filter left out.
    return JSON.parse(text) as T[];
  } catch (cause) {
    throw new EnxameError('internal', `${program} ${args.join(' ')} printed no JSON`, { cause });
  }
}

export async function readKernelState(tag: string, markBase: number): Promise<KernelState> {
  const prefix = overlayPrefix(tag);
  const ours = (device: string | undefined): device is string => device?.startsWith(prefix) === true;
  const [links, neighbours, forwarding, routes, rules] = await Promise.all([
    list<LinkJson>('ip', ['-d', 'link', 'show', 'type', 'vxlan']),
    list<NeighbourJson>('ip', ['-4', 'neigh', 'show', 'nud', 'permanent']),
    list<ForwardingJson>('bridge', ['fdb', 'show']),
    list<RouteJson>('ip', ['-4', 'route', 'show', 'table', 'all']),
    list<RuleJson>('ip', ['-4', 'rule', 'show']),
  ]);
  const state = emptyKernelState();
  for (const link of links) {
    const data = link.linkinfo?.info_data;
    if (!ours(link.ifname)) continue;
    state.devices.set(link.ifname, {
      vni: data?.id ?? 0,
      port: data?.port ?? 0,
      localAddress: data?.local ?? '',
      macAddress: link.address ?? '',
      mtu: link.mtu ?? 0,
    });
  }
  for (const { dev, dst = '', lladdr = '' } of neighbours) {
    if (ours(dev)) state.neighbours.set(`${dev} ${dst}`, lladdr);
  }
  for (const { ifname, mac = '', dst } of forwarding) {
    if (ours(ifname) && dst !== undefined) state.forwarding.set(`${ifname} ${mac}`, dst);
  }
  for (const route of routes) {
    if (route.type === 'unreachable' && route.metric === nowhereMetric(markBase)) {
      state.routes.set(nowhereKey(route.dst ?? ''), nowhereRoute(markBase));
    }
    if (route.type === 'local' && route.metric === nowhereMetric(markBase)) {
      state.routes.set(ownAddressKey(route.dst ?? ''), ownAddressRoute(markBase));
    }
    if (!ours(route.dev) || route.table === 'local') continue;
    const via = route.gateway === undefined ? '' : `via ${route.gateway} `;
    state.routes.set(`${route.table ?? 'main'} ${route.dst ?? ''}`, `${via}dev ${route.dev}`);
  }
  const priorities = rulePriorities(markBase);
  for (const rule of rules) {
    if (rule.priority === priorities.overlay && rule.dport !== undefined) {
      state.rules.add(overlayRule(rule.priority, rule.dport));
    }
    if (rule.priority === priorities.marks && rule.fwmark !== undefined) {
      state.rules.add(markRule(rule.priority, Number(rule.fwmark)));
    }
  }
  return state;
}

/** Names of this node's ends of containers' interfaces. */
export async function containerDevices(tag: string): Promise<string[]> {
  const links = await list<LinkJson>('ip', ['link', 'show', 'type', 'veth']);
  const prefix = containerPrefix(tag);
  return links.flatMap((link) => (link.ifname?.startsWith(prefix) ? [link.ifname] : []));
}

/** The MTU of the device that has this address; Ethernet's when no device has it. */
export async function underlayMtu(address: string): Promise<number> {
  const entries = await list<AddressJson>('ip', ['-4', 'addr', 'show']);
  const entry = entries.find((candidate) => candidate.addr_info?.some((info) => info.local === address));
  return entry?.mtu ?? 1500;
}
