/** One process per local cluster: makes its machines, keeps their daemons running, and ends them in order. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
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
    const [first, ...others] = this.processes as [NodeProcess, ...NodeProcess[]];
    writeNodeConfig(first.node, {
      kind: 'init',
      addressPools: [this.layout.addressPool],
      subnetSize: 16,
      dataPathPort: this.layout.dataPathPort,
      heartbeatPeriodMs: this.record.heartbeatPeriodMs,
    });
    first.start();
    const token = await this.workerToken(first.node);
    for (const { node } of others) {
      const manager = `${first.node.address}:${first.node.config.clusterPort}`;
      writeNodeConfig(node, { kind: 'join', token, remoteAddresses: [manager] });
    }
    for (const other of others) other.start();
    await this.allReady(first.node);
  }

  private workerToken(node: DevNode): Promise<string> {
    return waitFor(`the API of ${node.name} (log: ${node.logFile})`, apiTimeoutMs, async () => {
      if (!existsSync(node.config.apiSocket)) return undefined;
      const answer = await callEngine({
        socketPath: node.config.apiSocket,
        method: 'GET',
        path: '/swarm',
        timeoutMs: 10_000,
      });
      if (answer.status === 200) {
        return (JSON.parse(answer.body) as { JoinTokens: { Worker: string } }).JoinTokens.Worker;
      }
      const { message } = JSON.parse(answer.body) as { message: string };
      // 503 is a manager that is still starting; anything else does not get better by waiting.
      if (answer.status !== 503) throw new UserError(`${node.name}: ${message} (log: ${node.logFile})`);
      throw new Error(message);
    });
  }

  private async allReady(manager: DevNode): Promise<void> {
    const wanted = this.layout.nodes.map((node) => node.name);
    await waitFor(
      `joining of ${wanted.join(', ')} (logs: ${this.layout.stateDir}/*/daemon.log)`,
      joinTimeoutMs,
      async () => {
        const nodes = await readEngine<{ Description: { Hostname: string }; Status: { State: string } }[]>(
          manager.config.apiSocket,
          '/nodes',
        );
        const ready = new Set(
          nodes.filter((node) => node.Status.State === 'ready').map((node) => node.Description.Hostname),
        );
        const apisUp = this.layout.nodes.every((node) => existsSync(node.config.apiSocket));
        return apisUp && wanted.every((name) => ready.has(name)) ? true : undefined;
      },
    );
  }

  /** Stops workers before managers, so that the cluster does not start to heal what is being ended. */
  stop(): Promise<void> {
    this.stopped ??= (async () => {
      const [first, ...others] = this.processes as [NodeProcess, ...NodeProcess[]];
      await Promise.all(others.map((other) => other.stop()));
      await first.stop();
      await sweep(this.layout);
      this.lock.close();
      this.say(`cluster "${this.layout.name}" has ended; its state stays in ${this.layout.stateDir}`);
    })();
    return this.stopped;
  }
}

function writeNodeConfig(node: DevNode, membership: NodeConfig['membership']): void {
  mkdirSync(node.config.stateDir, { recursive: true, mode: 0o700 });
  mkdirSync(node.config.runDir, { recursive: true, mode: 0o700 });
  const config: NodeConfig = { ...node.config, membership };
  writeFileSync(node.configFile, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}
