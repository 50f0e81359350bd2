/** One veth pair: `A.B.C.D/32` inside, a /32 route on the host side, the default route via `gateway` on link. */
export interface ContainerInterface {
  /** Inside the container: eth0, eth1, ... */
  name: string;
  /** On the node, 15 characters at most. */
  hostName: string;
  address: string;
  /** The on-link next hop, 169.254.1.1 unless the node says otherwise. */
  gateway: string;
  /** Subnet reached through this interface when it is not the one with the default route. */
  subnet: string;
  defaultRoute: boolean;
  mtu: number;
  /** Of a container outside services on another network than the node's own `bridge`. */
  network?: {
    id: string;
    name: string;
    /** Names of the container there, beside its own. */
    aliases: string[];
    /** It asked for this very address. */
    isAddressAsked: boolean;
  };
}
