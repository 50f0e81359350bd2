/**
 * Networks and ports of containers outside services. A container's own record is the memory of its addresses and
 * ports: it outlives the agent, and they are free once the record is gone. Only between the choice and the record are
 * they kept here.
 */
import { describeError, EnxameError, type ContainerId, type ContainerInterface } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type {
  ContainerConfig,
  ContainerPort,
  ContainerRuntime,
  ContainerState,
  RuntimeEvent,
} from '#libs/runtime';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { LocalNetworkRecord, LocalNetworks } from './local-networks.js';
import { localProgramOf } from './local-program.js';
import { TakenAddresses } from './taken-addresses.js';
import { collide, portsOf, type PortRequest } from './port-bindings.js';

export const defaultNetworkName = 'bridge';

export interface ContainerNetworksOptions {
  runtime: Pick<ContainerRuntime, 'get' | 'list' | 'update' | 'watch'>;
  network: Pick<
    NodeNetwork,
    'applyLocal' | 'localInterface' | 'nameservers' | 'plug' | 'publishedPorts' | 'unplug'
  >;
  networks: LocalNetworks;
  log(error: unknown, what: string): void;
}

/** One network a container is to be on. */
export interface AttachRequest {
  /** Name or id. */
  network: string;
  aliases: readonly string[];
  address?: string;
}

/** The node's own network goes under two names. */
export function isDefaultNetwork(name: string): boolean {
  return name === 'default' || name === defaultNetworkName;
}

