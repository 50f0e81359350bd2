/** The node's network: brings the kernel to what the newest program says, and answers questions about it. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildRuleset, diffRulesets, readGeneration, removalScript, tableName } from '#libs/balancer';
import type { BalancerProgram, Ruleset } from '#libs/balancer';
import { EnxameError } from '#libs/model';
import type { ContainerInterface, NetworkId, TaskNetwork } from '#libs/model';
import { DnsServer } from '../dns/dns-server.js';
import { Zone } from '../dns/zone.js';
import type {
  LocalInterfaceRequest,
  LocalProgram,
  NetworkProgram,
  NodeNetwork,
  NodeNetworkOptions,
  ServicePort,
} from '../port.js';
import { balancerProgramOf, vanishedBackends } from './balancer-program.js';
import { mustRun, runCommand } from './command.js';
import { ConnectionTable } from './connection-table.js';
import { desiredKernelState, emptyKernelState } from './desired-state.js';
import type { KernelState } from './desired-state.js';
import { chooseAddress, findLocalSubnet, LocalNetwork } from './local-network.js';
import { containerDevice } from './names.js';
import { containerDevices, readKernelState, underlayMtu } from './observed-state.js';
import { makeDefault, plug, unplug } from './plug.js';
import { diffKernelStates, forwardingRemovals } from './reconcile.js';
import { NftShell } from './nft-shell.js';
import { SingleRouteTable } from './single-routes.js';
import { applySysctls, prepareOverlayDevice, restoreSysctls } from './sysctls.js';

const dnsPort = 53;
/** VXLAN over IPv4: outer Ethernet 14, IP 20, UDP 8, VXLAN 8. */
const overlayOverheadBytes = 50;
const tagPattern = /^[a-z0-9]{1,8}$/;
const programFile = 'program.json';
const scriptFile = 'balancer.nft';
/** Many programs may come in a row; only the last is worth the disk's time. */
const saveDelayMs = 300;
const auditIntervalMs = 15_000;
/** The longest that additions wait for company. */
const restMsMax = 100;
/** Containers whose addresses are remembered before the cluster lists them; the oldest are forgotten first. */
const rememberedAddressesMax = 10_000;

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

class KernelNodeNetwork implements NodeNetwork {
  private readonly dns: DnsServer;
  private readonly local: LocalNetwork;
  private readonly connections = new ConnectionTable();
  private readonly nft = new NftShell();
  private readonly singleRoutes = new SingleRouteTable();
  private readonly networksByAddress = new Map<string, string[]>();
  /** Tasks whose endpoint is dead although the leader does not know it yet. */
  private readonly withdrawn = new Set<string>();
  private program: NetworkProgram | undefined;
  private localProgram: LocalProgram = { networks: [], endpoints: [] };
  /** Tasks that are endpoints in `program`. */
  private endpoints: ReadonlySet<string> = new Set();
  /** What the kernel has for certain; absent after a failure or at the start, and then everything is set anew. */
  private kernel: KernelState | undefined;
  private balancer: { program: BalancerProgram; ruleset: Ruleset } | undefined;
  private containerMtu = 1500 - overlayOverheadBytes;
  private pending: Waiter[] = [];
  private working: Promise<void> | undefined;
  /** How long the last change of the kernel took, and when it was done. */
  private last = { tookMs: 0, endedAtMs: 0 };
  /** Something is to leave the balancer: no rest before that. */
  private isUrgent = false;
  private endRest: (() => void) | undefined;
  private saving: Promise<void> = Promise.resolve();
  private saveTimer: NodeJS.Timeout | undefined;
  private auditTimer: NodeJS.Timeout | undefined;
  private closed = false;
  private address: string;
  private readonly nodeAddresses: string[];

  constructor(private readonly options: NodeNetworkOptions) {
    if (!tagPattern.test(options.tag)) {
      throw new EnxameError('invalid-argument', 'network tag: 1 to 8 characters of a-z and 0-9');
    }
    if ((options.markBase & 0xfff) !== 0) {
      throw new EnxameError('invalid-argument', 'network markBase: the low 12 bits must be zero');
    }
    this.address = options.address;
    this.nodeAddresses = [options.linkLocalGateway, options.address, '127.0.0.1'];
    this.local = new LocalNetwork(options);
    this.dns = new DnsServer({
      address: options.linkLocalGateway,
      port: dnsPort,
      upstreams: options.dnsUpstreams,
      networksOf: (address) => this.networksByAddress.get(address),
      nodeAddresses: this.nodeAddresses,
    });
  }

