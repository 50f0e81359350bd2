/** A balancer program as an nftables table: fixed base chains, and the sets, maps and chains that change. */
import type { BalancedPeer, BalancerProgram } from './program.js';

/** A set (values are empty) or a map, by key. */
export interface ElementSet {
  kind: 'set' | 'map';
  /** Its `type ...` or `typeof ...` line. */
  type: string;
  /** Its elements are ranges. */
  interval: boolean;
  elements: ReadonlyMap<string, string>;
}

/** Everything in one table. Two rulesets with the same `fixed` text differ only in elements and service chains. */
export interface Ruleset {
  table: string;
  fixed: string;
  sets: ReadonlyMap<string, ElementSet>;
  /** Rules by chain name: one chain per virtual address and per published port. */
  chains: ReadonlyMap<string, readonly string[]>;
}

export function tableName(tag: string): string {
  return `enxame_${tag}`;
}

/**
 * Backends in turn, by a counter of the rule's own: each new connection goes to the next one. The port is part of
 * the translation only for published ports; a virtual address keeps the port the client asked for.
 *
 * The last rule is for a packet that is inside the chain at the very moment a transaction takes effect: it still
 * walks the old rules, whose map is already empty to it, and without a rule that needs no map it would be refused.
 */
function toBackends(backends: readonly string[], match: string, port?: number): string[] {
  const first = port === undefined ? backends[0] : `${backends[0]}:${port}`;
  const fallback = `${match}dnat to ${first}`;
  if (backends.length === 1) return [fallback];
  const target = (address: string): string => (port === undefined ? address : `${address} . ${port}`);
  const map = backends.map((address, index) => `${index} : ${target(address)}`).join(', ');
  return [`${match}dnat ip to numgen inc mod ${backends.length} map { ${map} }`, fallback];
}

function keys(values: Iterable<string>): Map<string, string> {
  return new Map([...values].sort().map((value) => [value, '']));
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
}

/** A generation is up to 53 bits; the kernel's marks are 32. */
export function generationElement(generation: number): string {
  return `${hex(Math.floor(generation / 2 ** 32))} . ${hex(generation % 2 ** 32)}`;
}

/**
 * The base chains. Connections are translated once, when they are new; conntrack then keeps every packet of them on
 * its way, so an endpoint that leaves a map keeps the connections it has and gets no further one.
 */
function fixedChains(program: BalancerProgram): string {
  const overlay = `"${program.devicePrefix.overlay}*"`;
  const container = `"${program.devicePrefix.container}*"`;
  const published = `fib daddr type local ip daddr != ${program.linkLocalGateway} meta l4proto . th dport`;
  return `
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    # route_localnet lets 127.0.0.1 be translated to a container; nobody outside may use it to reach loopback services.
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    # A container may only send from an address that is routed to a container.
    iifname ${container} fib saddr oifname != ${container} drop
    # One client may use the same source port through two nodes at once, and both connections may come to one backend.
    # A zone per node keeps them apart; conntrack then gives the second one another port towards the backend.
    iifname ${overlay} ip saddr != @subnets ct original zone set ether saddr map @peer_zones
  }
  chain return_path {
    type filter hook prerouting priority mangle; policy accept;
    # A client's connection that another node passed on keeps the client's address; the replies must go back through
    # that node, which alone can undo its translation. The sender's MAC address says which node it was.
    iifname ${overlay} ct state new ip saddr != @subnets ct mark set ether saddr map @peer_marks
    iifname ${container} ct direction reply ct mark and 0xfffff000 == ${hex(program.markBase)} meta mark set ct mark
  }
  chain balance_incoming {
    type nat hook prerouting priority -105; policy accept;
    ip daddr vmap @virtual_addresses
    ip daddr . meta l4proto . th dport vmap @published_addresses
    ${published} vmap @published_ports
  }
  chain balance_local {
    type nat hook output priority -105; policy accept;
    ip daddr vmap @virtual_addresses
    ip daddr . meta l4proto . th dport vmap @published_addresses
    ${published} vmap @published_ports
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmp type admin-prohibited
  }
  # What still asks for a virtual address after translation found no endpoint: an answer beats silence.
  chain refuse_incoming {
    type filter hook prerouting priority -90; policy accept;
    ip daddr @vips jump refuse
    ct state new ${published} @ports_taken jump refuse
  }
  chain refuse_local {
    type filter hook output priority -90; policy accept;
    ip daddr @vips jump refuse
    ct state new ${published} @ports_taken jump refuse
  }
  # The overlay is trusted, so only nodes of the cluster may speak it.
  chain overlay_guard {
    type filter hook input priority filter; policy accept;
    udp dport ${program.dataPathPort} ip saddr != @peers drop
  }
  # Networks are closed to each other and to the outside but for published ports. The node where a packet starts
  # decides; the others believe it.
  chain isolation {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    # A stray packet of a translated connection would leave with the container's own address and reset the client.
    ct state invalid ip saddr @subnets drop
    iifname ${overlay} accept
    ip saddr @subnets jump from_container
    ip daddr @subnets jump from_outside
  }
  chain from_container {
    ip saddr . ip daddr @same_network accept
    ct status dnat ct original ip daddr != @vips accept
    ip daddr @subnets jump refuse
    ip saddr @internal_subnets jump refuse
    accept
  }
  chain from_outside {
    ct status dnat ct original ip daddr != @vips accept
    jump refuse
  }
  chain source {
    type nat hook postrouting priority 95; policy accept;
    # A container that meets itself behind a virtual address would answer itself directly and never be translated back.
    ip saddr . ip daddr @hairpin snat to ${program.address}
    ip saddr 127.0.0.0/8 oifname != "lo" ip daddr @subnets snat to ${program.address}
    # Other nodes do not know this node's own network, and may have one with the same addresses.
    ip saddr @local_subnets oifname ${overlay} snat to ${program.address}
    # Another node as the client may be passed on to a task of its own, where its own address arriving from outside
    # is refused as forged, and where the reply would be delivered to itself without coming back here.
    ip saddr @peers oifname ${overlay} ip daddr @subnets snat to ${program.address}
    ip saddr @subnets ip daddr != @subnets oifname != ${overlay} oifname != ${container} masquerade
  }
`;
}

