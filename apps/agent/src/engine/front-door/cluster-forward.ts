/** Which requests are the cluster's business, and their way to the manager process of this node. */
import { type Exchange, proxyTo } from '#libs/docker-api';
import { EnxameError, isEnxameError, managerOfNode, type ManagerFailure, type NodeConfig } from '#libs/model';
import { callManager, readManagerFailure } from '../../node/manager-socket.js';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineIdentity } from './peer.js';
import type { NodeStatus } from '../system/node-status.js';

const clusterPath = /^\/(services|tasks|nodes|swarm|secrets|configs)(\/|$)/;
const containerPath = /^\/containers\/([^/]+)(?:\/|$)/;
const containerVerbs = new Set(['json', 'create', 'prune']);
const execPath = /^\/exec\/([^/]+)\//;

const notManager =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
const notInSwarm =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

const managerWaitMs = 3_000;
const managerRetryMs = 50;
const elsewhereConnectMs = 1_000;

export interface LocalContainers {
  /** By full id, unique prefix or name. */
  hasContainer(reference: string): boolean;
  hasExec(id: string): boolean;
}

/** True for what only a manager can answer, wherever its client asked. */
export function isClusterPath(path: string): boolean {
  return clusterPath.test(path);
}

/** True for a container or exec that this node does not have. */
export function isElsewhere(path: string, local: LocalContainers): boolean {
  const exec = execPath.exec(path);
  if (exec?.[1] !== undefined) return !local.hasExec(decode(exec[1]));
  const container = containerPath.exec(path);
  if (container?.[1] === undefined || containerVerbs.has(container[1])) return false;
  return !local.hasContainer(decode(container[1]));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // The router answers malformed escapes in its own words.
    return text;
  }
}

export class ClusterForward {
  readonly #config: NodeConfig;
  readonly #status: () => NodeStatus;
  readonly #identity: () => EngineIdentity | undefined;

  constructor(config: NodeConfig, status: () => NodeStatus, identity: () => EngineIdentity | undefined) {
    this.#config = config;
    this.#status = status;
    this.#identity = identity;
  }

  hasManager(): boolean {
    return this.#status().role === 'manager';
  }

  /**
   * Hands the exchange to the manager of this node or, while that one does not answer, to another manager of the
   * cluster: any of them can answer, and a client need not know which of them is up.
   */
  pass(exchange: Exchange): Promise<void> {
    return this.#pass(exchange, {}, () => this.#passElsewhere(exchange));
  }

  /** For another manager: here or nowhere. */
  passHere(exchange: Exchange, path: string): Promise<void> {
    return this.#pass(exchange, { path }, () => Promise.resolve(false));
  }

  /** A manager that was killed is back soon: it gets a moment before its absence is told. */
  async #pass(
    exchange: Exchange,
    options: { path?: string },
    elsewhere: () => Promise<boolean>,
  ): Promise<void> {
    this.requireManager();
    const giveUpAt = performance.now() + managerWaitMs;
    for (;;) {
      try {
        return await proxyTo({ socketPath: this.#config.managerSocket }, exchange, options);
      } catch (error) {
        if (!isAway(error, exchange)) throw this.#explained(error);
        if (await elsewhere()) return;
        if (this.#failure() !== undefined || performance.now() >= giveUpAt) throw this.#explained(error);
        await sleep(managerRetryMs);
      }
    }
  }

  /** False when nothing was done: no other manager could be reached. */
  async #passElsewhere(exchange: Exchange): Promise<boolean> {
    const identity = this.#identity();
    const { nodeId, managers } = this.#status();
    if (identity === undefined) return false;
    const tls = { ca: identity.rootCertificatePem, cert: identity.certificatePem, key: identity.keyPem };
    for (const manager of managers) {
      if (!manager.enginePort || manager.nodeId === '' || manager.nodeId === nodeId) continue;
      const host = manager.address.slice(0, manager.address.lastIndexOf(':'));
      const target = { host, port: manager.enginePort, tls: { ...tls, servername: manager.nodeId } };
      try {
        const path = `${managerOfNode}${exchange.request.url ?? ''}`;
        await proxyTo(target, exchange, { path, connectWaitMs: elsewhereConnectMs });
        return true;
      } catch (error) {
        if (!isAway(error, exchange)) throw error;
      }
    }
    return false;
  }

  /** Reads a JSON answer of the manager of this node; one that is just starting gets some of the time. */
  read(path: string, waitMs: number): Promise<{ status: number; body: unknown }> {
    return this.call('GET', path, waitMs);
  }

  /** The same for another method. */
  async call(
    method: 'GET' | 'DELETE',
    path: string,
    waitMs: number,
  ): Promise<{ status: number; body: unknown }> {
    this.requireManager();
    const giveUpAt = performance.now() + Math.min(waitMs, managerWaitMs);
    for (;;) {
      try {
        return await callManager(this.#config.managerSocket, { method, path, waitMs });
      } catch (error) {
        if (this.#failure() !== undefined || performance.now() >= giveUpAt) throw this.#explained(error);
        await sleep(managerRetryMs);
      }
    }
  }

  requireManager(): void {
    const status = this.#status();
    if (status.role === 'manager') return;
    throw new EnxameError('not-manager', status.state === 'inactive' ? notInSwarm : notManager);
  }

  #explained(error: unknown): unknown {
    if (!isEnxameError(error) || error.code !== 'unavailable') return error;
    const failure = this.#failure();
    if (failure) {
      // Damaged data stays damaged; everything else may pass, and the manager is started again.
      const code = failure.code === 'data-damaged' ? failure.code : 'not-manager';
      return new EnxameError(code, `this node's manager cannot start: ${failure.message}`);
    }
    return new EnxameError('not-manager', "this node's manager is not answering; it may be starting", {
      cause: error,
    });
  }

  #failure(): ManagerFailure | undefined {
    return readManagerFailure(this.#config);
  }
}

/** Nobody took the request: it can be made again. */
function isAway(error: unknown, exchange: Exchange): boolean {
  return isEnxameError(error) && error.code === 'unavailable' && !exchange.body.readableDidRead;
}