  async start(): Promise<void> {
    this.closed = false;
    await mkdir(this.options.stateDir, { recursive: true });
    await applySysctls(this.options.stateDir);
    // Scope link: the address is never chosen as the source of anything but answers to it.
    await mustRun('ip', [
      'addr',
      'replace',
      `${this.options.linkLocalGateway}/32`,
      'dev',
      'lo',
      'scope',
      'link',
    ]);
    this.containerMtu = (await underlayMtu(this.options.address)) - overlayOverheadBytes;
    await this.restoreSavedProgram();
    await this.dns.start();
    // A failed look is repeated at the next turn; a failed repair shows again in the next program's apply.
    this.auditTimer = setInterval(() => void this.audit().catch(() => undefined), auditIntervalMs);
    this.auditTimer.unref();
  }

  useAddress(address: string, advertisedAddress = address): void {
    const own = [this.options.linkLocalGateway, '127.0.0.1', ...new Set([address, advertisedAddress])];
    this.nodeAddresses.splice(0, this.nodeAddresses.length, ...own);
    this.address = address;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.hurry();
    clearInterval(this.auditTimer);
    await this.working?.catch(() => undefined);
    if (this.saveTimer) this.saveSoon();
    await this.saving;
    await this.connections.forgetDatagrams(new Set()).catch(() => undefined);
    this.nft.close();
    await this.dns.close();
  }

  async destroy(): Promise<void> {
    await this.close();
    const { tag, markBase, stateDir, linkLocalGateway } = this.options;
    // Through a pipe: the state folder may be gone already and is not to come back.
    await this.pipeNft(removalScript(tag));
    await this.local.destroy();
    const left = await readKernelState(tag, markBase);
    const changes = diffKernelStates(left, emptyKernelState(), false);
    const lines = [
      ...changes.removeIp,
      ...(await containerDevices(tag)).map((device) => `link del ${device}`),
    ];
    if (lines.length > 0) await runCommand('ip', ['-force', '-batch', '-'], `${lines.join('\n')}\n`);
    await runCommand('ip', ['addr', 'del', `${linkLocalGateway}/32`, 'dev', 'lo']);
    // Another cluster in this namespace still needs the settings; whoever leaves last restores its own.
    if (!(await this.othersShareNamespace())) await restoreSysctls(stateDir);
    for (const file of [programFile, 'balancer.nft', 'destroy.nft'])
      await rm(join(stateDir, file), { force: true });
    this.program = undefined;
    this.kernel = undefined;
    this.balancer = undefined;
  }

  apply(program: NetworkProgram): Promise<void> {
    // A task never runs again once it is dead, so it stays withdrawn until the leader's own list lacks it.
    const endpoints = new Set(
      program.balance.flatMap((item) => item.endpoints.map((endpoint) => endpoint.taskId as string)),
    );
    for (const taskId of this.withdrawn) if (!endpoints.has(taskId)) this.withdrawn.delete(taskId);
    for (const taskId of this.endpoints) {
      if (endpoints.has(taskId)) continue;
      this.hurry();
      break;
    }
    this.endpoints = endpoints;
    this.program = program;
    return this.enqueue();
  }

  applyLocal(program: LocalProgram): Promise<void> {
    this.localProgram = program;
    // A port that was given up must not lead to whoever has the address next.
    this.hurry();
    return this.program === undefined ? Promise.resolve() : this.enqueue();
  }

  findSubnet(wanted?: string): Promise<string> {
    const { settings, networks } = this.program ?? { settings: { addressPools: [] }, networks: [] };
    return findLocalSubnet(wanted, [
      ...settings.addressPools,
      ...[...networks, ...this.localProgram.networks].map((network) => network.subnet),
      ...(this.local.subnet === undefined ? [] : [this.local.subnet]),
    ]);
  }

