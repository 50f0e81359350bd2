/** Addresses for tasks the scheduler has just placed. */
import { isTerminal } from '#libs/model';
import type { Change, ClusterView, Network, NetworkId, NodeId, Task, TaskId, TaskNetwork } from '#libs/model';
import { hash32 } from '../hash.js';
import { contains, formatIpv4, formatPrefix, parseIpv4 } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';
import { blockLength, blocksTaken, freeBlock, gatewayOf, probe, storedPrefix } from './address-plan.js';
import { networksOfTask } from './attachments.js';

export interface TaskPlacement {
  task: Readonly<Task>;
  nodeId: NodeId;
}

export interface TaskAddresses {
  /** For each task that got all it needs, in the order of its spec. */
  networks: Map<TaskId, TaskNetwork[]>;
  /** Block patches; they belong in the transaction that places the tasks. */
  changes: Change[];
  /** Words for each task that must wait. */
  failures: Map<TaskId, string>;
}

/** One network while addresses are given out. */
class AddressSpace {
  readonly subnet: Prefix;
  readonly used = new Set<number>();
  readonly virtualIps: number[] = [];
  private readonly blocks: Record<NodeId, string[]>;
  private readonly blocksInUse: Set<string>;
  blocksChanged = false;

  constructor(readonly network: Readonly<Network>) {
    this.subnet = storedPrefix(network.subnet ?? '');
    this.used.add(gatewayOf(this.subnet));
    this.blocks = { ...network.blocks };
    this.blocksInUse = blocksTaken(network.blocks);
  }

  private take(range: Prefix, hash: number): number | undefined {
    const address = probe(range, hash, (candidate) => !this.used.has(candidate));
    if (address !== undefined) this.used.add(address);
    return address;
  }

  /** An address on this node, from its blocks, a further block, or the whole of a small subnet. */
  allocate(taskId: TaskId, nodeId: NodeId): number | string {
    const hash = hash32(taskId);
    if (blockLength(this.subnet) === undefined) {
      return this.take(this.subnet, hash) ?? `network ${this.network.spec.Name} has no free address`;
    }
    for (const text of this.blocks[nodeId] ?? []) {
      const address = this.take(storedPrefix(text), hash);
      if (address !== undefined) return address;
    }
    const block = freeBlock(this.subnet, this.blocksInUse, this.virtualIps);
    if (!block) return `network ${this.network.spec.Name} has no free address block`;
    const text = formatPrefix(block);
    this.blocksInUse.add(text);
    this.blocks[nodeId] = [...(this.blocks[nodeId] ?? []), text];
    this.blocksChanged = true;
    return this.take(block, hash) ?? `address block ${text} is full`;
  }

  release(address: number): void {
    this.used.delete(address);
  }

  change(): Change {
    const { id, version } = this.network;
    return { op: 'patch', table: 'networks', id, fields: { blocks: this.blocks }, ifVersion: version };
  }
}

function addressSpaces(view: ClusterView, wanted: ReadonlySet<NetworkId>): Map<NetworkId, AddressSpace> {
  const spaces = new Map<NetworkId, AddressSpace>();
  for (const id of wanted) {
    const network = view.networks.get(id);
    if (network?.subnet !== undefined) spaces.set(id, new AddressSpace(network));
  }
  for (const service of view.services.all()) {
    for (const { networkId, address: text } of service.endpoint?.virtualIps ?? []) {
      const space = spaces.get(networkId);
      const address = parseIpv4(text);
      if (!space || address === undefined || !contains(space.subnet, address)) continue;
      space.used.add(address);
      space.virtualIps.push(address);
    }
  }
  // A task whose container is gone has given its address back; one that may still run has not.
  for (const task of view.tasks.all()) {
    if (isTerminal(task.status.state)) continue;
    for (const { networkId, address: text } of task.networks) {
      const address = parseIpv4(text);
      if (address !== undefined) spaces.get(networkId)?.used.add(address);
    }
  }
  return spaces;
}

/**
 * Addresses for newly placed tasks, one per network, from blocks that belong to their nodes. A node's first task on
 * a network brings it a block; the patch is guarded by the network's version. A task gets all its addresses or none.
 */
export function allocateTaskAddresses(
  view: ClusterView,
  placements: readonly TaskPlacement[],
): TaskAddresses {
  const result: TaskAddresses = { networks: new Map(), changes: [], failures: new Map() };
  const attachments = placements.map((placement) => networksOfTask(view, placement.task));
  const wanted = new Set<NetworkId>();
  for (const entry of attachments) {
    if ('networks' in entry) for (const network of entry.networks) wanted.add(network.id);
  }
  const spaces = addressSpaces(view, wanted);
  for (const [index, { task, nodeId }] of placements.entries()) {
    const entry = attachments[index];
    if (!entry || 'missing' in entry) {
      result.failures.set(task.id, entry?.missing ?? 'networks are unknown');
      continue;
    }
    const given: { space: AddressSpace; address: number }[] = [];
    let failure: string | undefined;
    for (const network of entry.networks) {
      const space = spaces.get(network.id);
      const address = space?.allocate(task.id, nodeId) ?? `network ${network.spec.Name} has no subnet yet`;
      if (!space || typeof address === 'string') {
        failure = String(address);
        break;
      }
      given.push({ space, address });
    }
    if (failure !== undefined) {
      for (const { space, address } of given) space.release(address);
      result.failures.set(task.id, failure);
      continue;
    }
    result.networks.set(
      task.id,
      given.map(({ space, address }) => ({ networkId: space.network.id, address: formatIpv4(address) })),
    );
  }
  for (const space of spaces.values()) if (space.blocksChanged) result.changes.push(space.change());
  return result;
}
