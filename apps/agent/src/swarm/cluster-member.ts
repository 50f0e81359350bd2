/**
 * A node's life in a cluster, from its first certificate on: the session, the engine port for the other nodes, and
 * the manager process for as long as the node's certificate says manager.
 */
import { describeError, managerLockedFile, type NodeConfig, type NodeId } from '#libs/model';
import { readStoredIdentity, storageKeysFile, type NodeIdentity, type NodeRole } from '#libs/pki';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { productVersion } from '../engine/system/product.js';
import type { EngineIdentity } from '../engine/front-door/peer.js';
import type { NodeStatus } from '../engine/system/node-status.js';
import { describeNode } from '../node/description.js';
import { IdentityKeeper, obtainIdentity, type ObtainedIdentity } from '../node/identity.js';
import type { ManagerProcess } from '../node/manager-process.js';
import { ClusterLink, type ClusterLinkOptions } from '../session/cluster-link.js';
import type { NodeStanding } from '../session/session-client.js';
import type { KnownManagers } from './known-managers.js';
import type { ManagerPeer } from './swarm-file.js';

export interface ClusterMemberOptions
  extends Omit<ClusterLinkOptions, 'identity' | 'description' | 'sessionBegun' | 'onStanding'> {
  /** With the address and membership this node has in its cluster. */
  config: NodeConfig;
  managers: KnownManagers;
  manager: ManagerProcess;
  /** The engine port for other nodes. */
  useIdentity(identity: EngineIdentity): Promise<void>;
  /** How long a first join may go without reaching any manager; absent: for ever. */
  joinWaitMsMax?: number;
  /** The list of managers has changed and is to be kept. */
  keepManagers(peers: readonly ManagerPeer[]): void;
}

const answerPollMs = 50;

export class ClusterMember {
  readonly #options: ClusterMemberOptions;
  readonly #stopping = new AbortController();
  readonly #inSession = new AbortController();
  #keeper: IdentityKeeper | undefined;
  #link: ClusterLink | undefined;
  #error: string | undefined;
  #managing = false;
  /** Changes of role follow each other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: ClusterMemberOptions) {
    this.#options = options;
  }

  /** Aborts when the first session has begun. */
  get inSession(): AbortSignal {
    return this.#inSession.signal;
  }

  get nodeId(): NodeId | undefined {
    return this.#keeper?.identity.identity.nodeId;
  }

  get link(): ClusterLink | undefined {
    return this.#link;
  }

  /**
   * Resolves when the node is in its cluster and, where it is one, its manager answers. Rejects with what trying
   * again cannot heal; whatever passes is tried again until `stop()`.
   */
  async start(): Promise<void> {
    const { config, log, manager } = this.#options;
    try {
      if (this.#begunAsManager()) this.#startManager();
      const identity = await obtainIdentity(this.#identityOptions(), this.#stopping.signal);
      await this.#enter(identity);
      await this.#turn;
      while (this.#managing && !(await manager.isAnswering())) {
        await sleep(answerPollMs, undefined, { signal: this.#stopping.signal });
      }
      await untilAborted(AbortSignal.any([this.inSession, this.#stopping.signal]));
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      this.#error = describeError(error);
      log('error', 'this node cannot come to its cluster', { error, address: config.address });
      throw error;
    }
  }

  status(): NodeStatus {
    const { config, managers } = this.#options;
    const identity = this.#keeper?.identity.identity;
    const common = { address: config.address, managers: [...managers.peers] };
    if (this.#managing && existsSync(managerLockedFile(config))) {
      return {
        ...common,
        state: 'locked',
        role: 'manager',
        nodeId: identity?.nodeId ?? readStoredIdentity(config.stateDir)?.facts.identity.nodeId ?? '',
      };
    }
    if (identity) return { ...common, state: 'active', nodeId: identity.nodeId, role: identity.role };
    if (this.#error !== undefined) return { ...common, state: 'error', error: this.#error };
    return { ...common, state: 'pending', role: this.#begunAsManager() ? 'manager' : 'worker' };
  }

  /** Leaves the cluster's sight; containers, the kernel's network and the manager process stay as they are. */
  stop(): void {
    this.#stopping.abort();
    this.#keeper?.stop();
    this.#link?.stop();
  }

  /** As `stop()`, and the leader is told that the node does not come back. */
  async leave(): Promise<void> {
    await this.#link?.farewell();
    this.stop();
  }

  #identityOptions() {
    const { config, managers, nowMs, fraction, log, joinWaitMsMax } = this.#options;
    return {
      config,
      managers: () => managers.addresses(),
      nowMs,
      fraction,
      log,
      ...(joinWaitMsMax === undefined ? {} : { joinWaitMsMax }),
    };
  }

  async #enter(identity: ObtainedIdentity): Promise<void> {
    const { config, log } = this.#options;
    const keeper = new IdentityKeeper(this.#identityOptions(), identity, (renewed) => {
      this.#useIdentity(renewed).catch((error: unknown) =>
        log('error', 'the engine port keeps its old certificate', { error }),
      );
      this.#takeRole(renewed.identity.role);
      this.#link?.tlsChanged();
    });
    await this.#useIdentity(identity);
    keeper.start();
    this.#keeper = keeper;
    this.#takeRole(identity.identity.role);
    this.#link = new ClusterLink({
      ...this.#options,
      identity: keeper,
      description: describeNode(config, productVersion),
      sessionBegun: () => this.#inSession.abort(),
      onStanding: (standing) => this.#stand(standing),
    });
    this.#link.start();
  }

  #useIdentity(identity: NodeIdentity): Promise<void> {
    const { address, enginePort } = this.#options.config;
    return this.#options.useIdentity({
      ...identity,
      clusterId: identity.identity.clusterId,
      address,
      port: enginePort,
    });
  }

