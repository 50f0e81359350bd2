/** Keeps one node's daemon running, as systemd would on a machine of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { callEngine } from './engine-client.js';
import type { DevNode } from './layout.js';

const agentMain = fileURLToPath(new URL('./agent.js', import.meta.url));
const restartDelayMinMs = 100;
const restartDelayMaxMs = 5_000;
/** A daemon that ran this long starts over with the shortest delay. */
const steadyAfterMs = 10_000;
const shutdownTimeoutMs = 40_000;

export class NodeProcess {
  private child: ChildProcess | undefined;
  private stopping = false;
  private restartDelayMs = restartDelayMinMs;
  private restartTimer: NodeJS.Timeout | undefined;

  constructor(
    readonly node: DevNode,
    private readonly say: (line: string) => void,
  ) {}

  start(): void {
    mkdirSync(dirname(this.node.logFile), { recursive: true });
    const log = openSync(this.node.logFile, 'a');
    const daemon = [process.execPath, agentMain, '--config', this.node.configFile];
    const command = this.node.namespace
      ? ['nsenter', `--net=/run/netns/${this.node.namespace}`, '--', ...daemon]
      : daemon;
    const startedAt = performance.now();
    const child = spawn(command[0] as string, command.slice(1), {
      // A session of its own: Ctrl-C in the terminal must reach the supervisor only, which ends nodes in order.
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
    });
    closeSync(log);
    this.child = child;
    child.on('exit', (code, signal) => {
      this.child = undefined;
      if (this.stopping) return;
      const wasSteady = performance.now() - startedAt > steadyAfterMs;
      if (wasSteady) this.restartDelayMs = restartDelayMinMs;
      this.say(
        `${this.node.name}: daemon ended (${signal ?? `code ${code}`}), starting it again; log: ${this.node.logFile}`,
      );
      this.restartTimer = setTimeout(() => this.start(), wasSteady ? 0 : this.restartDelayMs);
      this.restartDelayMs = Math.min(this.restartDelayMs * 2, restartDelayMaxMs);
    });
  }

  /** Stops the node's containers, its network and its processes. */
  async stop(): Promise<void> {
    this.stopping = true;
    clearTimeout(this.restartTimer);
    await shutDownNode(this.node);
    const child = this.child;
    if (!child) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
  }
}

/** Asks a daemon to end with everything it started. False when none answers. */
export async function shutDownNode(node: DevNode): Promise<boolean> {
  try {
    const answer = await callEngine({
      socketPath: node.config.apiSocket,
      method: 'POST',
      path: '/_enxame/shutdown?containers=stop',
      timeoutMs: shutdownTimeoutMs,
    });
    return answer.status < 300;
  } catch {
    // Nobody listens: the daemon is gone already, and the sweep that follows removes what it left.
    return false;
  }
}
