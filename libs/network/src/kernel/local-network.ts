/**
 * The node's own network, for containers outside services: Docker's `bridge`. Its subnet is routed on this node only,
 * so every node may use the same one; what leaves the node wears the node's address.
 *
 * The claim on a subnet is a route of its own in the kernel: other clusters of this machine, and Docker itself, see
 * it and choose another, and an address nobody has is unreachable instead of going to the default route.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EnxameError } from '#libs/model';
import { hash32 } from '../hash.js';
import { contains, formatIpv4, formatPrefix, overlap, parseIpv4, parsePrefix, prefixAt } from '../ipv4.js';
import type { Prefix } from '../ipv4.js';
import { gatewayOf, probe } from '../allocation/address-plan.js';
import type { LocalInterfaceRequest } from '../port.js';
import { mustRun, runCommand } from './command.js';

const file = 'local-subnet';
const attemptsMax = 8;

/** Docker's own choice for networks of one machine, in its order. */
export function* localSubnets(): Generator<Prefix> {
  for (let second = 17; second < 32; second++) yield prefixAt(ipv4(172, second, 0), 16);
  for (let third = 0; third < 256; third += 16) yield prefixAt(ipv4(192, 168, third), 20);
}

function ipv4(first: number, second: number, third: number): number {
  return ((first * 256 + second) * 256 + third) * 256;
}

/** The remembered subnet if nothing else has it, else the first that is free. Pure. */
export function chooseLocalSubnet(
  remembered: Prefix | undefined,
  taken: readonly Prefix[],
): Prefix | undefined {
  const isFree = (candidate: Prefix): boolean => !taken.some((other) => overlap(candidate, other));
  if (remembered && isFree(remembered)) return remembered;
  for (const candidate of localSubnets()) if (isFree(candidate)) return candidate;
  return undefined;
}

/** An address of the subnet for this container; the same container gets the same one as long as it is free. */
export function localAddress(
  subnet: string,
  containerId: string,
  taken: Pick<ReadonlySet<string>, 'has'>,
): string | undefined {
  const range = parsePrefix(subnet);
  if (!range) return undefined;
  const gateway = gatewayOf(range);
  const address = probe(
    range,
    hash32(containerId),
    (candidate) => candidate !== gateway && !taken.has(formatIpv4(candidate)),
  );
  return address === undefined ? undefined : formatIpv4(address);
}

/** The address a container asked for, or one of its own. Throws in Docker's words. */
export function chooseAddress(subnet: string, request: LocalInterfaceRequest): string {
  const { containerId, network, taken, wanted } = request;
  if (wanted === undefined) {
    const used = {
      has: (address: string): boolean => address === network?.gateway || taken.has(address),
    };
    const address = localAddress(subnet, containerId, used);
    if (address !== undefined) return address;
    throw new EnxameError(
      'resource-exhausted',
      `no available IPv4 addresses on this network's address pool: ${subnet}`,
    );
  }
  const range = parsePrefix(subnet);
  const value = parseIpv4(wanted);
  if (value === undefined) throw new EnxameError('invalid-argument', `invalid IPv4 address: ${wanted}`);
  if (!range || !contains(range, value)) {
    throw new EnxameError('invalid-argument', `no configured subnet contains IP address ${wanted}`);
  }
  if (taken.has(wanted) || wanted === network?.gateway) {
    throw new EnxameError('conflict', 'Address already in use');
  }
  return wanted;
}

/** See `NodeNetwork.findSubnet`; `avoid` is what is promised but perhaps not routed yet. */
export async function findLocalSubnet(wanted: string | undefined, avoid: readonly string[]): Promise<string> {
  const text = await mustRun('ip', ['-j', '-4', 'route', 'show', 'table', 'all']);
  const taken = avoid.flatMap((subnet) => parsePrefix(subnet) ?? []);
  for (const { dst = '' } of JSON.parse(text || '[]') as RouteJson[]) {
    const prefix = dst.includes('/') ? parsePrefix(dst) : hostPrefix(dst);
    if (prefix && prefix.length > 0) taken.push(prefix);
  }
  const asked = wanted === undefined ? undefined : parsePrefix(wanted);
  if (wanted !== undefined && asked === undefined)
    throw new EnxameError('invalid-argument', `invalid subnet ${wanted}: not an IPv4 CIDR`);
  const chosen = asked ?? chooseLocalSubnet(undefined, taken);
  if (chosen === undefined) {
    throw new EnxameError('resource-exhausted', 'all predefined address pools have been fully subnetted');
  }
  if (taken.some((other) => overlap(chosen, other)))
    throw new EnxameError(
      'forbidden',
      'invalid pool request: Pool overlaps with other one on this address space',
    );
  return formatPrefix(chosen);
}

