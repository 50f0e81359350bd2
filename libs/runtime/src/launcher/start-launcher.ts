import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EnxameError } from '#libs/model';
import type { LauncherClientOptions } from './client.js';

const pollMs = 5;

/**
 * Starts a launcher that outlives this process, and connects to it. Two agents may do so at once: the launcher's own
 * lock leaves one, and both connect to that one.
 */
export async function startLauncher<C>(
  options: LauncherClientOptions,
  deadlineMs: number,
  tryConnect: () => Promise<C | undefined>,
): Promise<C> {
  await mkdir(dirname(options.socketPath), { recursive: true, mode: 0o700 });
  let ended: string | undefined;
  const log = openSync(options.logPath, 'a', 0o600);
  try {
    const [command = options.binaryPath, ...args] = [
      ...(options.commandPrefix ?? []),
      options.binaryPath,
      options.socketPath,
    ];
    const child = spawn(command, args, { detached: true, cwd: '/', stdio: ['ignore', log, log], env: {} });
    child.on('error', (error) => {
      ended = error.message;
    });
    child.on('exit', (code, signal) => {
      ended = `it ended with ${signal ?? `code ${code}`}`;
    });
    child.unref();
  } finally {
    closeSync(log);
  }
  for (;;) {
    const connection = await tryConnect();
    if (connection !== undefined) return connection;
    if (ended !== undefined || Date.now() > deadlineMs) {
      throw new EnxameError(
        'unavailable',
        `start ${options.binaryPath}: ${ended ?? 'it does not answer'}; see ${options.logPath}`,
      );
    }
    await delay(pollMs);
  }
}