/** Renders a program. Equal programs make equal rulesets, whatever order their lists came in. */
export function buildRuleset(program: BalancerProgram): Ruleset {
  const chains = new Map<string, readonly string[]>();
  const virtualAddresses = new Map<string, string>();
  for (const vip of program.virtualAddresses) {
    if (vip.backends.length === 0) continue;
    const chain = `vip_${vip.serviceId}_${vip.networkId}`;
    chains.set(chain, toBackends(vip.backends, ''));
    virtualAddresses.set(vip.address, `goto ${chain}`);
  }
  const publishedPorts = new Map<string, string>();
  const publishedAddresses = new Map<string, string>();
  for (const port of program.publishedPorts) {
    if (port.backends.length === 0) continue;
    const place = port.address === undefined ? '' : `_${port.address.replaceAll('.', '_')}`;
    const chain = `port_${port.protocol}_${port.publishedPort}${place}`;
    chains.set(chain, toBackends(port.backends, `meta l4proto ${port.protocol} `, port.targetPort));
    const key = `${port.protocol} . ${port.publishedPort}`;
    if (port.address === undefined) publishedPorts.set(key, `goto ${chain}`);
    else publishedAddresses.set(`${port.address} . ${key}`, `goto ${chain}`);
  }
  const networks = [...program.networks, ...program.localNetworks];
  const subnets = networks.map((network) => network.subnet);
  const localSubnets = program.localNetworks.map((network) => network.subnet);
  const internal = networks.filter((network) => network.internal).map((network) => network.subnet);
  const set = (type: string, elements: ReadonlyMap<string, string>, interval = false): ElementSet => {
    return { kind: 'set', type: `type ${type}`, elements, interval };
  };
  const map = (type: string, elements: ReadonlyMap<string, string>): ElementSet => {
    return { kind: 'map', type, elements, interval: false };
  };
  const sets = new Map<string, ElementSet>([
    ['generation', set('mark . mark', keys([generationElement(program.generation)]))],
    ['subnets', set('ipv4_addr', keys(subnets), true)],
    ['local_subnets', set('ipv4_addr', keys(localSubnets), true)],
    ['internal_subnets', set('ipv4_addr', keys(internal), true)],
    [
      'same_network',
      set('ipv4_addr . ipv4_addr', keys(subnets.map((subnet) => `${subnet} . ${subnet}`)), true),
    ],
    ['peers', set('ipv4_addr', keys(program.peers.flatMap(addressesOf)))],
    [
      'peer_marks',
      map('type ether_addr : mark', new Map(program.peers.map((peer) => [peer.macAddress, hex(peer.mark)]))),
    ],
    [
      'peer_zones',
      map(
        'typeof ether saddr : ct zone',
        new Map(program.peers.map((peer) => [peer.macAddress, String(peer.mark & 0xfff)])),
      ),
    ],
    ['vips', set('ipv4_addr', keys(program.virtualAddresses.map((vip) => vip.address)))],
    [
      'ports_taken',
      set(
        'inet_proto . inet_service',
        keys(
          program.publishedPorts
            .filter((port) => port.address === undefined)
            .map((port) => `${port.protocol} . ${port.publishedPort}`),
        ),
      ),
    ],
    [
      'hairpin',
      set('ipv4_addr . ipv4_addr', keys(program.localBackends.map((address) => `${address} . ${address}`))),
    ],
    ['virtual_addresses', map('type ipv4_addr : verdict', virtualAddresses)],
    ['published_ports', map('type inet_proto . inet_service : verdict', publishedPorts)],
    ['published_addresses', map('type ipv4_addr . inet_proto . inet_service : verdict', publishedAddresses)],
  ]);
  return { table: tableName(program.tag), fixed: fixedChains(program), sets, chains };
}

function addressesOf({ address, advertisedAddress }: BalancedPeer): string[] {
  return advertisedAddress === undefined ? [address] : [address, advertisedAddress];
}
