import { EnxameError, managerLockedFile, swarmLocked, type Cluster, type StoreEvent } from '#libs/model';
import { makeUnlockKey, readStorageKeys, writeStorageKeys, type StorageKeys } from '#libs/pki';
import type { RaftSettings } from '#libs/raft';
import type { ReplicatedStore } from '#libs/store';
import { expect } from 'chai';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyKeeper, openStorageKeys } from './index.js';

const unlockKey = makeUnlockKey(Buffer.alloc(32, 1));
const log = (): void => undefined;

describe('manager: lock', () => {
  let stateDir: string;
  let config: { stateDir: string; managerSocket: string };
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'enxame-lock-'));
    config = { stateDir, managerSocket: join(stateDir, 'manager.sock') };
  });
  afterEach(() => rmSync(stateDir, { recursive: true }));

  function call(method: string, path: string, body?: unknown): Promise<{ status: number; message: string }> {
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: config.managerSocket, method, path, agent: false }, (answer) => {
        let text = '';
        answer.on('data', (part) => (text += String(part)));
        answer.on('end', () => {
          const message = text === '' ? '' : (JSON.parse(text) as { message: string }).message;
          resolve({ status: answer.statusCode ?? 0, message });
        });
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async function untilThere(file: string): Promise<void> {
    while (!existsSync(file)) await new Promise((resolve) => setImmediate(resolve));
  }

  it('makes a key once', async () => {
    const first = await openStorageKeys(config, log);
    expect(first.keys).to.have.length(1);
    expect(await openStorageKeys(config, log)).to.deep.equal(first);
  });

  it('answers that it is locked until the right key comes', async () => {
    const { keys } = await openStorageKeys(config, log);
    writeStorageKeys(stateDir, keys, unlockKey);
    const opening = openStorageKeys(config, log);
    await untilThere(config.managerSocket);
    expect(existsSync(managerLockedFile(config))).to.equal(true);
    expect(await call('GET', '/services')).to.deep.equal({ status: 503, message: swarmLocked });
    const wrong = await call('POST', '/swarm/unlock', { UnlockKey: makeUnlockKey(Buffer.alloc(32, 2)) });
    expect(wrong).to.deep.equal({
      status: 400,
      message: 'swarm could not be unlocked: invalid key provided',
    });
    expect((await call('POST', '/swarm/unlock', { UnlockKey: 'hello' })).message).to.contain('SWMKEY-1-');
    expect((await call('POST', '/swarm/unlock', {})).message).to.contain('UnlockKey: must be a string');
    expect((await call('POST', '/swarm/unlock', { UnlockKey: unlockKey })).status).to.equal(200);
    expect(await opening).to.deep.equal({ keys, unlockKey });
    expect(existsSync(managerLockedFile(config))).to.equal(false);
  });

  it('follows the settings of the cluster: seals and opens the keys, writes with a new one', async () => {
    const opened = await openStorageKeys(config, log);
    const adjusted: RaftSettings[] = [];
    let listener: (event: StoreEvent) => void = () => undefined;
    const keeper = new KeyKeeper({
      stateDir,
      opened,
      raft: {
        adjust: async (settings) => void adjusted.push(settings),
        keyIdsInUse: async () => [],
      },
      store: {
        view: () => ({}),
        watch: (given: typeof listener) => {
          listener = given;
          return () => undefined;
        },
      } as unknown as ReplicatedStore,
      log,
    });
    await keeper.start();
    const set = (fields: Partial<Cluster>): void => {
      const after = { spec: {}, ...fields } as Cluster;
      listener({ changes: [{ table: 'clusters', id: after.id, after }] } as unknown as StoreEvent);
    };
    set({
      spec: { Raft: { SnapshotInterval: 7, KeepOldSnapshots: 2, LogEntriesForSlowFollowers: 0 } } as never,
    });
    expect(adjusted.at(-1)).to.deep.equal({ snapshotEntries: 7, keptSnapshots: 2, keptEntries: 0 });
    expect(readStorageKeys(stateDir)?.kind).to.equal('open');

    set({ unlockKey });
    const keys = adjusted.at(-1)?.keys ?? [];
    expect(keys).to.have.length(2);
    expect(keys[1]).to.deep.equal(opened.keys[0]);
    const locked = readStorageKeys(stateDir) as Extract<StorageKeys, { kind: 'locked' }>;
    expect(locked.open(unlockKey)).to.deep.equal(keys);

    const another = makeUnlockKey(Buffer.alloc(32, 3));
    set({ unlockKey: another });
    const again = readStorageKeys(stateDir) as Extract<StorageKeys, { kind: 'locked' }>;
    expect(again.open(another)).to.deep.equal(keys);
    expect(() => again.open(unlockKey)).to.throw(EnxameError);

    set({ unlockKey: '' });
    expect(readStorageKeys(stateDir)).to.deep.equal({ kind: 'open', keys });
  });
});
