/** The keys this manager's log is encrypted with: from disk, made new, or waited for where they are locked. */
import { EnxameError, managerLockedFile, swarmLocked, type NodeConfig } from '#libs/model';
import { createApiServer } from '#libs/docker-api';
import {
  makeStorageKey,
  readStorageKeys,
  writeStorageKeys,
  type StorageKey,
  type StorageKeys,
} from '#libs/pki';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Log } from '../membership/index.js';

export interface OpenedKeys {
  keys: StorageKey[];
  /** What opens the file as it is on disk now. */
  unlockKey: string | undefined;
}

type LockConfig = Pick<NodeConfig, 'stateDir' | 'managerSocket'>;

export async function openStorageKeys(config: LockConfig, log: Log): Promise<OpenedKeys> {
  const lockedFile = managerLockedFile(config);
  rmSync(lockedFile, { force: true });
  const found = readStorageKeys(config.stateDir);
  if (found?.kind === 'open') return { keys: found.keys, unlockKey: undefined };
  if (found === undefined) {
    const keys = [makeStorageKey()];
    mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
    writeStorageKeys(config.stateDir, keys, undefined);
    return { keys, unlockKey: undefined };
  }
  writeFileSync(lockedFile, '');
  log('warn', 'this manager is locked', { unlock: 'docker swarm unlock' });
  const opened = await waitForUnlock(config, found, log);
  rmSync(lockedFile, { force: true });
  log('info', 'this manager was unlocked');
  return opened;
}

/** Answers in the API's place, on its socket, until somebody brings the key. */
async function waitForUnlock(
  { managerSocket }: LockConfig,
  locked: Extract<StorageKeys, { kind: 'locked' }>,
  log: Log,
): Promise<OpenedKeys> {
  let unlocked: (opened: OpenedKeys) => void = () => undefined;
  const opened = new Promise<OpenedKeys>((resolve) => {
    unlocked = resolve;
  });
  const api = createApiServer({
    routes: [
      {
        method: 'POST',
        path: '/swarm/unlock',
        handler: async (request, response) => {
          const { UnlockKey } = ((await request.json()) ?? {}) as { UnlockKey?: unknown };
          if (typeof UnlockKey !== 'string') {
            throw new EnxameError('invalid-argument', 'invalid UnlockKey: must be a string');
          }
          const keys = locked.open(UnlockKey);
          response.empty(200);
          unlocked({ keys, unlockKey: UnlockKey.trim() });
        },
      },
    ],
    fallback: () => Promise.reject(new EnxameError('not-manager', swarmLocked)),
    log: (error, what) => log('error', 'request failed', { request: what, error }),
  });
  const server = createServer();
  api.attach(server);
  rmSync(managerSocket, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const mask = process.umask(0o177);
    server.listen(managerSocket, resolve);
    process.umask(mask);
  });
  const result = await opened;
  // The answer goes out before its connection is cut.
  await new Promise((resolve) => setImmediate(resolve));
  await api.close();
  return result;
}
