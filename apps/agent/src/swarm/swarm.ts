/**
 * `docker swarm init`, `join` and `leave` on this node, one at a time. What the node becomes is on disk before it
 * acts on it, so that a restart at any moment goes on with it.
 */
import { EnxameError, isEnxameError, type NodeConfig } from '#libs/model';
import { parseJoinToken } from '#libs/pki';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeStatus } from '../engine/system/node-status.js';
import { notInSwarm } from '../node/identity.js';
import type { Log } from '#libs/log';
import type { ManagerProcess } from '../node/manager-process.js';
import { readManagerFailure } from '../node/manager-socket.js';
import type { ClusterLink } from '../session/cluster-link.js';
import {
  ipv4AddressesOf,
  parseRemoteAddress,
  resolveClusterAddress,
  resolveDataPathAddress,
  type Interfaces,
} from './addresses.js';
import { removeManagerState, type ClusterMember } from './cluster-member.js';
import { leaveWarning } from './leave-words.js';
import type { ManagerApi } from './manager-api.js';
import { readSwarmState, writeSwarmState, type SwarmState } from './swarm-file.js';
import { dataPathPort, subnetSizes, type SwarmInitDto, type SwarmJoinDto } from './swarm-requests.dto.js';

export interface SwarmOptions {
  config: NodeConfig;
  manager: ManagerProcess;
  managerApi: ManagerApi;
  /** The node's life in a cluster, not begun yet. */
  member(state: SwarmState, options: { joinWaitMsMax?: number }): ClusterMember;
  interfaces(): Interfaces;
  /** The node's network is to use this underlay address. */
  useAddress(address: string, advertisedAddress?: string): void;
  /** Closes the engine port for other nodes. */
  closeEnginePort(): Promise<void>;
  /** Removes what the cluster has put on this node: the containers of its tasks and its networks. */
  clearWorkload(): Promise<void>;
  log: Log;
}

/** Docker's own patience with `swarm init` and `join`; the joining goes on after it. */
const readyWaitMs = 20_000;
const unreachableWaitMs = 5_000;
const defaults = { addressPools: ['10.0.0.0/8'], subnetSize: 24, dataPathPort: 4789 } as const;

const alreadyIn =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const notManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const locked =
  'Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.';
const joinGoesOn =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.';

export class Swarm {
  readonly #options: SwarmOptions;
  #state: SwarmState;
  #member: ClusterMember | undefined;
  /** One verb at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.#state = readSwarmState(options.config);
  }

  /** Goes on with what the node has become, or does as its configuration says. */
  start(): void {
    if (this.#state.membership.kind === 'none') return;
    this.#followAddress();
    this.#begin({}).catch(() => undefined);
  }

  /** A node whose machine has got another address comes back to its cluster under the one it is configured with. */
  #followAddress(): void {
    const { config, interfaces, log } = this.#options;
    const own = ipv4AddressesOf(interfaces());
    const { address, dataPathAddress, ...state } = this.#state;
    if (dataPathAddress !== undefined && !own.includes(dataPathAddress) && own.length > 0) {
      log('warn', 'this node does not have its data path address any more', { address: dataPathAddress });
      this.#keep({ ...state, address });
    }
    if (own.includes(address) || !own.includes(config.address)) return;
    log('warn', 'this node has another address now', { before: address, now: config.address });
    this.#keep({ ...this.#state, address: config.address });
  }

  get link(): ClusterLink | undefined {
    return this.#member?.link;
  }

  get member(): ClusterMember | undefined {
    return this.#member;
  }

  status(): NodeStatus {
    return this.#member?.status() ?? { state: 'inactive', managers: [] };
  }

  /** Ends the processes' part; the node stays what it is. */
  stop(): void {
    this.#member?.stop();
  }