  withdraw(taskId: string): Promise<void> {
    const known = this.program?.balance.some((item) =>
      item.endpoints.some((endpoint) => endpoint.taskId === taskId),
    );
    if (!known) return Promise.resolve();
    this.withdrawn.add(taskId);
    this.hurry();
    return this.enqueue();
  }

  interfacesFor(request: { containerId: string; networks: readonly TaskNetwork[] }): ContainerInterface[] {
    const items = request.networks.map(({ networkId, address }) => {
      const item = this.program?.networks.find((network) => network.id === networkId);
      if (!item) throw new EnxameError('unavailable', `network ${networkId} has not reached this node yet`);
      return { item, address };
    });
    // An internal network leads nowhere, so the default route prefers another.
    const defaultIndex = Math.max(
      0,
      items.findIndex(({ item }) => !item.internal),
    );
    const networkIds = request.networks.map((network) => network.networkId as string);
    for (const { address } of request.networks) this.remember(address, networkIds);
    return items.map(({ item, address }, index) => ({
      name: `eth${index}`,
      hostName: containerDevice(this.options.tag, request.containerId, index),
      address,
      gateway: this.options.linkLocalGateway,
      subnet: item.subnet,
      defaultRoute: index === defaultIndex,
      mtu: this.containerMtu,
    }));
  }

  localSubnet(): string | undefined {
    return this.local.subnet;
  }

  localInterface(request: LocalInterfaceRequest): ContainerInterface {
    const { network, index = 0 } = request;
    // Until the balancer's rules are there the node would send a container's packets out as they are.
    if (this.balancer === undefined) {
      throw new EnxameError('unavailable', "this node's own network is not there before the cluster's");
    }
    const subnet = network?.subnet ?? this.local.subnet;
    if (subnet === undefined) {
      throw new EnxameError('resource-exhausted', "no private subnet is free for this node's own network");
    }
    return {
      name: `eth${index}`,
      hostName: containerDevice(this.options.tag, request.containerId, index),
      address: chooseAddress(subnet, request),
      gateway: this.options.linkLocalGateway,
      subnet,
      defaultRoute: index === 0,
      mtu: this.containerMtu,
    };
  }

  plug(pid: number, link: ContainerInterface): Promise<void> {
    return plug(pid, link);
  }

  async unplug(pid: number, link: ContainerInterface, nextDefault?: ContainerInterface): Promise<void> {
    await unplug(link);
    if (nextDefault) await makeDefault(pid, nextDefault);
  }

  activeConnections(address: string, idleMs: number): Promise<number> {
    return this.connections.countActive(address, idleMs);
  }

  nameservers(): string[] {
    return [this.options.linkLocalGateway];
  }

  networkName(id: NetworkId): string | undefined {
    return this.program?.networks.find((network) => network.id === id)?.name;
  }

  publishedPorts(): ServicePort[] {
    const { balance = [], self } = this.program ?? {};
    return balance.flatMap(({ id, endpoint, endpoints }) =>
      endpoint.ports.flatMap((port) => {
        const isHostMode = port.PublishMode === 'host';
        if (port.PublishedPort === 0 || (isHostMode && !endpoints.some(({ nodeId }) => nodeId === self)))
          return [];
        const { Protocol: protocol, PublishedPort: publishedPort, TargetPort: targetPort } = port;
        return [{ serviceId: id, protocol, publishedPort, targetPort, isHostMode }];
      }),
    );
  }

  private remember(address: string, networkIds: string[]): void {
    this.networksByAddress.delete(address);
    this.networksByAddress.set(address, networkIds);
    if (this.networksByAddress.size <= rememberedAddressesMax) return;
    for (const oldest of this.networksByAddress.keys()) {
      this.networksByAddress.delete(oldest);
      break;
    }
  }

  /** Resolves when the kernel has the state of now or a newer one. */
  private enqueue(): Promise<void> {
    if (this.closed)
      return Promise.reject(new EnxameError('unavailable', 'the network of this node is closed'));
    const done = new Promise<void>((resolve, reject) => this.pending.push({ resolve, reject }));
    this.working ??= this.work().finally(() => {
      this.working = undefined;
    });
    return done;
  }

