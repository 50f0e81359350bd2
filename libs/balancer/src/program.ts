/**
 * What one node's balancer is to do, as plain data: which addresses are virtual, which ports are published, and who
 * stands behind them. No names are looked up and no choices are left after this.
 */
export type BalancedProtocol = 'tcp' | 'udp' | 'sctp';

export interface BalancedNetwork {
  /** CIDR. */
  subnet: string;
  /** Its containers may not talk to anything outside the cluster. */
  internal: boolean;
}

/** Another node. Its frames come with its own MAC address, which is how replies find the way back through it. */
export interface BalancedPeer {
  /** Underlay address. */
  address: string;
  /** What it has beside that one, as a client of its own. */
  advertisedAddress?: string;
  macAddress: string;
  /** Firewall mark of connections that came in through this node. */
  mark: number;
}

/** An address that stands for all backends, on every port and protocol. */
export interface VirtualAddress {
  serviceId: string;
  networkId: string;
  address: string;
  /** Addresses of endpoints on that network, sorted. Empty: connections are refused at once. */
  backends: readonly string[];
}

/** A port of this node's own addresses that leads to the backends. */
export interface PublishedPort {
  protocol: BalancedProtocol;
  publishedPort: number;
  targetPort: number;
  backends: readonly string[];
  /** Absent: of every address of the node. */
  address?: string;
}

export interface BalancerProgram {
  /** Names the table: clusters on one machine differ in it. */
  tag: string;
  /** Assignment generation; the ruleset holds the one it last changed in. */
  generation: number;
  /** This node's underlay address, the source of connections that need one of the node's own. */
  address: string;
  /** Where containers reach the node; its ports are never published. */
  linkLocalGateway: string;
  /** First of 4096 marks, low 12 bits zero. */
  markBase: number;
  /** UDP port of the overlay. */
  dataPathPort: number;
  /** What this node's interface names begin with. */
  devicePrefix: { overlay: string; container: string };
  networks: readonly BalancedNetwork[];
  /** Networks that only this node has, of containers outside services. */
  localNetworks: readonly BalancedNetwork[];
  peers: readonly BalancedPeer[];
  virtualAddresses: readonly VirtualAddress[];
  publishedPorts: readonly PublishedPort[];
  /** Addresses of backends on this node: only they can reach themselves through a virtual address. */
  localBackends: readonly string[];
}
