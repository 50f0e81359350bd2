/** Listening on a unix socket where an earlier process may have left its file. */
import { EnxameError } from '#libs/model';
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';

/** The kernel's limit for a socket address, its closing zero taken off. */
const socketPathBytesMax = 107;

/** Takes over a socket file that nobody listens at; `conflict` when somebody does. */
export async function listenUnix(server: Server, path: string, mode: number): Promise<void> {
  if (Buffer.byteLength(path) > socketPathBytesMax) {
    throw new EnxameError('invalid-argument', `socket path ${path}: longer than ${socketPathBytesMax} bytes`);
  }
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path)) {
    if (await answers(path)) {
      throw new EnxameError('conflict', `another process is listening at ${path}`);
    }
    rmSync(path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file exists from bind on: the mask keeps others out until its mode is set.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
  chmodSync(path, mode);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}