  private async work(): Promise<void> {
    while (this.pending.length > 0) {
      await this.rest();
      const waiters = this.pending;
      this.pending = [];
      this.isUrgent = false;
      const startedAtMs = performance.now();
      try {
        await this.bringKernelWhole();
        for (const waiter of waiters) waiter.resolve();
      } catch (error) {
        for (const waiter of waiters) waiter.reject(error);
      }
      const endedAtMs = performance.now();
      this.last = { tookMs: endedAtMs - startedAtMs, endedAtMs };
    }
  }

  /**
   * A hundred tasks that start make a hundred programs. Half of the time at most goes to them, so that the tasks they
   * are about get the other half; one that comes alone does not wait, nor does an endpoint that leaves.
   */
  private async rest(): Promise<void> {
    const { tookMs, endedAtMs } = this.last;
    const restMs = Math.min(tookMs, restMsMax) - (performance.now() - endedAtMs);
    if (this.isUrgent || restMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, restMs);
      this.endRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.endRest = undefined;
  }

  private hurry(): void {
    this.isUrgent = true;
    this.endRest?.();
  }

  /** A delta fails when someone else changed our objects; setting everything anew makes up for that. */
  private async bringKernelWhole(): Promise<void> {
    const delta = this.kernel !== undefined;
    try {
      await this.bringKernel();
    } catch (error) {
      this.kernel = undefined;
      this.balancer = undefined;
      if (!delta) throw error;
      try {
        await this.bringKernel();
      } catch (second) {
        this.kernel = undefined;
        this.balancer = undefined;
        throw second;
      }
    }
  }

  /** Restarting a firewall service flushes every table, ours too; nobody tells us, so we look. */
  private async audit(): Promise<void> {
    if (!this.balancer || this.working || this.closed) return;
    const { generation, tag } = this.balancer.program;
    const { stdout } = await runCommand('nft', ['-j', 'list', 'set', 'ip', tableName(tag), 'generation']);
    // Per network namespace, unlike /sys/class/net, which shows the namespace it was mounted in.
    const devices = [...(this.kernel?.devices.keys() ?? [])];
    const whole = devices.every((device) => existsSync(`/proc/sys/net/ipv4/conf/${device}`));
    if (whole && readGeneration(stdout) === generation) return;
    // A program that came meanwhile has set the kernel anew or is about to.
    if (this.balancer?.program.generation !== generation || this.working) return;
    this.kernel = undefined;
    this.balancer = undefined;
    await this.enqueue();
  }

  private async bringKernel(): Promise<void> {
    const program = this.program;
    if (!program) return;
    const { tag, markBase } = this.options;
    const { address } = this;
    const fresh = this.kernel === undefined;
    await this.local.claim([
      ...program.settings.addressPools,
      ...program.networks.map((network) => network.subnet),
      ...this.localProgram.networks.map((network) => network.subnet),
    ]);
    const observed = this.kernel ?? (await readKernelState(tag, markBase));
    const wanted = desiredKernelState(program, {
      tag,
      markBase,
      address,
      mtu: this.containerMtu,
      local: this.localProgram.networks,
      singleRoutes: this.singleRoutes.update(program, Date.now()),
    });
    const changes = diffKernelStates(observed, wanted, fresh);
    const failures = await this.runBatch('ip', changes.addIp);
    for (const device of changes.newDevices) await prepareOverlayDevice(device);
    failures.push(...(await this.runBatch('bridge', changes.addBridge)));
    const balancer = balancerProgramOf(program, this.options, this.withdrawn, {
      ...this.localProgram,
      bridge: this.local.subnet,
    });
    const ruleset = buildRuleset(balancer);
    const script = diffRulesets(this.balancer?.ruleset, ruleset);
    if (script !== '') await this.runNft(script);
    // A failure leaves what there was before: flows that end when their client pauses.
    void this.connections
      .forgetDatagrams(vanishedBackends(this.balancer?.program, balancer))
      .catch(() => undefined);
    // The balancer comes first: a route that cannot be set must not keep dead endpoints in it.
    if (failures.length > 0) throw new EnxameError('internal', failures.join('; '));
    this.kernel = wanted;
    // An empty script leaves the kernel with the generation it has.
    if (script !== '' || !this.balancer) this.balancer = { program: balancer, ruleset };
    await this.removeObjects(changes.removeIp, forwardingRemovals(observed, wanted));
    const { localProgram } = this;
    this.dns.setZone(() => new Zone(this.withoutWithdrawn(program), localProgram));
    this.saveTimer ??= setTimeout(() => this.saveSoon(), saveDelayMs).unref();
  }

