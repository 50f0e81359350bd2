/**
 * Keeps the manager process of this node running. It is a process of its own and outlives this one: an agent that
 * was killed finds it on its socket when it comes back, and leaves it as it is.
 */
import type { NodeConfig } from '#libs/model';
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../session/backoff.js';
import type { Log } from '#libs/log';
import { isListening } from './manager-socket.js';

export interface ManagerProcessOptions {
  config: Pick<NodeConfig, 'stateDir' | 'runDir' | 'managerSocket'>;
  /** The manager's compiled main file. */
  mainFile: string;
  fraction(): number;
  log: Log;
}

const restartBackoff = { firstMs: 100, maxMs: 5_000 };
const adoptedCheckMs = 100;
const steadyAfterMs = 10_000;
const stopTimeoutMs = 10_000;
const stopPollMs = 50;

export class ManagerProcess {
  readonly #options: ManagerProcessOptions;
  readonly #backoff: Backoff;
  readonly #pidFile: string;
  /** The configuration it is started with: the node's own, with what the node has become. */
  readonly #configFile: string;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ManagerProcessOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ ...restartBackoff, fraction: options.fraction });
    this.#pidFile = join(options.config.runDir, 'manager.pid');
    this.#configFile = join(options.config.stateDir, 'manager.json');
  }

  /** What the next start of the process is to be told. */
  configure(config: NodeConfig): void {
    mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#configFile}.new`, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${this.#configFile}.new`, this.#configFile);
  }

  /** Finds the living manager or starts one. */
  start(config: NodeConfig): void {
    this.configure(config);
    this.#wanted = true;
    this.#findOrSpawn();
  }

  #findOrSpawn(): void {
    const pid = this.#livingPid();
    if (pid === undefined) {
      this.#spawn();
      return;
    }
    this.#options.log('info', 'manager process found running', { pid });
    this.#watchAdopted(pid, performance.now());
  }

  /** Stops watching; the process goes on. */
  release(): void {
    this.#wanted = false;
    clearTimeout(this.#timer);
  }

  /** Ends the process: asked first, killed when it does not listen. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.release();
    const pid = this.#livingPid();
    if (pid === undefined) return;
    signal(pid, 'SIGTERM');
    for (let waitedMs = 0; this.#livingPid() === pid; waitedMs += stopPollMs) {
      if (waitedMs >= stopTimeoutMs) signal(pid, 'SIGKILL');
      await sleep(stopPollMs);
    }
    rmSync(this.#pidFile, { force: true });
  }

  /** Whether it answers is another question than whether it lives: it may be starting. */
  isAnswering(): Promise<boolean> {
    return isListening(this.#options.config.managerSocket);
  }

  #spawn(): void {
    const { config, mainFile, log } = this.#options;
    mkdirSync(config.runDir, { recursive: true, mode: 0o700 });
    mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
    const output = openSync(join(config.stateDir, 'manager.log'), 'a', 0o600);
    const startedAt = performance.now();
    const child = spawn(
      process.execPath,
      [mainFile, '--config', this.#configFile],
      // A session of its own: it must not end with this process or with the terminal.
      { detached: true, stdio: ['ignore', output, output] },
    );
    closeSync(output);
    child.once('error', (error) => {
      log('error', 'the manager process cannot be started', { error });
      this.#startAgain(startedAt);
    });
    child.once('exit', (code, signalName) => {
      if (!this.#wanted) return;
      log('warn', 'the manager process ended; starting it again', { code, signal: signalName });
      this.#startAgain(startedAt);
    });
    if (child.pid === undefined) return;
    writeFileSync(this.#pidFile, `${child.pid}\n`, { mode: 0o600 });
    child.unref();
  }

  /** At once after a steady run; one that ends soon after its start is waited for. */
  #startAgain(startedAt: number): void {
    if (!this.#wanted) return;
    clearTimeout(this.#timer);
    const wasSteady = performance.now() - startedAt > steadyAfterMs;
    if (wasSteady) this.#backoff.reset();
    this.#timer = setTimeout(() => this.#findOrSpawn(), wasSteady ? 0 : this.#backoff.next());
  }

  /** Only a parent is told of an exit; for a process found running this one has to look. */
  #watchAdopted(pid: number, foundAt: number): void {
    this.#timer = setTimeout(() => {
      if (!this.#wanted) return;
      if (this.#livingPid() === pid) this.#watchAdopted(pid, foundAt);
      else this.#startAgain(foundAt);
    }, adoptedCheckMs);
  }

  /** The pid on file, if that process is this node's manager and not another one that got its number. */
  #livingPid(): number | undefined {
    const pid = Number(readIfPresent(this.#pidFile)?.trim());
    if (!Number.isInteger(pid) || pid <= 1) return undefined;
    const arguments_ = readIfPresent(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
    const { mainFile } = this.#options;
    return arguments_.includes(mainFile) && arguments_.includes(this.#configFile) ? pid : undefined;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // Gone between the look and the signal: that is what was wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
