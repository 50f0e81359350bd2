/** A network program as the balancer's: addresses and ports with their backends. Pure. */
import type { BalancerProgram, PublishedPort, VirtualAddress } from '#libs/balancer';
import type { BalanceItem, EndpointItem, NetworkId } from '#libs/model';
import type { LocalPort, LocalProgram, NetworkProgram, NodeNetworkOptions } from '../port.js';
import { containerPrefix, nodeMacAddress, overlayPrefix, peerMark } from './names.js';

function addressOn(endpoint: EndpointItem, networkId: NetworkId): string | undefined {
  return endpoint.networks.find((network) => network.networkId === networkId)?.address;
}

function present(addresses: readonly (string | undefined)[]): string[] {
  return addresses.filter((address): address is string => address !== undefined).sort();
}

/** Published connections go straight to a task's first address; which of its networks that is makes no difference. */
function publishedPorts(item: BalanceItem, live: readonly EndpointItem[], self: string): PublishedPort[] {
  const ports: PublishedPort[] = [];
  for (const port of item.endpoint.ports) {
    const hostMode = port.PublishMode === 'host';
    const endpoints = hostMode ? live.filter((endpoint) => endpoint.nodeId === self) : live;
    const backends = present(endpoints.map((endpoint) => endpoint.networks[0]?.address));
    // A host port exists only where the task is; elsewhere the port is the node's own.
    if (hostMode && backends.length === 0) continue;
    const { Protocol: protocol, PublishedPort: publishedPort, TargetPort: targetPort } = port;
    if (publishedPort === 0) continue;
    ports.push({ protocol, publishedPort, targetPort, backends });
  }
  return ports;
}

function localPort({ protocol, hostAddress, hostPort, address, port }: LocalPort): PublishedPort {
  return {
    protocol,
    publishedPort: hostPort,
    targetPort: port,
    backends: [address],
    ...(hostAddress === undefined ? {} : { address: hostAddress }),
  };
}

export function balancerProgramOf(
  program: NetworkProgram,
  options: Pick<NodeNetworkOptions, 'tag' | 'linkLocalGateway' | 'markBase' | 'address'>,
  withdrawn: ReadonlySet<string>,
  local: LocalProgram & { bridge?: string | undefined } = { networks: [], endpoints: [] },
): BalancerProgram {
  const virtualAddresses: VirtualAddress[] = [];
  const ports = new Map<string, PublishedPort>();
  const localBackends = new Set<string>();
  const known = new Set<string>(program.networks.map((network) => network.id));
  const balance = [...program.balance].sort((a, b) => (a.id < b.id ? -1 : 1));
  for (const item of balance) {
    const live = item.endpoints.filter((endpoint) => !withdrawn.has(endpoint.taskId));
    for (const { networkId, address } of item.endpoint.virtualIps) {
      if (!known.has(networkId)) continue;
      const backends = present(live.map((endpoint) => addressOn(endpoint, networkId)));
      virtualAddresses.push({ serviceId: item.id, networkId, address, backends });
    }
    for (const port of publishedPorts(item, live, program.self)) {
      const key = `${port.protocol}/${port.publishedPort}`;
      // Two services with one port are refused when they are made; should it happen, the older id keeps it.
      if (!ports.has(key)) ports.set(key, port);
    }
    for (const endpoint of live) {
      if (endpoint.nodeId !== program.self) continue;
      for (const { address } of endpoint.networks) localBackends.add(address);
    }
  }
  for (const { ports: own } of local.endpoints) {
    for (const port of own) {
      const key = `${port.hostAddress ?? ''}/${port.protocol}/${port.hostPort}`;
      const shared = `${port.protocol}/${port.hostPort}`;
      if (!ports.has(port.hostAddress === undefined ? shared : key)) {
        ports.set(port.hostAddress === undefined ? shared : key, localPort(port));
      }
      localBackends.add(port.address);
    }
  }
  return {
    tag: options.tag,
    generation: program.generation,
    address: options.address,
    linkLocalGateway: options.linkLocalGateway,
    markBase: options.markBase,
    dataPathPort: program.settings.dataPathPort,
    devicePrefix: { overlay: overlayPrefix(options.tag), container: containerPrefix(options.tag) },
    localNetworks: [
      ...(local.bridge === undefined ? [] : [{ subnet: local.bridge, internal: false }]),
      ...local.networks.map(({ subnet, internal }) => ({ subnet, internal })),
    ],
    networks: program.networks.map(({ subnet, internal }) => ({ subnet, internal })),
    peers: program.peers
      .filter((peer) => peer.id !== program.self)
      .map((peer) => ({
        address: peer.address,
        ...(peer.advertisedAddress === undefined ? {} : { advertisedAddress: peer.advertisedAddress }),
        macAddress: nodeMacAddress(peer.index),
        mark: peerMark(options.markBase, peer.index),
      })),
    virtualAddresses,
    publishedPorts: [...ports.values()],
    localBackends: [...localBackends].sort(),
  };
}

/** Every address that was a backend before and is none now. */
export function vanishedBackends(previous: BalancerProgram | undefined, next: BalancerProgram): Set<string> {
  const backends = (program: BalancerProgram): Set<string> =>
    new Set([...program.virtualAddresses, ...program.publishedPorts].flatMap((entry) => [...entry.backends]));
  const gone = previous ? backends(previous) : new Set<string>();
  for (const address of backends(next)) gone.delete(address);
  return gone;
}
