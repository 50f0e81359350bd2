/** A real cluster for a test: started through the product's own command, driven by the stock docker CLI. */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { get, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const enxameMain = join(root, 'dist/programs/enxame.js');
export const demoImages = join(root, 'build/demo');

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export function run(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; timeoutMs?: number; input?: string } = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      {
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
        timeout: options.timeoutMs ?? 60_000,
        env: { ...process.env, ...options.env },
      },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : 1) : 0;
        resolve({ code, stdout, stderr: error && code === 1 && !stderr ? error.message : stderr });
      },
    );
    if (options.input !== undefined) child.stdin?.end(options.input);
    else child.stdin?.end();
  });
}

/** Polls until the probe returns something; the error says what the last try saw. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown = 'nothing yet';
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as T;
      last = value;
    } catch (error) {
      last = error instanceof Error ? error.message : error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what}: not within ${timeoutMs} ms (last: ${String(last)})`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class TestCluster {
  readonly socket: string;
  private readonly dockerConfig = mkdtempSync(join(tmpdir(), 'enxame-docker-'));

  constructor(
    readonly name: string,
    readonly workers = 2,
    readonly managers = 1,
  ) {
    this.socket = this.socketOf(1);
  }

  socketOf(node: number): string {
    return `/run/enxame/${this.name}/node-${node}.sock`;
  }

  /** Underlay address of a node. */
  addressOf(node: number): string {
    const config = readFileSync(`${this.stateDir}/node-${node}/config.json`, 'utf8');
    return (JSON.parse(config) as { address: string }).address;
  }

  demoImage(version: string): string {
    return join(demoImages, `enxame-demo-${version}.tar`);
  }

  get stateDir(): string {
    return `/var/lib/enxame/${this.name}`;
  }

  async up(extra: readonly string[] = []): Promise<void> {
    await this.purge();
    const size = ['--managers', String(this.managers), '--workers', String(this.workers)];
    const result = await run(
      process.execPath,
      [enxameMain, 'dev', 'up', '--name', this.name, '--detach', ...size, ...extra],
      { timeoutMs: 100_000 },
    );
    if (result.code !== 0) throw new Error(`dev up: ${result.stdout}\n${result.stderr}`);
    this.screen = result.stdout;
  }

  /** What `dev up` printed. */
  screen = '';

  async purge(): Promise<void> {
    const result = await run(process.execPath, [enxameMain, 'dev', 'down', '--purge', '--name', this.name], {
      timeoutMs: 100_000,
    });
    if (result.code !== 0) throw new Error(`dev down: ${result.stdout}\n${result.stderr}`);
  }

  async end(): Promise<void> {
    await this.purge();
    rmSync(this.dockerConfig, { recursive: true, force: true });
  }

  /** What `docker login` would write, and more. */
  writeDockerConfig(config: object): void {
    writeFileSync(join(this.dockerConfig, 'config.json'), JSON.stringify(config));
  }

  dockerEnvironment(node = 1): Record<string, string> {
    return {
      DOCKER_HOST: `unix://${this.socketOf(node)}`,
      DOCKER_CONFIG: this.dockerConfig,
      DOCKER_CLI_HINTS: 'false',
    };
  }

  /** Runs the stock CLI against node 1. */
  tryDocker(
    args: readonly string[],
    options: { node?: number; timeoutMs?: number; input?: string } = {},
  ): Promise<CommandResult> {
    const { node, ...rest } = options;
    return run('docker', args, { ...rest, env: this.dockerEnvironment(node) });
  }

  /** The same, and a failure is an error. Returns what it printed, trimmed. */
  async docker(
    args: readonly string[],
    options: { node?: number; timeoutMs?: number; input?: string } = {},
  ): Promise<string> {
    const result = await this.tryDocker(args, options);
    if (result.code !== 0)
      throw new Error(`docker ${args.join(' ')} ended with ${result.code}: ${result.stderr}${result.stdout}`);
    return result.stdout.trim();
  }

  spawnDocker(args: readonly string[], node = 1): ReturnType<typeof spawn> {
    return spawn('docker', args, {
      env: { ...process.env, ...this.dockerEnvironment(node) },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  async loadDemo(): Promise<void> {
    for (const version of ['1', '2', 'bad']) {
      await this.docker(['load', '-q', '-i', this.demoImage(version)]);
    }
  }

  /** Tasks of a service as the API has them. */
  async tasks(service: string, node = 1): Promise<ApiTask[]> {
    const filters = encodeURIComponent(JSON.stringify({ service: [service] }));
    return this.read<ApiTask[]>(`/tasks?filters=${filters}`, node);
  }

  /** A question without a process of its own: polling is not to slow down what it waits for. */
  private read<T>(path: string, node = 1): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = get(
        { socketPath: this.socketOf(node), path, agent: false, timeout: 30_000 },
        (response) => {
          text(response).then((body) => resolve(JSON.parse(body) as T), reject);
        },
      );
      call.on('timeout', () => call.destroy(new Error(`${path}: no answer within 30 s`)));
      call.on('error', reject);
    });
  }

  /** One call of one node's API, without a process of its own. Rejects when no whole answer came. */
  ask<T>(
    node: number,
    method: string,
    path: string,
    options: { body?: unknown; waitMs?: number; socketPath?: string } = {},
  ): Promise<{ status: number; body: T }> {
    const payload = options.body === undefined ? undefined : JSON.stringify(options.body);
    const waitMs = options.waitMs ?? 30_000;
    const socketPath = options.socketPath ?? this.socketOf(node);
    return new Promise((resolve, reject) => {
      const call = request({ socketPath, method, path, agent: false, timeout: waitMs }, (response) => {
        text(response).then(
          (body) => resolve({ status: response.statusCode ?? 0, body: parsed(body) as T }),
          reject,
        );
      });
      call.on('timeout', () => call.destroy(new Error(`${path}: no answer within ${waitMs} ms`)));
      call.on('error', reject);
      call.end(payload);
    });
  }

  /** Asks a node's own manager, where its agent would go on to another one. */
  askManager<T>(node: number, path: string): Promise<{ status: number; body: T }> {
    const socketPath = `/run/enxame/${this.name}/node-${node}/manager.sock`;
    return this.ask(node, 'GET', path, { socketPath, waitMs: 10_000 });
  }

  /** Until each of these managers answers by itself and sees all of them, and all nodes are ready. */
  async allReachable(managers: readonly number[], nodes: number): Promise<void> {
    for (const node of managers) {
      await eventually(`${managers.length} managers reachable on node ${node}`, 30_000, async () => {
        const { status, body } = await this.askManager<ApiNode[]>(node, '/nodes');
        if (status !== 200) return false;
        const ready = body.filter(({ Status }) => Status.State === 'ready').length;
        const reachable = body.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === 'reachable');
        return ready === nodes && reachable.length === managers.length;
      });
    }
  }

  /** Number of the node whose manager leads, as any of these nodes knows it. */
  async leader(nodes: readonly number[]): Promise<number> {
    for (const node of nodes) {
      const answer = await this.ask<ApiNode[]>(node, 'GET', '/nodes', { waitMs: 6_000 }).catch(
        () => undefined,
      );
      const leading = answer?.status === 200 && answer.body.find((each) => each.ManagerStatus?.Leader);
      if (leading) return Number(leading.Description.Hostname.replace('node-', ''));
    }
    throw new Error('no node names a leader');
  }

  /** The process of a node's manager. */
  managerPid(node: number): number {
    return Number(readFileSync(`/run/enxame/${this.name}/node-${node}/manager.pid`, 'utf8'));
  }

  agentPid(node: number): number {
    const mark = `/enxame/${this.name}/node-${node}/config.json`;
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      const line = readProcessFile(Number(name), 'cmdline');
      if (line.includes('/programs/agent.js') && line.includes(mark)) return Number(name);
    }
    throw new Error(`node ${node} has no agent`);
  }

  async api<T>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }> {
    const args = [
      '-s',
      '--max-time',
      '30',
      '--unix-socket',
      this.socket,
      '-X',
      method,
      '-w',
      '\n%{http_code}',
      `http://d${path}`,
    ];
    if (body !== undefined)
      args.push(
        '-H',
        'Content-Type: application/json',
        '-d',
        typeof body === 'string' ? body : JSON.stringify(body),
      );
    const result = await run('curl', args);
    const cut = result.stdout.lastIndexOf('\n');
    const text = result.stdout.slice(0, cut);
    return { status: Number(result.stdout.slice(cut + 1)), body: (text ? JSON.parse(text) : undefined) as T };
  }

  /** Waits until so many tasks of the service are observed running. */
  allRunning(service: string, count: number, timeoutMs = 30_000): Promise<ApiTask[]> {
    return eventually(`${count} running tasks of ${service}`, timeoutMs, async () => {
      const running = (await this.tasks(service)).filter(
        (task) => task.Status.State === 'running' && task.DesiredState === 'running',
      );
      return running.length === count ? running : undefined;
    });
  }
}

function readProcessFile(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // The process ended while the list was walked.
    return '';
  }
}

function parsed(body: string): unknown {
  return body === '' ? undefined : (JSON.parse(body) as unknown);
}

export interface ApiNode {
  ID: string;
  Description: { Hostname: string };
  Status: { State: string };
  ManagerStatus?: { Leader?: boolean; Reachability: string };
}

export interface ApiTask {
  ID: string;
  Slot?: number;
  NodeID: string;
  DesiredState: string;
  Spec: { ContainerSpec: { Image: string } };
  Status: {
    State: string;
    Err?: string;
    Message: string;
    ContainerStatus?: { ContainerID: string; PID: number; ExitCode?: number };
  };
}
