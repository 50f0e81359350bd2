/**
 * Two processes that write one log destroy it. The lock is an abstract unix socket named after the folder's inode:
 * the kernel gives it to one process and takes it back however that process ends. (It is an exclusion within one
 * network namespace, which is where a node's manager always runs.)
 */
import { mkdirSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { EnxameError } from '#libs/model';

export interface FolderLock {
  release(): Promise<void>;
}

export async function lockFolder(dir: string): Promise<FolderLock> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const { dev, ino } = statSync(dir);
  const server = createServer((socket) => socket.destroy());
  await listen(server, `\0enxame-raft-${dev}-${ino}`, dir);
  server.unref();
  return {
    release: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
      }),
  };
}

function listen(server: Server, name: string, dir: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new EnxameError('conflict', `the raft data folder ${dir} is in use by another process`)
          : new EnxameError('internal', `lock of the raft data folder ${dir}`, { cause }),
      );
    });
    server.listen(name, resolve);
  });
}