  /** Resolves with the id of this node. */
  init(request: SwarmInitDto): Promise<string> {
    return this.#inTurn(async () => {
      if (request.ForceNewCluster === true) return this.#forceNewCluster(request);
      this.#requireInactive();
      const membership = initMembership(request);
      const { address, port, dataPath } = this.#clusterAddress(request);
      await this.#come({ membership, address, clusterPort: port, managers: [], ...dataPath }, {});
      try {
        await this.#options.managerApi.adjust(request);
      } catch (error) {
        // A cluster that is not as it was asked for is not made.
        await this.#leave();
        throw error;
      }
      return this.status().nodeId ?? '';
    });
  }

  join(request: SwarmJoinDto): Promise<void> {
    return this.#inTurn(async () => {
      this.#requireInactive();
      parseJoinToken(request.JoinToken);
      const remoteAddresses = request.RemoteAddrs.map(parseRemoteAddress);
      const { address, port, dataPath } = this.#clusterAddress(request);
      if (remoteAddresses.includes(`${address}:${port}`)) {
        throw new EnxameError(
          'invalid-argument',
          `invalid remoteAddr "${address}:${port}": this is the node itself`,
        );
      }
      await this.#come(
        {
          membership: {
            kind: 'join',
            token: request.JoinToken,
            remoteAddresses,
            ...(request.Availability ? { availability: request.Availability } : {}),
          },
          address,
          clusterPort: port,
          ...dataPath,
          managers: remoteAddresses.map((remote) => ({ nodeId: '', address: remote })),
        },
        { joinWaitMsMax: unreachableWaitMs },
      );
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#inTurn(async () => {
      const { state, role } = this.status();
      if (state === 'inactive') throw new EnxameError('not-manager', notInSwarm);
      if (state === 'locked' && !force) throw new EnxameError('not-manager', locked);
      if (role === 'manager' && !force) {
        throw new EnxameError('not-manager', leaveWarning(await this.#options.managerApi.countManagers()));
      }
      if (role === 'manager' && state === 'active') await this.#options.managerApi.resign(this.status());
      await this.#leave();
    });
  }

  #inTurn<T>(verb: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(verb);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #requireInactive(): void {
    if (this.#member !== undefined) throw new EnxameError('not-manager', alreadyIn);
  }

  #clusterAddress(
    request: SwarmInitDto | SwarmJoinDto,
    usual = this.#options.config.address,
  ): { address: string; port: number; dataPath: Pick<SwarmState, 'dataPathAddress'> } {
    const { config, interfaces } = this.#options;
    const chosen = resolveClusterAddress(
      { listen: request.ListenAddr ?? '', advertise: request.AdvertiseAddr ?? '' },
      { address: usual, interfaces: interfaces() },
    );
    if (chosen.port === config.enginePort) {
      throw new EnxameError('invalid-argument', `port ${chosen.port} is this node's engine port`);
    }
    const dataPathAddress = resolveDataPathAddress(request.DataPathAddr ?? '', {
      address: chosen.address,
      interfaces: interfaces(),
    });
    return { ...chosen, dataPath: dataPathAddress === undefined ? {} : { dataPathAddress } };
  }

  /** Becomes a member, or stays what it was when that cannot be. */
  async #come(state: SwarmState, options: { joinWaitMsMax?: number }): Promise<void> {
    this.#keep(state);
    try {
      await withDeadline(this.#begin(options), readyWaitMs, joinGoesOn);
    } catch (error) {
      const isLate = isEnxameError(error) && error.message === joinGoesOn;
      const failure = isLate ? readManagerFailure(this.#options.config) : undefined;
      if (isLate && failure === undefined) throw error;
      await this.#leave();
      throw failure === undefined
        ? error
        : new EnxameError(failure.code, `this node's manager cannot start: ${failure.message}`);
    }
  }

  #begin(options: { joinWaitMsMax?: number }): Promise<void> {
    const state = this.#state;
    this.#options.useAddress(state.dataPathAddress ?? state.address, state.address);
    const member = this.#options.member(state, options);
    this.#member = member;
    return member.start();
  }

  #keep(state: SwarmState): void {
    writeSwarmState(this.#options.config.stateDir, state);
    this.#state = state;
  }

  keepManagers(managers: SwarmState['managers']): void {
    this.#keep({ ...this.#state, managers });
  }

  async #leave(): Promise<void> {
    const { config, manager, log } = this.#options;
    const member = this.#member;
    // From here on a restart finds a node without a cluster, whatever else is still there.
    this.#keep({
      membership: { kind: 'none' },
      address: config.address,
      clusterPort: config.clusterPort,
      managers: [],
    });
    await member?.leave();
    await manager.stop();
    await this.#options.closeEnginePort();
    await this.#options.clearWorkload();
    removeManagerState(config.stateDir);
    for (const name of ['certificates', 'tasks']) {
      rmSync(join(config.stateDir, name), { recursive: true, force: true });
    }
    this.#member = undefined;
    this.#options.useAddress(config.address);
    log('info', 'this node has left its cluster');
  }

  /**
   * After the loss of a majority for good: this manager goes on alone, with all that its log holds, at the address
   * it is given now. A restart in between goes on with it, too.
   */
  async #forceNewCluster(request: SwarmInitDto): Promise<string> {
    const { manager } = this.#options;
    if (this.status().role !== 'manager') throw new EnxameError('not-manager', notManager);
    const { address, port, dataPath } = this.#clusterAddress(request, this.#state.address);
    const before = this.#member;
    before?.stop();
    await manager.stop();
    this.#keep({
      ...this.#state,
      address,
      clusterPort: port,
      ...dataPath,
      managers: [],
      forceNewCluster: true,
    });
    await withDeadline(this.#begin({}), readyWaitMs, joinGoesOn);
    const { forceNewCluster: _done, ...state } = this.#state;
    this.#keep(state);
    this.#member?.forcedOnce();
    await this.#options.managerApi.adjust(request);
    return this.status().nodeId ?? '';
  }
}

function initMembership(request: SwarmInitDto): NodeConfig['membership'] {
  const port = request.DataPathPort || defaults.dataPathPort;
  if (port < dataPathPort.first) {
    throw new EnxameError(
      'invalid-argument',
      `invalid DataPathPort: must be from ${dataPathPort.first} to ${dataPathPort.last}`,
    );
  }
  const pools = request.DefaultAddrPool ?? [];
  const subnetSize = request.SubnetSize || defaults.subnetSize;
  if (subnetSize < subnetSizes.first) {
    throw new EnxameError(
      'invalid-argument',
      `invalid SubnetSize: must be from ${subnetSizes.first} to ${subnetSizes.last}`,
    );
  }
  for (const pool of pools) checkPool(pool, subnetSize);
  return {
    kind: 'init',
    addressPools: pools.length > 0 ? pools : [...defaults.addressPools],
    subnetSize,
    dataPathPort: port,
  };
}

function checkPool(pool: string, subnetSize: number): void {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(pool);
  const numbers = match?.slice(1).map(Number) ?? [];
  const [length = 33] = numbers.slice(4);
  if (numbers.length !== 5 || numbers.slice(0, 4).some((part) => part > 255) || length > 32) {
    throw new EnxameError('invalid-argument', `invalid DefaultAddrPool: ${pool} is not an IPv4 CIDR`);
  }
  if (length > subnetSize) {
    throw new EnxameError(
      'invalid-argument',
      `invalid DefaultAddrPool: ${pool} is smaller than SubnetSize ${subnetSize}`,
    );
  }
}

async function withDeadline(work: Promise<void>, waitMs: number, words: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new EnxameError('unavailable', words)), waitMs);
  });
  // What fails after the deadline shows in the node's status.
  work.catch(() => undefined);
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
