/**
 * How one subnet is cut up. A large subnet is made of blocks: the first holds the gateway and the services' virtual
 * addresses, the others are handed to nodes one by one, so that other nodes need one route per node and network.
 * A small subnet has no blocks; its addresses are given out singly.
 */
import { contains, formatPrefix, parsePrefix, prefixAt } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';

/** Subnets longer than this have too few addresses for a block per node. */
const blockedSubnetLengthMax = 20;
const blockLengthMin = 24;

/** Prefix length of a subnet's blocks: 256 of them where that leaves at least 16 addresses each. */
export function blockLength(subnet: Prefix): number | undefined {
  if (subnet.length > blockedSubnetLengthMax) return undefined;
  return Math.max(blockLengthMin, subnet.length + 8);
}

/**
 * A free address of the range, probing linearly from a place the hash chooses: an address that was just freed is
 * then rarely the next one given out, and late packets for its old owner find nobody.
 * The first and last address of a range are left out; some software takes them for network and broadcast.
 */
export function probe(range: Prefix, hash: number, isFree: (address: number) => boolean): number | undefined {
  const usable = range.size - 2;
  if (usable <= 0) return undefined;
  for (let step = 0; step < usable; step++) {
    const address = range.base + 1 + ((hash + step) % usable);
    if (isFree(address)) return address;
  }
  return undefined;
}

/** The subnet's own gateway address, which the API shows; nothing else may have it. */
export function gatewayOf(subnet: Prefix): number {
  return subnet.base + 1;
}

/** The ranges where virtual addresses live, best first: the first block, then those taken from the far end. */
export function* virtualIpRanges(subnet: Prefix, blocks: ReadonlySet<string>): Generator<Prefix> {
  const length = blockLength(subnet);
  if (length === undefined) {
    yield subnet;
    return;
  }
  yield prefixAt(subnet.base, length);
  // Nodes take blocks from the low end, so both meet only when the subnet is full.
  const size = 2 ** (32 - length);
  for (let base = subnet.base + subnet.size - size; base > subnet.base; base -= size) {
    const range: Prefix = { base, length, size };
    if (blocks.has(formatPrefix(range))) return;
    yield range;
  }
}

/** The lowest block that no node has and that holds no virtual address. */
export function freeBlock(
  subnet: Prefix,
  blocks: ReadonlySet<string>,
  virtualIps: readonly number[],
): Prefix | undefined {
  const length = blockLength(subnet);
  if (length === undefined) return undefined;
  const size = 2 ** (32 - length);
  for (let base = subnet.base + size; base < subnet.base + subnet.size; base += size) {
    const block: Prefix = { base, length, size };
    if (blocks.has(formatPrefix(block))) continue;
    if (virtualIps.some((address) => contains(block, address))) continue;
    return block;
  }
  return undefined;
}

export function blocksTaken(blocks: Readonly<Record<string, readonly string[]>>): Set<string> {
  return new Set(Object.values(blocks).flat());
}

/** A stored prefix; the store holds only what this library wrote, so anything else is a programming error. */
export function storedPrefix(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (!prefix) throw new Error(`stored prefix ${text} is not IPv4 CIDR`);
  return prefix;
}
