/** A small world for kernel tests: nodes, containers and a client, each in a network namespace, on one bridge. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ContainerInterface } from '#libs/model';
import type { NodeNetworkOptions } from '../port.js';
import { mustRun, runCommand } from './command.js';
import type { NetworkCommand, NetworkReply } from './network-process.js';

const busybox = '/bin/busybox';
const waitMs = 8000;

const lineServer = `
  const [port, name] = process.argv.slice(1);
  require('node:net').createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (line) => socket.write(name + ' ' + socket.remoteAddress + ' ' + line));
  }).listen(Number(port), '0.0.0.0');
`;

/** Waits until `probe` gives something, with a deadline that names what was awaited. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`waited ${waitMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class TestNode {
  private readonly process: ChildProcess;
  private readonly replies: AsyncIterator<string>;
  private readonly lines: Interface;
  private errors = '';

  constructor(
    readonly namespace: string,
    options: NodeNetworkOptions,
  ) {
    const program = fileURLToPath(new URL('./network-process.js', import.meta.url));
    this.process = spawn(
      'ip',
      ['netns', 'exec', namespace, process.execPath, program, JSON.stringify(options)],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    );
    this.process.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    if (!this.process.stdout) throw new Error('the node has no output');
    this.lines = createInterface({ input: this.process.stdout });
    this.replies = this.lines[Symbol.asyncIterator]();
  }

  async reply(): Promise<unknown> {
    const { value, done } = await this.replies.next();
    if (done) throw new Error(`the node ended: ${this.errors}`);
    const reply = JSON.parse(value) as NetworkReply;
    if ('error' in reply) throw new Error(reply.error);
    return reply.value;
  }

  send(command: NetworkCommand): Promise<unknown> {
    this.process.stdin?.write(`${JSON.stringify(command)}\n`);
    return this.reply();
  }

  async end(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    await gone;
    this.lines.close();
  }
}

export class TestWorld {
  readonly prefix = `enxtest-${process.pid}-${(worldCount++).toString(36)}`;
  readonly stateDir = mkdtempSync(join(tmpdir(), 'enxtest-network-'));
  private readonly nodes: TestNode[] = [];
  private readonly processes: ChildProcess[] = [];
  private readonly namespaces: string[] = [];

  name(short: string): string {
    return `${this.prefix}-${short}`;
  }

  async namespace(short: string): Promise<string> {
    const name = this.name(short);
    await mustRun('ip', ['netns', 'add', name]);
    this.namespaces.push(name);
    await mustRun('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    return name;
  }

  /** A machine on the LAN: its `eth0` is a port of the bridge in the namespace `lan`. */
  async machine(short: string, address: string): Promise<string> {
    if (this.namespaces.length === 0) {
      const lan = await this.namespace('lan');
      await mustRun('ip', ['-n', lan, 'link', 'add', 'br0', 'up', 'type', 'bridge']);
    }
    const name = await this.namespace(short);
    const batch = [`link add p-${short} up master br0 type veth peer name eth0 netns ${name}`];
    await mustRun('ip', ['-n', this.name('lan'), '-batch', '-'], `${batch.join('\n')}\n`);
    await mustRun('ip', ['-n', name, '-batch', '-'], `addr add ${address}/24 dev eth0\nlink set eth0 up\n`);
    return name;
  }

  async node(short: string, options: NodeNetworkOptions): Promise<TestNode> {
    const node = new TestNode(await this.machine(short, options.address), options);
    this.nodes.push(node);
    await node.reply();
    return node;
  }

  /** A new process in the namespace of a node whose process has ended. */
  async restart(short: string, options: NodeNetworkOptions): Promise<TestNode> {
    const node = new TestNode(this.name(short), options);
    this.nodes.push(node);
    await node.reply();
    return node;
  }

  /** What the launcher does for a container's interfaces. */
  async container(short: string, node: TestNode, interfaces: readonly ContainerInterface[]): Promise<string> {
    const name = await this.namespace(short);
    for (const { name: inside, hostName, address, gateway, subnet, defaultRoute, mtu } of interfaces) {
      const host = [
        `link add ${hostName} mtu ${mtu} up type veth peer name ${inside} netns ${name}`,
        `route add ${address}/32 dev ${hostName}`,
      ];
      await mustRun('ip', ['-n', node.namespace, '-batch', '-'], `${host.join('\n')}\n`);
      const container = [
        `link set ${inside} mtu ${mtu} up`,
        `addr add ${address}/32 dev ${inside}`,
        defaultRoute
          ? `route add default via ${gateway} dev ${inside} onlink`
          : `route add ${subnet} via ${gateway} dev ${inside} onlink`,
      ];
      await mustRun('ip', ['-n', name, '-batch', '-'], `${container.join('\n')}\n`);
    }
    return name;
  }

  /** Runs for the life of the world. */
  background(namespace: string, args: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', namespace, ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.processes.push(child);
    return child;
  }

  /** A TCP server that answers every line with its name, the client's address as it sees it, and the line. */
  async serve(namespace: string, port: number, name: string): Promise<void> {
    this.background(namespace, [process.execPath, '-e', lineServer, String(port), name]);
    await eventually(`${name} to listen`, async () => {
      const { stdout } = await runCommand('ip', ['netns', 'exec', namespace, busybox, 'netstat', '-ltn']);
      return stdout.includes(`:${port} `) || undefined;
    });
  }

  /** Sends one line and gives the first line of the answer; undefined when there is no connection. */
  async ask(namespace: string, address: string, port: number): Promise<string | undefined> {
    const args = ['netns', 'exec', namespace, busybox, 'nc', '-w', '3', address, String(port)];
    const { stdout } = await runCommand('ip', args, 'hello\n');
    return stdout.split('\n')[0] || undefined;
  }

  async close(): Promise<void> {
    for (const node of this.nodes) await node.end();
    for (const child of this.processes) {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await gone;
      }
    }
    for (const name of this.namespaces.reverse()) {
      const { stdout } = await runCommand('ip', ['netns', 'pids', name]);
      for (const pid of stdout.split('\n').filter(Boolean)) endProcess(Number(pid));
      await runCommand('ip', ['netns', 'del', name]);
    }
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}

let worldCount = 0;

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended between the listing and the signal.
  }
}
