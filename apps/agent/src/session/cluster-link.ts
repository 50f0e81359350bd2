/**
 * Everything a node does as a member of its cluster: the session, the network program and the tasks it was given.
 * Made once the node has an identity.
 */
import type { ImageStore, PeerSource } from '#libs/images';
import type { NodeConfig, NodeDescription } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { session } from '#libs/rpc';
import type { ContainerRuntime } from '#libs/runtime';
import type { NodeEvents } from '../engine/events/node-events.js';
import type { IdentityKeeper } from '../node/identity.js';
import type { Log } from '#libs/log';
import { StatsSampler } from '../node/stats-sampler.js';
import type { KnownManagers } from '../swarm/known-managers.js';
import type { TaskVolumes } from '../tasks/ports.js';
import { TaskRecords } from '../tasks/task-records.js';
import { TaskWorker } from '../tasks/task-worker.js';
import { AssignmentSet } from './assignment-set.js';
import { NetworkSync } from './network-sync.js';
import { SessionClient, type NodeStanding } from './session-client.js';

export interface ClusterLinkOptions {
  config: NodeConfig;
  identity: IdentityKeeper;
  managers: KnownManagers;
  description: NodeDescription;
  runtime: ContainerRuntime;
  images: ImageStore;
  network: NodeNetwork;
  volumes: TaskVolumes;
  events: NodeEvents;
  sessionBegun(): void;
  onStanding(standing: NodeStanding): void;
  nowMs(): number;
  fraction(): number;
  log: Log;
}

export class ClusterLink {
  readonly #options: ClusterLinkOptions;
  readonly #set = new AssignmentSet();
  readonly #sync: NetworkSync;
  readonly #worker: TaskWorker;
  readonly #session: SessionClient;
  readonly #stats: StatsSampler;
  #stops: (() => void)[] = [];

  constructor(options: ClusterLinkOptions) {
    this.#options = options;
    const { config, identity, description, runtime, images, network, log } = options;
    const { nodeId } = identity.identity.identity;
    this.#sync = new NetworkSync({
      network,
      self: nodeId,
      applied: (generation) => this.#session.applied(generation),
      log,
    });
    this.#worker = new TaskWorker({
      node: { id: nodeId, hostname: config.nodeName, ...description.platform },
      runtime,
      images,
      network,
      volumes: options.volumes,
      peersFor: (reference) => this.peersFor(reference),
      networkSettled: () => this.#sync.settled(),
      isBalanced: (serviceId) => {
        const endpoint = this.#set.tables.balance.get(serviceId)?.endpoint;
        return endpoint !== undefined && endpoint.ports.length + endpoint.virtualIps.length > 0;
      },
      payload: (kind, id) => this.#set.tables[kind].get(id),
      records: new TaskRecords({ stateDir: config.stateDir, log }),
      report: (report, isStep) => this.#session.report(report, isStep),
      nowMs: () => options.nowMs(),
      log,
    });
    this.#session = new SessionClient({
      managers: options.managers,
      identity: () => identity.identity,
      address: config.address,
      enginePort: config.enginePort,
      ...(config.dataPathAddress === undefined ? {} : { dataPathAddress: config.dataPathAddress }),
      describe: () => description,
      appliedGeneration: () => this.#sync.generation,
      statuses: () => this.#worker.reports(),
      images: () => imageEntries(images),
      onAssignment: (delta) => {
        const changed = this.#set.apply(delta);
        this.#sync.update(this.#set, changed);
        if (changed.has('task') || changed.has('revision')) {
          this.#worker.assign({ tasks: this.#set.tables.task, revisions: this.#set.tables.revision });
        }
      },
      onStanding: (standing) => options.onStanding(standing),
      onUnknownTasks: (taskIds) => taskIds.forEach((taskId) => this.#worker.forget(taskId)),
      onConnection: (connected) => {
        log('info', connected ? 'session begun' : 'session ended');
        if (connected) options.sessionBegun();
      },
      nowMs: () => options.nowMs(),
      fraction: () => options.fraction(),
      log,
    });
    this.#stats = new StatsSampler({
      nodeId,
      runtime,
      publish: (samples) => this.#session.publishStats(samples),
      log,
    });
  }

  start(): void {
    const { images, events } = this.#options;
    this.#worker.start();
    this.#stops = [
      images.watch(() => this.#session.imagesChanged()),
      events.watch((event) => this.#session.publishEvent(event)),
    ];
    this.#stats.start();
    this.#session.start();
  }

  /** A manager says that it leads now. */
  leaderIs(address: string): void {
    this.#session.leaderIs(address);
  }

  /** The certificate or the trusted root of this node is another one now. */
  tlsChanged(): void {
    this.#session.tlsChanged();
  }

  /** Tells the leader that this node leaves for good. */
  farewell(): Promise<void> {
    return this.#session.farewell();
  }

  /** Leaves the cluster's sight; containers and the kernel's network stay as they are. */
  stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#stats.stop();
    this.#session.stop();
    this.#worker.close();
    this.#sync.close();
  }

  /** Nodes that hold an image, as sources to fetch it from. */
  async peersFor(reference: string): Promise<PeerSource[]> {
    const { keyPem, certificatePem, rootCertificatePem } = this.#options.identity.identity;
    const locations = await this.#session.locateImage(reference);
    return locations.map(({ nodeId, address, enginePort }) => ({
      baseUrl: `https://${address}:${enginePort}`,
      tls: { ca: rootCertificatePem, cert: certificatePem, key: keyPem, servername: nodeId },
    }));
  }
}

function imageEntries(images: ImageStore): session.ImageEntry[] {
  return images.list().map((image) => ({
    id: image.id,
    references: [...image.tags, ...image.repoDigests, `manifest@${image.manifestDigest}`],
  }));
}
