/** A container's networks and ports as Docker shows them. */
import type { ContainerConfig, ContainerState } from '#libs/runtime';
import { defaultNetworkName } from '../default-network.js';

export function networkModeOf(config: ContainerConfig): string {
  const shown = config.inspect?.hostConfig as { NetworkMode?: string } | undefined;
  if (shown?.NetworkMode) return shown.NetworkMode;
  return config.network.mode === 'routed' ? 'default' : config.network.mode;
}

export function presentNetworkSettings(
  state: ContainerState,
  exposed: readonly string[],
): Record<string, unknown> {
  const { config } = state;
  return {
    Bridge: '',
    SandboxID: state.pid === 0 ? '' : config.id,
    SandboxKey: state.pid === 0 ? '' : `/proc/${state.pid}/ns/net`,
    Ports: state.pid === 0 ? {} : Object.fromEntries(exposed.map((port) => [port, null])),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: '',
    ...firstEndpoint(config),
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPv6Gateway: '',
    Networks: networksOf(config),
  };
}

/** A task's interfaces know their subnet, not their network's name: that is the cluster's, and shown with its tasks. */
export function networksOf(config: ContainerConfig): Record<string, unknown> {
  if (config.namespaces?.network !== undefined) return {};
  if (config.network.mode !== 'routed') {
    return { [config.network.mode]: endpoint({ gateway: '', address: '', prefixLength: 0 }) };
  }
  return Object.fromEntries(
    config.network.interfaces.map((link) => [
      'com.docker.swarm.task.id' in config.labels ? link.name : defaultNetworkName,
      endpoint({ gateway: link.gateway, address: link.address, prefixLength: prefixLengthOf(link.subnet) }),
    ]),
  );
}

function endpoint(of: { gateway: string; address: string; prefixLength: number }): Record<string, unknown> {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: null,
    MacAddress: '',
    DriverOpts: null,
    GwPriority: 0,
    NetworkID: '',
    EndpointID: '',
    Gateway: of.gateway,
    IPAddress: of.address,
    IPPrefixLen: of.prefixLength,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
}

function firstEndpoint(config: ContainerConfig): Record<string, unknown> {
  const first = config.network.interfaces.find((link) => link.defaultRoute) ?? config.network.interfaces[0];
  return {
    Gateway: first?.gateway ?? '',
    IPAddress: first?.address ?? '',
    IPPrefixLen: first === undefined ? 0 : prefixLengthOf(first.subnet),
    MacAddress: '',
  };
}

function prefixLengthOf(subnet: string): number {
  return Number(subnet.split('/')[1] ?? 32);
}
