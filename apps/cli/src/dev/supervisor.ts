/** One process per local cluster: makes its machines, keeps their daemons running, and ends them in order. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { NodeConfig } from '#libs/model';
import type { ClusterRecord } from './cluster-index.js';
import { callEngine, readEngine, waitFor } from './engine-client.js';
import { layOutDevCluster, type DevLayout, type DevNode } from './layout.js';
import { NodeProcess } from './node-process.js';
import { sweep } from './sweep.js';
import { UserError } from '../user-error.js';
import { createUnderlay } from './underlay.js';

const apiTimeoutMs = 30_000;
const joinTimeoutMs = 30_000;

/** An abstract socket as a lock: the kernel lets go of it however the process ends. */
function lockName(clusterName: string): string {
  return `\0enxame-dev-${clusterName}`;
}

export function lockCluster(clusterName: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.end(`${process.pid}\n`));
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(lockName(clusterName), () => resolve(server));
  });
}

export class Supervisor {
  readonly layout: DevLayout;
  private readonly processes: NodeProcess[];
  private stopped: Promise<void> | undefined;

  constructor(
    private readonly record: ClusterRecord,
    private readonly lock: Server,
    private readonly say: (line: string) => void,
  ) {
    this.layout = layOutDevCluster(record, record.index);
    this.processes = this.layout.nodes.map((node) => new NodeProcess(node, say));
  }

  /** Resolves when every node is ready in the eyes of the manager. */
  async start(): Promise<void> {
    await sweep(this.layout);
    mkdirSync(this.layout.runDir, { recursive: true });
    writeFileSync(`${this.layout.runDir}/supervisor.pid`, `${process.pid}\n`);
    createUnderlay(this.layout);
    if (this.record.bare) return this.startBare();
    const [first, ...others] = this.processes as [NodeProcess, ...NodeProcess[]];
    writeNodeConfig(first.node, {
      kind: 'init',
      addressPools: [this.layout.addressPool],
      subnetSize: 16,
      dataPathPort: this.layout.dataPathPort,
      heartbeatPeriodMs: this.record.heartbeatPeriodMs,
    });
    first.start();
    // Managers of a cluster that was made before need each other to answer anything, a token least of all.
    const known = others.filter(({ node }) => hasJoined(node));
    for (const other of known) other.start();
    const fresh = others.filter((other) => !known.includes(other));
    if (fresh.length > 0) await this.startFresh(first, fresh);
    await this.allReady(first.node);
  }

  /** Nodes that join for the first time; the managers come first in the layout. */
  private async startFresh(first: NodeProcess, fresh: readonly NodeProcess[]): Promise<void> {
    const tokens = await this.joinTokens(first.node);
    const remoteAddresses = [`${first.node.address}:${first.node.config.clusterPort}`];
    for (const process of fresh) {
      const isManager = this.processes.indexOf(process) < this.record.managers;
      const token = isManager ? tokens.Manager : tokens.Worker;
      writeNodeConfig(process.node, { kind: 'join', token, remoteAddresses });
      process.start();
    }
  }

  private async startBare(): Promise<void> {
    for (const process of this.processes) {
      writeNodeConfig(process.node, { kind: 'none' });
      process.start();
    }
    for (const { node } of this.processes) {
      await waitFor(`the API of ${node.name} (log: ${node.logFile})`, apiTimeoutMs, async () => {
        if (!existsSync(node.config.apiSocket)) return undefined;
        await readEngine(node.config.apiSocket, '/version');
        return true;
      });
    }
  }

  private async joinTokens(node: DevNode): Promise<{ Worker: string; Manager: string }> {
    const swarm = await waitFor(`the API of ${node.name} (log: ${node.logFile})`, apiTimeoutMs, () =>
      this.read<{ JoinTokens: { Worker: string; Manager: string } }>(node, '/swarm'),
    );
    return swarm.JoinTokens;
  }

  /** Undefined while the node's API is not there; a UserError for what does not get better by waiting. */
  private async read<T>(node: DevNode, path: string): Promise<T | undefined> {
    const socketPath = node.config.apiSocket;
    if (!existsSync(socketPath)) return undefined;
    const answer = await callEngine({ socketPath, method: 'GET', path, timeoutMs: 10_000 });
    if (answer.status === 200) return JSON.parse(answer.body) as T;
    const { message } = JSON.parse(answer.body) as { message: string };
    // 503 is a manager that is still starting.
    if (answer.status !== 503) throw new UserError(`${node.name}: ${message} (log: ${node.logFile})`);
    throw new Error(message);
  }

  private async allReady(manager: DevNode): Promise<void> {
    const wanted = this.layout.nodes.map((node) => node.name);
    await waitFor(
      `joining of ${wanted.join(', ')} (logs: ${this.layout.stateDir}/*/daemon.log)`,
      joinTimeoutMs,
      async () => {
        const nodes = (await this.read<NodeAnswer[]>(manager, '/nodes')) ?? [];
        const managers = nodes.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === 'reachable');
        const ready = new Set(
          nodes.filter((node) => node.Status.State === 'ready').map((node) => node.Description.Hostname),
        );
        const apisUp = this.layout.nodes.every((node) => existsSync(node.config.apiSocket));
        const allThere = apisUp && wanted.every((name) => ready.has(name));
        return allThere && managers.length >= this.record.managers ? true : undefined;
      },
    );
  }

  /** Stops workers before managers, so that the cluster does not start to heal what is being ended. */
  stop(): Promise<void> {
    this.stopped ??= (async () => {
      const managers = this.processes.slice(0, this.record.managers);
      await Promise.all(this.processes.slice(managers.length).map((worker) => worker.stop()));
      await Promise.all(managers.map((manager) => manager.stop()));
      await sweep(this.layout);
      this.lock.close();
      this.say(`cluster "${this.layout.name}" has ended; its state stays in ${this.layout.stateDir}`);
    })();
    return this.stopped;
  }
}

interface NodeAnswer {
  Description: { Hostname: string };
  Status: { State: string };
  ManagerStatus?: { Reachability: string };
}

/** The node has an identity: it comes back by what is in its state folder. */
function hasJoined(node: DevNode): boolean {
  return existsSync(join(node.config.stateDir, 'certificates', 'node-identity.pem'));
}

function writeNodeConfig(node: DevNode, membership: NodeConfig['membership']): void {
  mkdirSync(node.config.stateDir, { recursive: true, mode: 0o700 });
  mkdirSync(node.config.runDir, { recursive: true, mode: 0o700 });
  const config: NodeConfig = { ...node.config, membership };
  writeFileSync(node.configFile, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}
