/**
 * One node's agent, put together: the engine that serves the Docker API, and the node's part in a cluster while it
 * has one. Construct, then `start()`, then `stop()`.
 */
import type { Route } from '#libs/docker-api';
import type { ImageStore } from '#libs/images';
import type { NodeConfig } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import type { Telemetry } from '#libs/telemetry';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { NodeEvents } from './engine/events/node-events.js';
import { createFrontDoor, type FrontDoor } from './engine/front-door/index.js';
import { engineRoutes, type Engine } from './engine/engine.js';
import { existingContainer } from './engine/containers/container-lookup.js';
import { attachmentRoutes } from './engine/networks/attachment-routes.js';
import { networkRoutes } from './engine/networks/network-routes.js';
import type { Log } from '#libs/log';
import type { ManagerProcess } from './node/manager-process.js';
import { shutdownRoute, stopAllContainers } from './node/shutdown.js';
import { leaderRoute } from './session/leader-route.js';
import { ClusterMember } from './swarm/cluster-member.js';
import { KnownManagers } from './swarm/known-managers.js';
import { ManagerApi } from './swarm/manager-api.js';
import { memberConfig, type SwarmState } from './swarm/swarm-file.js';
import { Swarm } from './swarm/swarm.js';
import { clearWorkload, idleProgram } from './swarm/workload.js';

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
  readonly #swarm: Swarm;
  #ending: Promise<void> | undefined;

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    const { config, runtime, images, network, manager, telemetry, log } = options;
    this.#events = new NodeEvents({
      nodeId: () => this.#swarm.member?.nodeId,
      runtime,
      images,
      telemetry,
      nowMs: () => options.nowMs(),
    });
    this.#engine = engineRoutes({
      ...options,
      stateDir: config.stateDir,
      networkDir: join(config.stateDir, 'network'),
      notify: (notice) => this.#events.notice(notice),
      peersFor: (reference) => this.#swarm.link?.peersFor(reference) ?? Promise.resolve([]),
    });
    const privateRoutes: Route[] = [shutdownRoute((how) => this.#end(how))];
    this.#frontDoor = createFrontDoor({
      config,
      routes: [...this.#engine.routes, ...privateRoutes],
      peerRoutes: [...this.#engine.peerRoutes, leaderRoute((address) => this.#swarm.link?.leaderIs(address))],
      local: this.#engine.local,
      swarm: {
        init: (request) => this.#swarm.init(request),
        join: (request) => this.#swarm.join(request),
        leave: (force) => this.#swarm.leave(force),
      },
      status: () => this.#swarm.status(),
      counts: () => this.#engine.counts(),
      networkRoutes: (forward) => [
        ...attachmentRoutes({
          networks: this.#engine.networks.list,
          containers: this.#engine.networks.containers,
          findContainer: (reference) => existingContainer(runtime, reference),
          notify: (notice) => this.#events.notice(notice),
        }),
        ...networkRoutes({
          config,
          startedAtMs: options.nowMs(),
          forward,
          network,
          networks: this.#engine.networks.list,
          containers: this.#engine.networks.containers,
          notify: (notice) => this.#events.notice(notice),
          nowMs: () => options.nowMs(),
        }),
      ],
      telemetry,
      nowMs: () => options.nowMs(),
      log: (error, what) => log('error', what, { error }),
    });
    this.#swarm = new Swarm({
      config,
      manager,
      managerApi: new ManagerApi(config.managerSocket),
      member: (state, how) => this.#member(state, how),
      interfaces: () => networkInterfaces(),
      useAddress: (address, advertised) => network.useAddress(address, advertised),
      closeEnginePort: () => this.#frontDoor.closeEnginePort(),
      clearWorkload: () => clearWorkload({ runtime, network, log }),
      log,
    });
  }

  /** The runtime has started. Resolves when the node's API answers; it comes to its cluster after that. */
  async start(): Promise<void> {
    const { config, network, images, volumes, telemetry, log } = this.#options;
    this.#engine.startNetworks();
    await Promise.all([images.start(), volumes.start(), telemetry.start(), network.start()]);
    this.#events.start();
    this.#engine.start();
    this.#swarm.start();
    // Without a cluster nobody sends a program, and containers need the node's own network all the same.
    if (this.#swarm.status().state === 'inactive') await network.apply(idleProgram());
    await this.#frontDoor.start();
    log('info', 'agent started', { socket: config.apiSocket });
  }

  /** Resolves when the node is back in its cluster, or has waited long enough for it. */
  async firstSession(waitMsMax: number): Promise<void> {
    const { member } = this.#swarm;
    if (member === undefined) return;
    const signal = AbortSignal.any([member.inSession, this.#stopping.signal]);
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

  #member(state: SwarmState, how: { joinWaitMsMax?: number }): ClusterMember {
    const { config, fraction } = this.#options;
    const own = { nodeId: '', address: `${state.address}:${state.clusterPort}` };
    return new ClusterMember({
      ...this.#options,
      ...how,
      config: memberConfig(config, state),
      managers: new KnownManagers(state.managers.length > 0 ? state.managers : [own], fraction()),
      events: this.#events,
      volumes: this.#engine.taskVolumes,
      useIdentity: (identity) => this.#frontDoor.useIdentity(identity),
      keepManagers: (peers) => this.#swarm.keepManagers([...peers]),
    });
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
    this.#swarm.stop();
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