  #stand({ role, managersChanged, wantedTls, unlockKey }: NodeStanding): void {
    const { managers, log } = this.#options;
    if (managersChanged) this.#options.keepManagers(managers.peers);
    if (!this.#keeper) return;
    if (unlockKey !== undefined) this.#keeper.seal(unlockKey || undefined);
    if (this.#keeper.identity.identity.role !== role) {
      log('info', 'the role of this node has changed; asking for its certificate', { role });
      void this.#keeper.renewNow();
    } else if (wantedTls !== undefined) this.#keeper.follow(wantedTls);
  }

  #takeRole(role: NodeRole): void {
    this.#turn = this.#turn
      .then(() => (role === 'manager' ? this.#startManager() : this.#endManager()))
      .catch((error: unknown) => this.#options.log('error', `becoming a ${role} failed`, { error }));
  }

  #startManager(): void {
    if (this.#managing || this.#stopping.signal.aborted) return;
    this.#managing = true;
    const { config, manager, managers } = this.#options;
    // A node that has an identity is part of a cluster: its manager joins that one, and never makes another.
    const remoteAddresses = managers.addresses();
    const membership =
      readStoredIdentity(config.stateDir) === undefined
        ? config.membership
        : ({ kind: 'join', token: '', remoteAddresses } as const);
    manager.start({ ...config, membership });
  }

  /** The new cluster stands: the manager's next start is an ordinary one. */
  forcedOnce(): void {
    const { forceNewCluster: _done, ...config } = this.#options.config;
    this.#options.manager.configure({
      ...config,
      membership: { kind: 'join', token: '', remoteAddresses: [] },
    });
  }

  async #endManager(): Promise<void> {
    const { config, manager } = this.#options;
    // What is on disk counts as well: an earlier run may have ended between its new certificate and here.
    if (!this.#managing && !hasManagerState(config.stateDir)) return;
    this.#managing = false;
    await manager.stop();
    // A member that was removed from the Raft group can not come back under its old name.
    removeManagerState(config.stateDir);
  }

  /** By its certificate once it has one; before, a node that is to make the cluster does. */
  #begunAsManager(): boolean {
    const { config } = this.#options;
    const stored = readStoredIdentity(config.stateDir);
    return stored ? stored.facts.identity.role === 'manager' : config.membership.kind === 'init';
  }
}

/** All that a manager of this node writes. */
const managerState = ['raft', 'raft-id', 'raft-peers.json', 'manager.json', storageKeysFile] as const;

function hasManagerState(stateDir: string): boolean {
  return managerState.some((name) => existsSync(join(stateDir, name)));
}

/** The manager process must have ended. */
export function removeManagerState(stateDir: string): void {
  for (const name of managerState) rmSync(join(stateDir, name), { recursive: true, force: true });
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