interface RouteJson {
  type?: string;
  dst?: string;
  metric?: number;
}

export class LocalNetwork {
  #subnet: Prefix | undefined;

  /** `markBase` is unlike any other node's in this namespace, so it marks this node's claim. */
  constructor(private readonly options: { stateDir: string; markBase: number }) {}

  /** CIDR, once there is one. */
  get subnet(): string | undefined {
    return this.#subnet && formatPrefix(this.#subnet);
  }

  /**
   * Makes sure of a subnet that nothing on this node and none of `avoid` overlaps; there is none when all are taken.
   * Containers that were attached before it had to change keep their addresses.
   */
  async claim(avoid: readonly string[]): Promise<void> {
    const prefixes = avoid.flatMap((text) => parsePrefix(text) ?? []);
    const own = this.#subnet;
    if (own && !prefixes.some((prefix) => overlap(prefix, own))) return;
    const remembered = own ?? (await this.#remembered());
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const { others, claims } = await this.#readRoutes();
      const chosen = chooseLocalSubnet(remembered, [...prefixes, ...others]);
      if (!chosen) return this.#giveUp(claims);
      for (const claim of claims) if (claim !== formatPrefix(chosen)) await this.#release(claim);
      if (!claims.includes(formatPrefix(chosen)) && !(await this.#take(chosen))) continue;
      await this.#remember(chosen);
      this.#subnet = chosen;
      return;
    }
  }

  async #giveUp(claims: readonly string[]): Promise<void> {
    for (const claim of claims) await this.#release(claim);
    this.#subnet = undefined;
  }

  /** Gives the subnet back. */
  async destroy(): Promise<void> {
    const { claims } = await this.#readRoutes();
    for (const claim of claims) await this.#release(claim);
    await rm(join(this.options.stateDir, file), { force: true });
    this.#subnet = undefined;
  }

  async #remembered(): Promise<Prefix | undefined> {
    try {
      return parsePrefix((await readFile(join(this.options.stateDir, file), 'utf8')).trim());
    } catch {
      // The first start, or a copy that was lost: then the first free subnet is as good as any.
      return undefined;
    }
  }

  async #remember(subnet: Prefix): Promise<void> {
    const path = join(this.options.stateDir, file);
    try {
      await mkdir(this.options.stateDir, { recursive: true });
      await writeFile(`${path}.new`, `${formatPrefix(subnet)}\n`);
      await rename(`${path}.new`, path);
    } catch {
      // On a full disk the kernel's route is the memory until the machine restarts.
      await rm(`${path}.new`, { force: true });
    }
  }

  async #readRoutes(): Promise<{ others: Prefix[]; claims: string[] }> {
    const text = await mustRun('ip', ['-j', '-4', 'route', 'show', 'table', 'all']);
    const others: Prefix[] = [];
    const claims: string[] = [];
    for (const { type, dst = '', metric } of JSON.parse(text || '[]') as RouteJson[]) {
      const prefix = dst.includes('/') ? parsePrefix(dst) : hostPrefix(dst);
      if (!prefix || prefix.length === 0) continue;
      if (type === 'unreachable' && metric === this.options.markBase) claims.push(formatPrefix(prefix));
      else others.push(prefix);
    }
    // Containers of this node's own network have routes inside the claim; they are no reason to give it up.
    const held = claims.flatMap((claim) => parsePrefix(claim) ?? []);
    return {
      others: others.filter(
        (other) => other.length < 32 || !held.some((claim) => contains(claim, other.base)),
      ),
      claims,
    };
  }

  /** False when another has taken it since the routes were read. */
  async #take(subnet: Prefix): Promise<boolean> {
    const { code } = await runCommand('ip', ['route', 'add', ...this.#route(formatPrefix(subnet))]);
    if (code !== 0) return false;
    const { others } = await this.#readRoutes();
    if (!others.some((other) => other.length < 32 && overlap(other, subnet))) return true;
    await this.#release(formatPrefix(subnet));
    return false;
  }

  /** It may be gone already. */
  async #release(subnet: string): Promise<void> {
    await runCommand('ip', ['route', 'del', ...this.#route(subnet)]);
  }

  #route(subnet: string): string[] {
    return ['unreachable', subnet, 'metric', String(this.options.markBase)];
  }
}

function hostPrefix(text: string): Prefix | undefined {
  const address = parseIpv4(text);
  return address === undefined ? undefined : prefixAt(address, 32);
}
