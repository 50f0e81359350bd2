import type { Readable, Writable } from 'node:stream';
import type { ContainerExit } from '../port.js';
import type { ExecPlan } from './launch-plan.js';
import type { LaunchFailure, LaunchOutcome } from './outcome.js';

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
