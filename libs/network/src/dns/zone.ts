/** The names of the cluster, by network: what a container may ask for is what its networks hold. Pure. */
import type { BalanceItem, EndpointItem, NetworkId } from '#libs/model';
import { contains, parseIpv4, parsePrefix } from '../ipv4.js';
import type { LocalProgram, NetworkProgram } from '../port.js';

/** SwarmKit's task name: the slot, or for global services the node, between service and task. */
function taskName(item: BalanceItem, endpoint: EndpointItem): string {
  return `${item.name}.${endpoint.slot === 0 ? endpoint.nodeId : endpoint.slot}.${endpoint.taskId}`;
}

export class Zone {
  /** Lower-case name to addresses, by network. */
  private readonly names = new Map<string, Map<string, string[]>>();
  private readonly pointers = new Map<string, { name: string; networkId: string }[]>();
  private readonly networksOfAddress = new Map<string, string[]>();
  private readonly subnets: { id: string; prefix: ReturnType<typeof parsePrefix> }[] = [];

  constructor(program?: NetworkProgram, local?: LocalProgram) {
    if (local) this.addLocal(local);
    if (!program) return;
    for (const network of program.networks) {
      this.names.set(network.id, new Map());
      this.subnets.push({ id: network.id, prefix: parsePrefix(network.subnet) });
    }
    for (const item of program.balance) this.addService(item);
  }

  private addLocal(local: LocalProgram): void {
    for (const { id, subnet } of local.networks) {
      this.names.set(id, new Map());
      this.subnets.push({ id, prefix: parsePrefix(subnet) });
    }
    for (const { addresses, asksFrom } of local.endpoints) {
      const own = addresses.map(({ networkId }) => networkId);
      for (const address of asksFrom) this.networksOfAddress.set(address, own);
      for (const { networkId, address, names } of addresses) {
        for (const name of new Set(names)) this.add(networkId, name, [address]);
        const [first] = names;
        if (first !== undefined) this.pointers.set(address, [{ name: first, networkId }]);
      }
    }
  }

  private add(networkId: string, name: string, addresses: readonly string[]): void {
    const names = this.names.get(networkId);
    if (!names) return;
    const key = name.toLowerCase();
    names.set(key, [...(names.get(key) ?? []), ...addresses]);
  }

  private addService(item: BalanceItem): void {
    const networkIds = new Set<NetworkId>(item.endpoint.virtualIps.map((vip) => vip.networkId));
    for (const endpoint of item.endpoints) {
      const own = endpoint.networks.map((network) => network.networkId as string);
      for (const { networkId, address } of endpoint.networks) {
        networkIds.add(networkId);
        this.networksOfAddress.set(address, own);
        const name = taskName(item, endpoint);
        this.add(networkId, name, [address]);
        this.pointers.set(address, [...(this.pointers.get(address) ?? []), { name, networkId }]);
      }
    }
    for (const networkId of Object.keys(item.aliases) as NetworkId[]) networkIds.add(networkId);
    for (const networkId of networkIds) {
      const tasks = item.endpoints.flatMap((endpoint) =>
        endpoint.networks
          .filter((network) => network.networkId === networkId)
          .map((network) => network.address),
      );
      const vip = item.endpoint.virtualIps.find((entry) => entry.networkId === networkId)?.address;
      const addresses = item.endpoint.mode === 'vip' && vip !== undefined ? [vip] : tasks;
      for (const name of new Set([item.name, ...(item.aliases[networkId] ?? [])])) {
        this.add(networkId, name, addresses);
      }
      this.add(networkId, `tasks.${item.name}`, tasks);
      if (vip !== undefined) {
        this.pointers.set(vip, [...(this.pointers.get(vip) ?? []), { name: item.name, networkId }]);
      }
    }
  }

  /**
   * Networks of the container that asks from this address: what the balance items say of it, else the network whose
   * subnet holds it. Empty for a stranger.
   */
  networksOf(address: string): readonly string[] {
    const known = this.networksOfAddress.get(address);
    if (known) return known;
    const value = parseIpv4(address);
    if (value === undefined) return [];
    return this.subnets.flatMap(({ id, prefix }) => (prefix && contains(prefix, value) ? [id] : []));
  }

  allNetworks(): readonly string[] {
    return [...this.names.keys()];
  }

  /** Addresses of a name on these networks; empty when the name exists without any; undefined when nobody has it. */
  lookup(name: string, networkIds: readonly string[]): string[] | undefined {
    const key = name.toLowerCase();
    let found: Set<string> | undefined;
    for (const networkId of networkIds) {
      const addresses = this.names.get(networkId)?.get(key);
      if (!addresses) continue;
      found ??= new Set();
      for (const address of addresses) found.add(address);
    }
    return found && [...found];
  }

  /** Names of an address; `foreign` when it is none of the cluster's. */
  reverse(address: string, networkIds: readonly string[]): string[] | 'foreign' {
    const value = parseIpv4(address);
    const inside =
      value !== undefined &&
      this.subnets.some(({ prefix }) => prefix !== undefined && contains(prefix, value));
    if (!inside) return 'foreign';
    const pointers = this.pointers.get(address) ?? [];
    return pointers.flatMap(({ name, networkId }) => (networkIds.includes(networkId) ? [name] : []));
  }
}
