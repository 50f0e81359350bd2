/** A container's networks and ports as Docker shows them. */
import type { ContainerConfig, ContainerState } from '#libs/runtime';
import { defaultNetworkName } from '../../networks/container-networks.js';
import { namesOf } from '../../networks/local-program.js';
import type { ContainerPort } from '#libs/runtime';

export function networkModeOf(config: ContainerConfig): string {
  const shown = config.inspect?.hostConfig as { NetworkMode?: string } | undefined;
  if (shown?.NetworkMode) return shown.NetworkMode;
  return config.network.mode === 'routed' ? 'default' : config.network.mode;
}

export function presentNetworkSettings(
  state: ContainerState,
  exposed: readonly string[],
  ports: readonly ContainerPort[],
): Record<string, unknown> {
  const { config } = state;
  return {
    Bridge: '',
    SandboxID: state.pid === 0 ? '' : config.id,
    SandboxKey: state.pid === 0 ? '' : `/proc/${state.pid}/ns/net`,
    Ports: state.pid === 0 ? {} : portMapOf(exposed, ports),
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

const everyAddress = '0.0.0.0';

function portMapOf(exposed: readonly string[], ports: readonly ContainerPort[]): Record<string, unknown> {
  const map: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  for (const port of exposed) map[port] = null;
  for (const { protocol, containerPort, hostAddress = everyAddress, hostPort } of ports) {
    const key = `${containerPort}/${protocol}`;
    (map[key] ??= []).push({ HostIp: hostAddress, HostPort: String(hostPort) });
  }
  return map;
}

/** The ports of `docker ps`. */
export function portListOf(
  exposed: readonly string[],
  ports: readonly ContainerPort[],
): Record<string, unknown>[] {
  const bound = new Set(ports.map(({ protocol, containerPort }) => `${containerPort}/${protocol}`));
  return [
    ...exposed
      .filter((port) => !bound.has(port))
      .map((port) => ({ PrivatePort: Number.parseInt(port, 10), Type: port.split('/')[1] ?? 'tcp' })),
    ...ports.map(({ protocol, containerPort, hostAddress = everyAddress, hostPort }) => ({
      IP: hostAddress,
      PrivatePort: containerPort,
      PublicPort: hostPort,
      Type: protocol,
    })),
  ];
}

/** A task's interfaces know their subnet, not their network's name: that is the cluster's, and shown with its tasks. */
export function networksOf(config: ContainerConfig): Record<string, unknown> {
  if (config.namespaces?.network !== undefined) return {};
  if (config.network.mode !== 'routed') {
    return { [config.network.mode]: endpoint({ gateway: '', address: '', prefixLength: 0 }) };
  }
  return Object.fromEntries(
    config.network.interfaces.map((link) => {
      const { network } = link;
      const shown = endpoint({
        gateway: link.gateway,
        address: link.address,
        prefixLength: prefixLengthOf(link.subnet),
      });
      if (network === undefined) {
        return ['com.docker.swarm.task.id' in config.labels ? link.name : defaultNetworkName, shown];
      }
      const more = {
        IPAMConfig: network.isAddressAsked ? { IPv4Address: link.address } : null,
        Aliases: network.aliases,
        NetworkID: network.id,
        DNSNames: namesOf(config, network.aliases),
      };
      return [network.name, { ...shown, ...more }];
    }),
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
