import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { EnxameError } from '#libs/model';
import type { ContainerExit } from '../port.js';
import { readExit, readFailed, readStarted } from './answers.js';
import { FrameConnection } from './connection.js';
import { lostExit, readExitFile } from './exit-file.js';
import type { ExecPlan } from './launch-plan.js';
import type { LaunchFailure, LaunchOutcome } from './outcome.js';
import { encodeExecPlan } from './plan-codec.js';
import { ShimStreams } from './shim-streams.js';
import { frameTypes, PayloadReader, u32, type Frame } from './wire.js';

export interface ShimClientOptions {
  /** As in the plan's `shim`. */
  socketPath: string;
  exitPath: string;
}

/** `gone`: no shim listens; `exit` is what its exit file says, absent when it was killed before it could write one. */
export type ShimStatus =
  | { phase: 'held' | 'running'; pid: number; startedAtMs: number; shimPid: number }
  | { phase: 'exited'; exit: ContainerExit }
  | { phase: 'gone' };

export interface TerminalSize {
  rows: number;
  columns: number;
}

/** Live output from now on (what came before is in the log), and stdin. */
export interface AttachSession {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when the container ended or the connection did. A reader that is far too slow is cut off. */
  ended: Promise<void>;
  close(): void;
}

/** Read, resume or destroy both outputs: one that fills up slows the process down, as a full pipe would. */
export interface ShimExecSession {
  pid: number;
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  resize(size: TerminalSize): Promise<void>;
  /** Linux signal number. */
  kill(signal: number): Promise<void>;
  /** Resolves when the process is gone and its output has been delivered. 137 when the container died around it. */
  exited: Promise<{ exitCode: number }>;
  /** Lets go; see `ExecPlan.killOnDisconnect`. */
  close(): void;
}

export type ExecOutcome = { ok: true; session: ShimExecSession } | LaunchFailure;

/** Talks to one container's shim. Each call uses its own connection; there is nothing to reconnect. */
export interface ShimClient {
  status(): Promise<ShimStatus>;
  /** Lets a held container run its program. */
  start(): Promise<LaunchOutcome>;
  /** Linux signal number, to process 1 of the container. `not-found` when it has ended. */
  signal(signal: number): Promise<void>;
  resize(size: TerminalSize): Promise<void>;
  /**
   * Resolves at the container's end, at once if it ended before. When the shim was killed there is no record: the
   * container died with it, and the exit says so (137, `error`).
   */
  wait(): Promise<ContainerExit>;
  attach(options: { stdin: boolean }): Promise<AttachSession>;
  exec(plan: ExecPlan): Promise<ExecOutcome>;
}

/** Which process of the shim a signal or a size is for. */
const containerItself = 0;

export function createShimClient(options: ShimClientOptions): ShimClient {
  return new SocketShimClient(options);
}

class SocketShimClient implements ShimClient {
  constructor(private readonly options: ShimClientOptions) {}

  async status(): Promise<ShimStatus> {
    const frame = await this.ask(frameTypes.status);
    if (frame === undefined) return this.statusFromFile();
    const payload = new PayloadReader(frame.payload);
    const phase = payload.u32();
    if (phase > 1) return this.statusFromFile();
    const pid = payload.u32();
    const startedAtMs = Number(payload.u64());
    return { phase: phase === 0 ? 'held' : 'running', pid, startedAtMs, shimPid: payload.u32() };
  }

  async start(): Promise<LaunchOutcome> {
    const frame = await this.ask(frameTypes.start);
    if (frame === undefined) throw new EnxameError('not-found', 'start: the container has ended');
    const payload = new PayloadReader(frame.payload);
    return frame.type === frameTypes.started ? readStarted(payload) : readFailed(payload);
  }

  async signal(signal: number): Promise<void> {
    await this.command(frameTypes.signal, u32(containerItself), u32(signal));
  }

  async resize(size: TerminalSize): Promise<void> {
    await this.command(frameTypes.resize, u32(containerItself), u32(size.rows), u32(size.columns));
  }

  async wait(): Promise<ContainerExit> {
    const frame = await this.ask(frameTypes.wait);
    if (frame?.type === frameTypes.exit) return readExit(new PayloadReader(frame.payload));
    return (await readExitFile(this.options.exitPath)) ?? lostExit();
  }

  async attach(options: { stdin: boolean }): Promise<AttachSession> {
    const streams = new ShimStreams();
    await streams.open(this.options.socketPath);
    const answer = await streams.request(frameTypes.attach, u32(options.stdin ? 1 : 0));
    if (answer?.type === frameTypes.failed) throw refusal('attach', answer);
    if (!options.stdin) streams.stdin.destroy();
    return {
      stdin: streams.stdin,
      stdout: streams.stdout,
      stderr: streams.stderr,
      ended: streams.ended.then(() => undefined),
      close: () => streams.close(),
    };
  }

  async exec(plan: ExecPlan): Promise<ExecOutcome> {
    const encoded = encodeExecPlan(plan);
    const streams = new ShimStreams();
    await streams.open(this.options.socketPath);
    const answer = await streams.request(frameTypes.exec, encoded);
    if (answer === undefined) throw new EnxameError('not-found', 'exec: the container has ended');
    if (answer.type !== frameTypes.started) {
      streams.close();
      return readFailed(new PayloadReader(answer.payload));
    }
    const { pid } = readStarted(new PayloadReader(answer.payload));
    const session: ShimExecSession = {
      pid,
      stdin: streams.stdin,
      stdout: streams.stdout,
      stderr: streams.stderr,
      resize: (size) => this.command(frameTypes.resize, u32(pid), u32(size.rows), u32(size.columns)),
      kill: (signal) => this.command(frameTypes.signal, u32(pid), u32(signal)),
      exited: streams.ended.then((exit) => ({ exitCode: (exit ?? lostExit()).exitCode })),
      close: () => streams.close(),
    };
    return { ok: true, session };
  }

  private async statusFromFile(): Promise<ShimStatus> {
    const exit = await readExitFile(this.options.exitPath);
    return exit === undefined ? { phase: 'gone' } : { phase: 'exited', exit };
  }

  /** One question on a connection of its own. Undefined: no shim, or it ended before it answered. */
  private async ask(type: number, ...payload: Buffer[]): Promise<Frame | undefined> {
    let answer: (frame: Frame | undefined) => void = () => undefined;
    const answered = new Promise<Frame | undefined>((resolve) => {
      answer = resolve;
    });
    const connection = await FrameConnection.open(this.options.socketPath, {
      frame: (frame) => answer(frame),
      closed: () => answer(undefined),
    });
    if (connection === undefined) return undefined;
    connection.send(type, ...payload);
    const frame = await answered;
    connection.close();
    return frame;
  }

  private async command(type: number, ...payload: Buffer[]): Promise<void> {
    const frame = await this.ask(type, ...payload);
    if (frame === undefined) throw new EnxameError('not-found', 'the container has ended');
    if (frame.type === frameTypes.failed) throw refusal('container', frame);
  }
}

function refusal(what: string, frame: Frame): EnxameError {
  const failure = readFailed(new PayloadReader(frame.payload));
  const code = failure.errno === constants.errno.ESRCH ? 'not-found' : 'failed-precondition';
  return new EnxameError(code, `${what}: ${failure.message}`);
}
