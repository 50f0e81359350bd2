/** What the kernel is to do for the node's own networks: a picture of them and of the containers that run. Pure. */
import type { ContainerConfig } from '#libs/runtime';
import type { LocalEndpoint, LocalProgram } from '#libs/network';
import type { LocalNetworkRecord } from './local-networks.js';

const shortIdLength = 12;

export function localProgramOf(
  networks: readonly LocalNetworkRecord[],
  running: readonly ContainerConfig[],
): LocalProgram {
  return {
    networks: networks.map(({ id, subnet, gateway, internal }) => ({ id, subnet, gateway, internal })),
    endpoints: running.flatMap((config) => endpointOf(config) ?? []),
  };
}

function endpointOf(config: ContainerConfig): LocalEndpoint | undefined {
  const { interfaces, ports = [] } = config.network;
  // Names are answered in networks that users made; on the node's own `bridge` Docker has none either.
  const addresses = interfaces.flatMap(({ address, network }) =>
    network === undefined
      ? []
      : [{ networkId: network.id, address, names: namesOf(config, network.aliases) }],
  );
  const target = interfaces.find(({ defaultRoute }) => defaultRoute) ?? interfaces[0];
  if (addresses.length === 0 && (ports.length === 0 || target === undefined)) return undefined;
  return {
    addresses,
    asksFrom: interfaces.map(({ address }) => address),
    ports: ports.flatMap(({ protocol, containerPort, hostAddress, hostPort }) =>
      target === undefined
        ? []
        : [
            {
              protocol,
              hostPort,
              address: target.address,
              port: containerPort,
              ...(hostAddress === undefined ? {} : { hostAddress }),
            },
          ],
    ),
  };
}

export function namesOf(config: ContainerConfig, aliases: readonly string[]): string[] {
  return [...new Set([config.name, ...aliases, config.id.slice(0, shortIdLength), config.hostname])];
}
