/** Addresses in the node's own network for containers that are made outside services. */
import type { ContainerId, ContainerInterface } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { ContainerRuntime } from '#libs/runtime';

export const defaultNetworkName = 'bridge';

export interface DefaultNetworkOptions {
  runtime: Pick<ContainerRuntime, 'list'>;
  network: Pick<NodeNetwork, 'localInterface' | 'nameservers'>;
}

/**
 * A container's own record is the memory of its address: it outlives the agent, and the address is free once the
 * record is gone. Only between the choice and the record is it kept here.
 */
export class DefaultNetwork {
  readonly #options: DefaultNetworkOptions;
  readonly #chosen = new Map<ContainerId, string>();

  constructor(options: DefaultNetworkOptions) {
    this.#options = options;
  }

  attach(id: ContainerId): { interfaces: ContainerInterface[]; nameservers: string[] } {
    const { runtime, network } = this.#options;
    const taken = new Set(this.#chosen.values());
    for (const { config } of runtime.list()) {
      for (const { address } of config.network.interfaces) taken.add(address);
    }
    const link = network.localInterface({ containerId: id, taken });
    this.#chosen.set(id, link.address);
    return { interfaces: [link], nameservers: network.nameservers() };
  }

  /** The runtime has the container's record now, or never will. */
  settled(id: ContainerId): void {
    this.#chosen.delete(id);
  }
}