export class ContainerNetworks {
  readonly #options: ContainerNetworksOptions;
  readonly #taken = new TakenAddresses();
  readonly #chosenPorts = new Map<ContainerId, ContainerPort[]>();
  /** Their ports and names are there before their first process runs. */
  readonly #starting = new Map<ContainerId, ContainerConfig>();
  /** What the kernel was last brought to, or is being brought to. */
  #applied: { program: string; done: Promise<void> } | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: ContainerNetworksOptions) {
    this.#options = options;
  }

  /** The runtime knows its containers; the node's network has not started. */
  start(): void {
    this.#unwatch = this.#options.runtime.watch((event) => {
      if (event.type === 'create' || event.type === 'update') this.#noteAddresses(event.id);
      if (event.type === 'destroy') this.#taken.delete(event.id);
      if (this.#changesKernel(event)) this.#refresh();
    });
    for (const { config } of this.#options.runtime.list()) this.#noteAddresses(config.id);
    this.#refresh();
  }

  stop(): void {
    this.#unwatch?.();
  }

  /** Brings the kernel to what is there now. Most containers change nothing of it, and cost it nothing. */
  apply(): Promise<void> {
    const program = localProgramOf(this.#options.networks.list(), this.#running());
    const text = JSON.stringify(program);
    if (this.#applied?.program === text) return this.#applied.done;
    const applied = { program: text, done: this.#options.network.applyLocal(program) };
    this.#applied = applied;
    applied.done.catch(() => {
      if (this.#applied === applied) this.#applied = undefined;
    });
    return applied.done;
  }

  attach(
    id: ContainerId,
    requests: readonly AttachRequest[],
  ): { interfaces: ContainerInterface[]; nameservers: string[] } {
    const { network } = this.#options;
    const interfaces = requests.map((request, index) =>
      this.#linkFor(id, request, { taken: this.#taken, index }),
    );
    this.#taken.set(
      id,
      interfaces.map(({ address }) => address),
    );
    return { interfaces, nameservers: network.nameservers() };
  }

  #linkFor(
    id: ContainerId,
    request: AttachRequest,
    place: { taken: Pick<ReadonlySet<string>, 'has'>; index: number },
  ): ContainerInterface {
    const { network, networks } = this.#options;
    if (isDefaultNetwork(request.network)) {
      if (request.address !== undefined) {
        throw new EnxameError(
          'invalid-argument',
          'invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only',
        );
      }
      return network.localInterface({ containerId: id, ...place });
    }
    const record = networks.find(request.network);
    if (record === undefined) {
      // Not `not-found`: clients take that for the image, and go and pull it.
      throw new EnxameError('invalid-argument', `network ${request.network} not found`);
    }
    const { id: networkId, name, subnet, gateway, internal } = record;
    return {
      ...network.localInterface({
        containerId: id,
        ...place,
        network: { id: networkId, subnet, gateway, internal },
        ...(request.address === undefined ? {} : { wanted: request.address }),
      }),
      network: {
        id: networkId,
        name,
        aliases: [...request.aliases],
        isAddressAsked: request.address !== undefined,
      },
    };
  }

  /** Puts a container on one more network, running or not. */
  async connect(state: ContainerState, request: AttachRequest): Promise<void> {
    const { config, pid } = state;
    const { runtime, network } = this.#options;
    requireOwnNetwork(config);
    const { interfaces } = config.network;
    const networkId = isDefaultNetwork(request.network)
      ? undefined
      : this.#options.networks.find(request.network)?.id;
    if (interfaces.some((link) => link.network?.id === networkId)) {
      throw new EnxameError(
        'forbidden',
        `endpoint with name ${config.name} already exists in network ${request.network}`,
      );
    }
    const used = new Set(interfaces.map(({ name }) => name));
    let index = 0;
    while (used.has(`eth${index}`)) index++;
    const link = {
      ...this.#linkFor(config.id, request, { taken: this.#taken, index }),
      defaultRoute: interfaces.length === 0,
    };
    this.#taken.set(config.id, [...interfaces.map(({ address }) => address), link.address]);
    try {
      if (pid !== 0) await network.plug(pid, link);
      await runtime.update(config.id, { network: { ...config.network, interfaces: [...interfaces, link] } });
    } finally {
      this.settled(config.id);
    }
    await this.apply();
  }

  /** Takes a container off a network. */
  async disconnect(state: ContainerState, networkName: string): Promise<void> {
    const { config, pid } = state;
    const { runtime, network, networks } = this.#options;
    requireOwnNetwork(config);
    const networkId = isDefaultNetwork(networkName) ? undefined : networks.find(networkName)?.id;
    const { interfaces } = config.network;
    const leaving = interfaces.find((link) => link.network?.id === networkId);
    if (leaving === undefined) {
      throw new EnxameError('forbidden', `container ${config.id} is not connected to network ${networkName}`);
    }
    const left = interfaces.filter((link) => link !== leaving);
    const kept = left.map((link, at) =>
      leaving.defaultRoute && at === 0 ? { ...link, defaultRoute: true } : link,
    );
    if (pid !== 0) await network.unplug(pid, leaving, leaving.defaultRoute ? kept[0] : undefined);
    await runtime.update(config.id, { network: { ...config.network, interfaces: kept } });
    await this.apply();
  }

  ports(id: ContainerId, request: PortRequest): ContainerPort[] {
    let known: ContainerPort[] | undefined;
    const ports = portsOf(request, (port) => {
      // Most containers want none, and need no look at all the others.
      known ??= [
        ...[...this.#chosenPorts.values()].flat(),
        ...this.#options.runtime.list().flatMap(({ config }) => config.network.ports ?? []),
      ];
      return known.some((other) => collide(other, port)) || this.#isOfService(port);
    });
    this.#chosenPorts.set(id, ports);
    return ports;
  }

  /** The runtime has the container's record now, or never will. */
  settled(id: ContainerId): void {
    this.#chosenPorts.delete(id);
    this.#noteAddresses(id);
  }

  /** Makes sure of networks and ports, and brings them into the kernel, before the container's first process runs. */
  async beforeStart(config: ContainerConfig): Promise<void> {
    const { interfaces, ports = [] } = config.network;
    for (const { network } of interfaces) {
      if (network !== undefined && this.#options.networks.find(network.id) === undefined) {
        throw new EnxameError('not-found', `network ${network.id} not found`);
      }
    }
    if (ports.length === 0 && interfaces.every(({ network }) => network === undefined)) return;
    for (const port of ports) await this.#requireFree(config, port);
    this.#starting.set(config.id, config);
    await this.apply();
  }

  /** It runs, or it could not be started. */
  afterStart(id: ContainerId): void {
    if (this.#starting.delete(id)) this.#refresh();
  }

  /** Its own ports, and those that its service has on the node of each task. */
  portsShown({ labels, network }: ContainerConfig): ContainerPort[] {
    const serviceId = labels['com.docker.swarm.service.id'];
    if (serviceId === undefined) return network.ports ?? [];
    return this.#options.network
      .publishedPorts()
      .filter((port) => port.serviceId === serviceId && port.isHostMode)
      .map(({ protocol, publishedPort, targetPort }) => ({
        protocol,
        containerPort: targetPort,
        hostPort: publishedPort,
      }));
  }

  /** Containers that run on a network. */
  usersOf(network: LocalNetworkRecord): { config: ContainerConfig; link: ContainerInterface }[] {
    return this.#running().flatMap((config) =>
      config.network.interfaces
        .filter((link) => link.network?.id === network.id)
        .map((link) => ({ config, link })),
    );
  }

  /** The same for the node's own. */
  usersOfBridge(): { config: ContainerConfig; link: ContainerInterface }[] {
    return this.#running().flatMap((config) =>
      'com.docker.swarm.task.id' in config.labels
        ? []
        : config.network.interfaces
            .filter((link) => link.network === undefined)
            .map((link) => ({ config, link })),
    );
  }

  /** What it has now, when it is there. */
  #noteAddresses(id: ContainerId): void {
    const { interfaces } = this.#options.runtime.get(id)?.config.network ?? { interfaces: [] };
    this.#taken.set(
      id,
      interfaces.map(({ address }) => address),
    );
  }

  #running(): ContainerConfig[] {
    const running = new Map(this.#starting);
    for (const { config, phase } of this.#options.runtime.list()) {
      if (phase === 'running') running.set(config.id, config);
    }
    return [...running.values()];
  }

  #isOfService(port: Pick<ContainerPort, 'protocol' | 'hostPort'>): boolean {
    return this.#options.network
      .publishedPorts()
      .some(({ protocol, publishedPort }) => protocol === port.protocol && publishedPort === port.hostPort);
  }

  async #requireFree(config: ContainerConfig, port: ContainerPort): Promise<void> {
    const refusal = (why: string, cause?: unknown): EnxameError =>
      new EnxameError(
        'internal',
        `failed to set up container networking: driver failed programming external connectivity on endpoint ${config.name} (${config.id}): ${why}`,
        { cause },
      );
    const where = `${port.hostAddress ?? '0.0.0.0'}:${port.hostPort}`;
    const others = this.#running().filter(({ id }) => id !== config.id);
    const isHeld = others.some(({ network }) => (network.ports ?? []).some((other) => collide(other, port)));
    if (isHeld || this.#isOfService(port))
      throw refusal(`Bind for ${where} failed: port is already allocated`);
    const failure = await bindFailure(port);
    if (failure !== undefined) {
      throw refusal(`failed to bind host port for ${where}/${port.protocol}: ${failure}`);
    }
  }

  /** Most containers have neither ports nor networks of the user's, and there may be thousands that come and go. */
  #changesKernel({ type, id }: RuntimeEvent): boolean {
    if (type === 'rename' || type === 'update') return true;
    if (type !== 'start' && type !== 'die') return false;
    const state = this.#options.runtime.get(id);
    return state === undefined || localProgramOf([], [state.config]).endpoints.length > 0;
  }

  #refresh(): void {
    this.apply().catch((error: unknown) => {
      this.#options.log(describeError(error), "bring the node's own networks into the kernel");
    });
  }
}

