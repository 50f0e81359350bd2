/** A process in a running container, as the port shows it. */
import { randomBytes } from 'node:crypto';
import type { ShimExecSession } from '../launcher/shim-client.js';
import { signalNumber } from '../plan/signals.js';
import type { ExecSession } from '../port.js';

const execIdBytes = 32;

export function makeExecId(): string {
  return randomBytes(execIdBytes).toString('hex');
}

export function execSessionOf(id: string, session: ShimExecSession): ExecSession {
  return {
    id,
    pid: session.pid,
    stdin: session.stdin,
    stdout: session.stdout,
    stderr: session.stderr,
    resize: (size) => session.resize(size),
    kill: (signal) => session.kill(signalNumber(signal)),
    exited: session.exited,
  };
}
