/**
 * Keeps what this manager writes as the cluster's settings say: its storage keys sealed under the unlock key while
 * autolock is on, its snapshots as often and as many as the user wants.
 */
import type { Cluster } from '#libs/model';
import { makeStorageKey, writeStorageKeys, type StorageKey } from '#libs/pki';
import type { RaftNode, RaftSettings } from '#libs/raft';
import type { ReplicatedStore } from '#libs/store';
import type { Log } from '../membership/index.js';
import type { OpenedKeys } from './storage-keys.js';

export interface KeyKeeperOptions {
  stateDir: string;
  opened: OpenedKeys;
  raft: Pick<RaftNode, 'adjust' | 'keyIdsInUse'>;
  store: Pick<ReplicatedStore, 'view' | 'watch'>;
  log: Log;
}

export class KeyKeeper {
  readonly #options: KeyKeeperOptions;
  #keys: StorageKey[];
  #unlockKey: string | undefined;
  #stop: (() => void) | undefined;

  constructor(options: KeyKeeperOptions) {
    this.#options = options;
    this.#keys = options.opened.keys;
    this.#unlockKey = options.opened.unlockKey;
  }

  /** What the storage keys are sealed with. */
  get unlockKey(): string | undefined {
    return this.#unlockKey;
  }

  async start(): Promise<void> {
    const { store, raft } = this.#options;
    const inUse = new Set(await raft.keyIdsInUse());
    const needed = this.#keys.filter((key, position) => position === 0 || inUse.has(key.id));
    if (needed.length < this.#keys.length) this.#write(needed, this.#unlockKey);
    this.#stop = store.watch(({ changes }) => {
      for (const change of changes) if (change.table === 'clusters') this.#follow(change.after);
    });
    this.#follow(store.view().cluster);
  }

  stop(): void {
    this.#stop?.();
  }

  #follow(cluster: Readonly<Cluster> | undefined): void {
    if (cluster === undefined) return;
    const { raft, log } = this.#options;
    try {
      const settings = { ...snapshotSettings(cluster), ...this.#lock(cluster.unlockKey || undefined) };
      raft.adjust(settings).catch((error: unknown) => {
        log('error', 'the log does not follow the settings of the cluster', { error });
      });
    } catch (error) {
      log('error', 'the storage keys could not be written; trying again with the next change', { error });
    }
  }

  /** The file is on disk before the change is acknowledged to whoever asked this manager for it. */
  #lock(unlockKey: string | undefined): Pick<RaftSettings, 'keys'> {
    if (unlockKey === this.#unlockKey) return {};
    const isNew = this.#unlockKey === undefined;
    // A key that was in the open on this disk is not the one to write with any more.
    this.#write(isNew ? [makeStorageKey(), ...this.#keys] : this.#keys, unlockKey);
    return { keys: this.#keys };
  }

  #write(keys: StorageKey[], unlockKey: string | undefined): void {
    writeStorageKeys(this.#options.stateDir, keys, unlockKey);
    this.#keys = keys;
    this.#unlockKey = unlockKey;
  }
}

/** What is zero or absent stays as it is by default. */
function snapshotSettings({ spec }: Readonly<Cluster>): RaftSettings {
  const { SnapshotInterval, KeepOldSnapshots, LogEntriesForSlowFollowers } = spec.Raft ?? {};
  return {
    ...(SnapshotInterval ? { snapshotEntries: SnapshotInterval } : {}),
    ...(KeepOldSnapshots === undefined ? {} : { keptSnapshots: KeepOldSnapshots }),
    ...(LogEntriesForSlowFollowers === undefined ? {} : { keptEntries: LogEntriesForSlowFollowers }),
  };
}