function requireOwnNetwork(config: ContainerConfig): void {
  if (config.namespaces?.network === undefined && config.network.mode === 'routed') return;
  throw new EnxameError(
    'invalid-argument',
    config.network.mode === 'none' && config.namespaces?.network === undefined
      ? 'container cannot be connected to multiple networks with one of the networks in private (none) mode'
      : 'container sharing network namespace with another container or host cannot be connected to any other network',
  );
}

/** Whether a program of the node listens there already: the words, or undefined. */
async function bindFailure({
  protocol,
  hostAddress = '0.0.0.0',
  hostPort,
}: ContainerPort): Promise<string | undefined> {
  if (protocol === 'sctp') return undefined;
  const code = await new Promise<string | undefined>((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => resolve(error.code ?? error.message);
    if (protocol === 'udp') {
      const socket = createSocket('udp4');
      socket.once('error', failed);
      socket.bind({ address: hostAddress, port: hostPort, exclusive: true }, () =>
        socket.close(() => resolve(undefined)),
      );
    } else {
      const server = createServer();
      server.once('error', failed);
      server.listen({ host: hostAddress, port: hostPort, exclusive: true }, () =>
        server.close(() => resolve(undefined)),
      );
    }
  });
  switch (code) {
    case 'EADDRINUSE':
      return 'address already in use';
    case 'EADDRNOTAVAIL':
      return 'cannot assign requested address';
    default:
      return code;
  }
}
