/** The port between an agent and its node's kernel network. */
import type {
  BalanceItem,
  ContainerInterface,
  NetworkId,
  NetworkItem,
  NodeId,
  PeerItem,
  SettingsItem,
  TaskNetwork,
} from '#libs/model';

/** Everything a node needs to know to build its network: the same data makes the same kernel state. */
export interface NetworkProgram {
  /** The assignment generation this program came with. */
  generation: number;
  self: NodeId;
  settings: SettingsItem;
  networks: readonly NetworkItem[];
  peers: readonly PeerItem[];
  balance: readonly BalanceItem[];
}

/** A network that only this node has, beside its own `bridge`. */
export interface LocalNetworkItem {
  id: string;
  /** CIDR. */
  subnet: string;
  /** The node's own address in the subnet. */
  gateway: string;
  internal: boolean;
}

/** A running container outside services: where it is, and how others on its networks call it. */
export interface LocalEndpoint {
  addresses: readonly { networkId: string; address: string; names: readonly string[] }[];
  /** All its addresses, on the node's own network, too: it may ask for names from any. */
  asksFrom: readonly string[];
  ports: readonly LocalPort[];
}

/** A port of the node that leads to a container. */
export interface LocalPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  /** Absent: every address of the node. */
  hostAddress?: string;
  hostPort: number;
  address: string;
  port: number;
}

/** What this node has of itself. */
export interface LocalProgram {
  networks: readonly LocalNetworkItem[];
  endpoints: readonly LocalEndpoint[];
}

export interface NodeNetworkOptions {
  /** Names kernel objects; clusters on one machine differ in it. At most 8 characters `[a-z0-9]`. */
  tag: string;
  /** Where files live (rendered nft scripts, state). */
  stateDir: string;
  /** On-link gateway of containers, and where the node's DNS answers: 169.254.1.1 unless several nodes share a namespace. */
  linkLocalGateway: string;
  /** First of 4096 firewall marks (low 12 bits zero) and routing tables this node may use, e.g. 0x0e000000. */
  markBase: number;
  /** Underlay address of this node. */
  address: string;
  dnsUpstreams: string[];
}

export interface LocalInterfaceRequest {
  containerId: string;
  taken: Pick<ReadonlySet<string>, 'has'>;
  network?: LocalNetworkItem;
  wanted?: string;
  /** Which of the container's interfaces it is, from 0. */
  index?: number;
}

export interface ServicePort {
  serviceId: string;
  protocol: 'tcp' | 'udp' | 'sctp';
  publishedPort: number;
  targetPort: number;
  /** Only where a task of the service runs. */
  isHostMode: boolean;
}

export interface NodeNetwork {
  /** Makes the table, rules and DNS server; recovers from what an earlier run left. */
  start(): Promise<void>;
  /**
   * The node has another underlay address from now on, and is reached at this one beside it, where that is another. The
   * next program is built with it.
   */
  useAddress(address: string, advertisedAddress?: string): void;
  /** Stops the DNS server only; the kernel keeps balancing. */
  close(): Promise<void>;
  /** Removes every kernel object of this node. */
  destroy(): Promise<void>;
  /** Brings the kernel to this program, atomically for the balancer. Resolves when the kernel has it. Calls queue; only the newest runs. */
  apply(program: NetworkProgram): Promise<void>;
  /** What a task's container needs inside, for `ContainerConfig.network.interfaces`. */
  interfacesFor(options: { containerId: string; networks: readonly TaskNetwork[] }): ContainerInterface[];
  /** The same for what is this node's alone; before the first cluster program it only takes note. */
  applyLocal(program: LocalProgram): Promise<void>;
  /** Subnet of the node's own network, for containers outside services; absent until the first program is in place. */
  localSubnet(): string | undefined;
  /** A subnet for a further network, or the wanted one when nothing on this node overlaps it. Throws `forbidden`. */
  findSubnet(wanted?: string): Promise<string>;
  /**
   * What such a container needs inside. `network`: another one than the node's own. `taken`: addresses that other
   * containers of this node have; `wanted`: one of its own choice.
   */
  localInterface(options: LocalInterfaceRequest): ContainerInterface;
  /** Gives a running container a further interface; `pid` is one of its processes. */
  plug(pid: number, link: ContainerInterface): Promise<void>;
  /** Takes one from it; `nextDefault` is the way out from then on. */
  unplug(pid: number, link: ContainerInterface, nextDefault?: ContainerInterface): Promise<void>;
  /** A dead local endpoint leaves this node's balancer at once, before the leader hears of it; undone by the next program. */
  withdraw(taskId: string): Promise<void>;
  /** Open connections to an address that moved data in the last `idleMs` (from conntrack). */
  activeConnections(address: string, idleMs: number): Promise<number>;
  /** Addresses DNS gives containers. */
  nameservers(): string[];
  networkName(id: NetworkId): string | undefined;
  /** Ports of this node that services have, as the newest program says. */
  publishedPorts(): ServicePort[];
}
