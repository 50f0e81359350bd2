/** A network program as kernel objects: devices, neighbours, forwarding entries, routes and rules. Pure. */
import type { NetworkItem, PeerItem } from '#libs/model';
import { parseIpv4 } from '../ipv4.js';
import type { LocalNetworkItem, NetworkProgram } from '../port.js';
import { nodeMacAddress, nowhereMetric, overlayDevice, peerMark, rulePriorities } from './names.js';

export interface OverlayDevice {
  vni: number;
  port: number;
  localAddress: string;
  macAddress: string;
  mtu: number;
}

/** Each map goes from what names an object in the kernel to what it is set to. */
export interface KernelState {
  devices: Map<string, OverlayDevice>;
  /** `<device> <address>` to MAC address. */
  neighbours: Map<string, string>;
  /** `<device> <MAC address>` to underlay address. */
  forwarding: Map<string, string>;
  /** `<table> <destination>` to the rest of the route; the destination may begin with the route's type. */
  routes: Map<string, string>;
  /** Whole rules, `<priority> <selector> <table>`. */
  rules: Set<string>;
}

export function emptyKernelState(): KernelState {
  return {
    devices: new Map(),
    neighbours: new Map(),
    forwarding: new Map(),
    routes: new Map(),
    rules: new Set(),
  };
}

/** Single addresses that stay reachable although no endpoint names them now: address to node. */
export type SingleRoutes = ReadonlyMap<string, string>;

export interface DesiredStateOptions {
  tag: string;
  markBase: number;
  address: string;
  /** MTU of the overlay devices. */
  mtu: number;
  /** Networks that only this node has. */
  local: readonly LocalNetworkItem[];
  /** For subnets without blocks: which node has which address. */
  singleRoutes: ReadonlyMap<string, SingleRoutes>;
}

export function overlayRule(priority: number, port: number): string {
  return `${priority} ipproto udp dport ${port} lookup main`;
}

export function markRule(priority: number, mark: number): string {
  return `${priority} fwmark 0x${mark.toString(16)} lookup ${mark}`;
}

export function nowhereKey(block: string): string {
  return `main unreachable ${block}`;
}

export function nowhereRoute(markBase: number): string {
  return `metric ${nowhereMetric(markBase)}`;
}

export function ownAddressKey(address: string): string {
  return `local local ${address}`;
}

export function ownAddressRoute(markBase: number): string {
  return `dev lo metric ${nowhereMetric(markBase)}`;
}

function addNetwork(
  state: KernelState,
  network: NetworkItem,
  peers: readonly PeerItem[],
  program: NetworkProgram,
  options: DesiredStateOptions,
): void {
  const device = overlayDevice(options.tag, network.vni);
  const own = program.peers.find((peer) => peer.id === program.self);
  state.devices.set(device, {
    vni: network.vni,
    port: program.settings.dataPathPort,
    localAddress: options.address,
    macAddress: nodeMacAddress(own?.index ?? 0),
    mtu: options.mtu,
  });
  // Addresses nobody has end at this device, which knows no neighbour for them: never at the default route.
  // It also lets the node itself reach virtual addresses, whose packets need a route before they are translated.
  state.routes.set(`main ${network.subnet}`, `dev ${device} scope link src ${options.address}`);
  // Where a container was and is no more, who asks is told so at once instead of waiting for an answer.
  for (const block of network.blocks[program.self] ?? []) {
    state.routes.set(nowhereKey(block), nowhereRoute(options.markBase));
  }
  for (const peer of peers) {
    const macAddress = nodeMacAddress(peer.index);
    state.neighbours.set(`${device} ${peer.address}`, macAddress);
    state.forwarding.set(`${device} ${macAddress}`, peer.address);
    for (const block of network.blocks[peer.id] ?? []) {
      state.routes.set(`main ${block}`, `via ${peer.address} dev ${device} onlink src ${options.address}`);
    }
  }
  const peersById = new Map(peers.map((peer) => [peer.id as string, peer]));
  for (const [address, nodeId] of options.singleRoutes.get(network.id) ?? []) {
    const peer = peersById.get(nodeId);
    if (peer)
      state.routes.set(`main ${address}`, `via ${peer.address} dev ${device} onlink src ${options.address}`);
  }
}

/** False for an address that no other machine can have: one such peer must not cost the node its whole network. */
function isReachable(address: string, own: string): boolean {
  const value = parseIpv4(address);
  if (value === undefined || address === own) return false;
  const first = value >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

export function desiredKernelState(program: NetworkProgram, options: DesiredStateOptions): KernelState {
  const state = emptyKernelState();
  for (const { subnet, gateway } of options.local) {
    state.routes.set(nowhereKey(subnet), nowhereRoute(options.markBase));
    // The node is there for its containers under the address that Docker calls the gateway.
    state.routes.set(ownAddressKey(gateway), ownAddressRoute(options.markBase));
  }
  const peers = program.peers.filter(
    (peer) => peer.id !== program.self && isReachable(peer.address, options.address),
  );
  const networks = [...program.networks].sort((a, b) => a.vni - b.vni);
  for (const network of networks) addNetwork(state, network, peers, program, options);
  const first = networks[0];
  const priorities = rulePriorities(options.markBase);
  // The mark of a reply stays on the packet that carries it between the nodes and would send that one round again.
  state.rules.add(overlayRule(priorities.overlay, program.settings.dataPathPort));
  if (!first) return state;
  for (const peer of peers) {
    const mark = peerMark(options.markBase, peer.index);
    // Any overlay device leads to the peer; the connection is known there by its addresses, not by the device.
    const device = overlayDevice(options.tag, first.vni);
    state.routes.set(`${mark} default`, `via ${peer.address} dev ${device} onlink`);
    state.rules.add(markRule(priorities.marks, mark));
  }
  return state;
}
