import { randomInt } from 'node:crypto';
import { EnxameError } from '#libs/model';
import { readFailed, readStarted } from './answers.js';
import { FrameConnection } from './connection.js';
import type { LaunchPlan } from './launch-plan.js';
import type { LaunchOutcome } from './outcome.js';
import { encodeLaunchPlan } from './plan-codec.js';
import { startLauncher } from './start-launcher.js';
import { frameTypes, PayloadReader, protocolVersion, text, u32, type Frame } from './wire.js';

export interface LauncherClientOptions {
  /** The C program. */
  binaryPath: string;
  /** Unix socket of this node's launcher, 107 bytes at most. */
  socketPath: string;
  /** What the launcher itself has to say goes here (it is silent when all is well). */
  logPath: string;
  /** How long a launcher may take to answer after it was started. Default 5000. */
  startMsMax?: number;
  /** Wraps the command line that starts the launcher, e.g. `['nsenter', '--net=/run/netns/NAME']`. */
  commandPrefix?: readonly string[];
}

/**
 * The agent's end of the launcher's socket. Connects on first use, starts a launcher when none answers, and does so
 * again after it died: running shims do not notice.
 */
export interface LauncherClient {
  /** Makes sure that a launcher runs; gives its pid. */
  connect(): Promise<{ pid: number }>;
  /**
   * Many may be in flight. Throws `unavailable` when the launcher died before it answered: the container may or may
   * not run, so look for its shim (`ShimClient.status`) before trying again.
   */
  launch(plan: LaunchPlan): Promise<LaunchOutcome>;
  /**
   * Removes a folder of the node with all that is in it; its containers have ended. Starts no launcher for that:
   * `unavailable` when none is connected.
   */
  remove(path: string): Promise<void>;
  /** Ends the launcher; shims and containers go on. */
  shutdown(): Promise<void>;
  /** Lets go of the socket; the launcher goes on. */
  close(): void;
}

const startMsDefault = 5000;

interface Waiter {
  resolve(answer: { type: number; payload: PayloadReader }): void;
  reject(error: Error): void;
}

export function createLauncherClient(options: LauncherClientOptions): LauncherClient {
  return new SocketLauncherClient(options);
}

class SocketLauncherClient implements LauncherClient {
  private connecting: Promise<{ pid: number }> | undefined;
  private connection: FrameConnection | undefined;
  private readonly waiters = new Map<number, Waiter>();
  private lastRequest = randomInt(1 << 30);

  constructor(private readonly options: LauncherClientOptions) {}

  connect(): Promise<{ pid: number }> {
    this.connecting ??= this.open().catch((error: unknown) => {
      this.connecting = undefined;
      throw error;
    });
    return this.connecting;
  }

  async launch(plan: LaunchPlan): Promise<LaunchOutcome> {
    const encoded = encodeLaunchPlan(plan);
    await this.connect();
    const answer = await this.ask(frameTypes.launch, encoded);
    if (answer.type === frameTypes.started) return readStarted(answer.payload);
    if (answer.type === frameTypes.failed) return readFailed(answer.payload);
    throw new EnxameError('internal', `the launcher answered a launch with frame ${answer.type}`);
  }

  async remove(path: string): Promise<void> {
    if (this.connection === undefined) throw new EnxameError('unavailable', 'no launcher is connected');
    const { type, payload } = await this.ask(frameTypes.remove, text(path));
    if (type !== frameTypes.ok)
      throw new EnxameError('internal', `remove ${path}: ${readFailed(payload).message}`);
  }

  async shutdown(): Promise<void> {
    await this.connect();
    await this.ask(frameTypes.shutdown);
    this.close();
  }

  close(): void {
    this.connection?.close();
  }

  private async open(): Promise<{ pid: number }> {
    const deadline = Date.now() + (this.options.startMsMax ?? startMsDefault);
    this.connection =
      (await this.tryConnect()) ?? (await startLauncher(this.options, deadline, () => this.tryConnect()));
    const hello = await this.ask(frameTypes.hello);
    const version = hello.payload.u32();
    if (hello.type === frameTypes.ok && version === protocolVersion) return { pid: hello.payload.u32() };
    this.close();
    throw new EnxameError(
      'failed-precondition',
      `the launcher speaks version ${version}, this program ${protocolVersion}`,
    );
  }

  private tryConnect(): Promise<FrameConnection | undefined> {
    const connection = FrameConnection.open(this.options.socketPath, {
      frame: (frame) => this.take(frame),
      closed: (error) => this.lose(error),
    });
    return connection;
  }

  private ask(type: number, ...payload: Buffer[]): Promise<{ type: number; payload: PayloadReader }> {
    const request = (this.lastRequest = (this.lastRequest + 1) >>> 0);
    return new Promise((resolve, reject) => {
      this.waiters.set(request, { resolve, reject });
      this.connection?.send(type, u32(request), ...payload);
    });
  }

  private take(frame: Frame): void {
    const payload = new PayloadReader(frame.payload);
    const request = payload.u32();
    const waiter = this.waiters.get(request);
    this.waiters.delete(request);
    waiter?.resolve({ type: frame.type, payload });
  }

  private lose(cause: Error | undefined): void {
    this.connection = undefined;
    this.connecting = undefined;
    const waiters = [...this.waiters.values()];
    this.waiters.clear();
    for (const waiter of waiters)
      waiter.reject(new EnxameError('unavailable', 'the launcher is gone', { cause }));
  }
}
