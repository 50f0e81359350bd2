/**
 * Routes to single addresses, for subnets too small for blocks. They come from the endpoints of the balance items; an
 * endpoint that leaves keeps its route a while, since its open connections still need it.
 */
import { contains, parseIpv4, parsePrefix } from '../ipv4.js';
import type { NetworkProgram } from '../port.js';
import type { SingleRoutes } from './desired-state.js';

/** Longer than any sensible stop grace period. */
const lingerMs = 15 * 60 * 1000;

interface Entry {
  nodeId: string;
  /** Absent while an endpoint has the address. */
  goneAtMs?: number;
}

export class SingleRouteTable {
  private readonly networks = new Map<string, Map<string, Entry>>();

  update(program: NetworkProgram, nowMs: number): ReadonlyMap<string, SingleRoutes> {
    const small = new Map<string, Map<string, Entry>>();
    for (const network of program.networks) {
      if (Object.keys(network.blocks).length > 0) continue;
      const entries = this.networks.get(network.id) ?? new Map<string, Entry>();
      for (const entry of entries.values()) entry.goneAtMs ??= nowMs;
      small.set(network.id, entries);
    }
    const subnets = new Map(
      program.networks.map((network) => [network.id as string, parsePrefix(network.subnet)]),
    );
    for (const item of program.balance) {
      for (const { nodeId, networks } of item.endpoints) {
        for (const { networkId, address } of networks) {
          const subnet = subnets.get(networkId);
          const value = parseIpv4(address);
          if (!subnet || value === undefined || !contains(subnet, value)) continue;
          small.get(networkId)?.set(address, { nodeId });
        }
      }
    }
    const routes = new Map<string, SingleRoutes>();
    this.networks.clear();
    for (const [networkId, entries] of small) {
      for (const [address, { goneAtMs }] of entries) {
        if (goneAtMs !== undefined && nowMs - goneAtMs > lingerMs) entries.delete(address);
      }
      this.networks.set(networkId, entries);
      routes.set(networkId, new Map([...entries].map(([address, entry]) => [address, entry.nodeId])));
    }
    return routes;
  }
}