  private withoutWithdrawn(program: NetworkProgram): NetworkProgram {
    if (this.withdrawn.size === 0) return program;
    const balance = program.balance.map((item) => ({
      ...item,
      endpoints: item.endpoints.filter((endpoint) => !this.withdrawn.has(endpoint.taskId)),
    }));
    return { ...program, balance };
  }

  /** Runs every line, whatever becomes of the others; gives the tool's complaints. */
  private async runBatch(program: 'ip' | 'bridge', lines: readonly string[]): Promise<string[]> {
    if (lines.length === 0) return [];
    const { code, stderr } = await runCommand(program, ['-force', '-batch', '-'], `${lines.join('\n')}\n`);
    return code === 0 ? [] : [`${program} -batch failed: ${stderr || `exit code ${code}`}`];
  }

  /** What is to go may be gone already, taken along by a device or by someone else; that is no failure. */
  private async removeObjects(ipLines: readonly string[], bridgeLines: readonly string[]): Promise<void> {
    if (ipLines.length > 0) await runCommand('ip', ['-force', '-batch', '-'], `${ipLines.join('\n')}\n`);
    if (bridgeLines.length > 0) {
      await runCommand('bridge', ['-force', '-batch', '-'], `${bridgeLines.join('\n')}\n`);
    }
  }

  /**
   * nft takes a file. When the disk has no room for one, `cat` makes a pipe of it, since nft cannot open the socket pair
   * that Node gives a child as standard input: a full disk must not keep dead endpoints in the balancer.
   */
  private async runNft(script: string): Promise<void> {
    const file = join(this.options.stateDir, scriptFile);
    try {
      await mkdir(this.options.stateDir, { recursive: true });
      await writeFile(file, script);
    } catch {
      return this.pipeNft(script);
    }
    await this.nft.run(file);
  }

  private async pipeNft(script: string): Promise<void> {
    await mustRun('sh', ['-c', 'cat | nft -f -'], script);
  }

  /** Only a node's own table holds a generation; other tables may share the name's beginning. */
  private async othersShareNamespace(): Promise<boolean> {
    const { stdout } = await runCommand('nft', ['-j', 'list', 'sets', 'ip']);
    return /"name": ?"generation", ?"table": ?"enxame_/.test(stdout);
  }

  /** A copy for the next start: names and routes are right before the leader is heard again. */
  private saveSoon(): void {
    clearTimeout(this.saveTimer);
    this.saveTimer = undefined;
    this.saving = this.saving.then(() => this.saveProgram());
  }

  private async saveProgram(): Promise<void> {
    if (!this.program) return;
    const file = join(this.options.stateDir, programFile);
    try {
      await writeFile(`${file}.new`, JSON.stringify(this.program));
      await rename(`${file}.new`, file);
    } catch {
      // On a full disk an older copy is the best there is; the leader's next program makes up for it.
      await rm(`${file}.new`, { force: true });
    }
  }

  private async restoreSavedProgram(): Promise<void> {
    const file = join(this.options.stateDir, programFile);
    try {
      await this.apply(JSON.parse(await readFile(file, 'utf8')) as NetworkProgram);
    } catch {
      // No copy, a damaged one, or one that no longer fits this machine: the leader sends the program anyway, and if
      // the kernel refuses that one too, its caller hears why.
      this.program = undefined;
    }
  }
}

/** One per node. `start()` before anything else; `destroy()` may be called on its own to clean up after a crash. */
export function createNodeNetwork(options: NodeNetworkOptions): NodeNetwork {
  return new KernelNodeNetwork(options);
}
