/**
 * One node's agent, put together: the engine that serves the Docker API, and, once the node has an identity, its
 * link to the cluster. Construct, then `start()`, then `stop()` or `shutDown()`.
 */
import type { Route } from '#libs/docker-api';
import type { ImageStore } from '#libs/images';
import type { NodeConfig, NodeId } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import { readNodeIdentity } from '#libs/pki';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import type { Telemetry } from '#libs/telemetry';
import { NodeEvents } from './engine/events/node-events.js';
import { createFrontDoor, type FrontDoor } from './engine/front-door/index.js';
import { engineRoutes, type Engine } from './engine/engine.js';
import type { NodeStatus } from './engine/system/node-status.js';
import { productVersion } from './engine/system/product.js';
import { describeNode } from './node/description.js';
import { IdentityKeeper, managerAddresses, obtainIdentity } from './node/identity.js';
import type { Log } from './node/log.js';
import type { ManagerProcess } from './node/manager-process.js';
import { shutdownRoute, stopAllContainers } from './node/shutdown.js';
import { ClusterLink } from './session/cluster-link.js';

export interface NodeAgentOptions {
  config: NodeConfig;
  runtime: ContainerRuntime;
  images: ImageStore;
  network: NodeNetwork;
  volumes: VolumeStore;
  /** This node's own events, in process. */
  telemetry: Telemetry;
  /** Where this node may have a manager; it is started only when the node's role says so. */
  manager: ManagerProcess;
  nowMs(): number;
  /** In [0, 1). */
  fraction(): number;
  log: Log;
  /** The process is to end: everything has been stopped, or nothing can be done. */
  exit(code: number): void;
}

export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #events: NodeEvents;
  readonly #engine: Engine;
  readonly #frontDoor: FrontDoor;
  readonly #stopping = new AbortController();
  /** Aborts when the first session has begun. */
  readonly #inSession = new AbortController();
  #keeper: IdentityKeeper | undefined;
  #link: ClusterLink | undefined;
  #joinError: string | undefined;
  #ending: Promise<void> | undefined;

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    const { config, runtime, images, telemetry, log } = options;
    this.#events = new NodeEvents({ nodeId: () => this.#nodeId(), runtime, images, telemetry });
    this.#engine = engineRoutes({
      ...options,
      peersFor: (reference) => this.#link?.peersFor(reference) ?? Promise.resolve([]),
    });
    const privateRoutes: Route[] = [shutdownRoute((how) => this.#end(how))];
    this.#frontDoor = createFrontDoor({
      config,
      routes: [...this.#engine.routes, ...privateRoutes],
      peerRoutes: this.#engine.peerRoutes,
      local: this.#engine.local,
      status: () => this.#status(),
      counts: () => this.#engine.counts(),
      localSubnet: () => options.network.localSubnet(),
      telemetry,
      nowMs: () => options.nowMs(),
      log: (error, what) => log('error', what, { error }),
    });
  }

  /** The runtime has started. Resolves when the node's API answers; it comes to its cluster after that. */
  async start(): Promise<void> {
    const { config, network, images, volumes, telemetry, manager, log } = this.#options;
    await Promise.all([images.start(), volumes.start(), telemetry.start(), network.start()]);
    this.#events.start();
    this.#engine.start();
    if (this.#managesCluster()) manager.start();
    await this.#frontDoor.start();
    log('info', 'agent started', { socket: config.apiSocket });
    void this.#comeToCluster();
  }

  /** Resolves when the node is back in its cluster, or has waited long enough for it. */
  async firstSession(waitMsMax: number): Promise<void> {
    const signal = AbortSignal.any([this.#inSession.signal, this.#stopping.signal]);
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMsMax);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Ends the processes of this node; containers keep running and the kernel keeps balancing. */
  async stop(): Promise<void> {
    await this.#end({ stopContainers: false });
  }

  async #comeToCluster(): Promise<void> {
    const { config, nowMs, fraction, log } = this.#options;
    const options = { config, nowMs: () => nowMs(), fraction: () => fraction(), log };
    try {
      const identity = await obtainIdentity(options, this.#stopping.signal);
      const keeper = new IdentityKeeper(options, identity, (renewed) => {
        const { clusterId } = renewed.identity;
        this.#frontDoor
          .useIdentity({ ...renewed, clusterId })
          .catch((error: unknown) => log('error', 'the engine port keeps its old certificate', { error }));
      });
      await this.#frontDoor.useIdentity({ ...identity, clusterId: identity.identity.clusterId });
      keeper.start();
      this.#keeper = keeper;
      this.#link = new ClusterLink({
        ...this.#options,
        identity: keeper,
        description: describeNode(config, productVersion),
        events: this.#events,
        volumes: this.#engine.taskVolumes,
        sessionBegun: () => this.#inSession.abort(),
      });
      this.#link.start();
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      this.#joinError = error instanceof Error ? error.message : String(error);
      log('error', 'this node cannot come to its cluster', { error });
    }
  }

  /** By its certificate once it has one; before, a node that is to make the cluster does. */
  #managesCluster(): boolean {
    const { config } = this.#options;
    const identity = readNodeIdentity(config.stateDir);
    return identity ? identity.identity.role === 'manager' : config.membership.kind === 'init';
  }

  #nodeId(): NodeId | undefined {
    return this.#keeper?.identity.identity.nodeId;
  }

  #status(): NodeStatus {
    const identity = this.#keeper?.identity.identity;
    const addresses = managerAddresses(this.#options.config);
    const own = `${this.#options.config.address}:${this.#options.config.clusterPort}`;
    const managers = addresses.map((address) => ({
      nodeId: identity && address === own ? identity.nodeId : '',
      address,
    }));
    if (identity) return { state: 'active', nodeId: identity.nodeId, role: identity.role, managers };
    if (this.#joinError !== undefined) return { state: 'error', error: this.#joinError, managers };
    const role = this.#options.config.membership.kind === 'init' ? 'manager' : 'worker';
    return { state: 'pending', role, managers };
  }

  /** Once, whoever asks first: a second request waits for the first. */
  #end(how: { stopContainers: boolean }): Promise<void> {
    this.#ending ??= this.#endOnce(how);
    return this.#ending;
  }

  async #endOnce(how: { stopContainers: boolean }): Promise<void> {
    const { runtime, network, manager, telemetry, log, exit } = this.#options;
    log('info', 'stopping', how);
    this.#stopping.abort();
    this.#keeper?.stop();
    this.#link?.stop();
    this.#events.stop();
    this.#engine.stop();
    const attempt = async (what: string, action: () => Promise<unknown>): Promise<void> => {
      try {
        await action();
      } catch (error) {
        log('error', `${what} failed`, { error });
      }
    };
    await attempt('stopping the manager', () => manager.stop());
    if (how.stopContainers) {
      await attempt('stopping containers', () => stopAllContainers(runtime, log));
      await attempt('removing the network', () => network.destroy());
      await attempt('ending the launcher', () => runtime.shutDown());
    } else {
      await attempt('closing the network', () => network.close());
      await attempt('closing the runtime', () => runtime.close());
    }
    await attempt('closing telemetry', () => telemetry.close());
    // The request that asked for this is answered first; the process ends when it has been.
    setImmediate(() => {
      this.#frontDoor.close().then(
        () => exit(0),
        () => exit(1),
      );
    });
  }
}
