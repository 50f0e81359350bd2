/**
 * Where the other managers are: what the store says, kept on disk as well, since managers that all start at once
 * have to find each other before any of them can read the log's end.
 */
import type { ClusterStore } from '#libs/model';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../membership/ports.js';

export interface GroupPeersOptions {
  stateDir: string;
  /** Raft id of this manager. */
  self: string;
  store: Pick<ClusterStore, 'view' | 'watch'>;
  setPeers(addresses: ReadonlyMap<string, string>): void;
  log: Log;
}

export class GroupPeers {
  readonly #options: GroupPeersOptions;
  readonly #file: string;
  #peers: ReadonlyMap<string, string> = new Map();
  #unwatch: (() => void) | undefined;

  constructor(options: GroupPeersOptions) {
    this.#options = options;
    this.#file = join(options.stateDir, 'raft-peers.json');
  }

  /** `alone`: the others that are on disk are lost for good. */
  start(options: { alone: boolean }): void {
    this.#peers = options.alone ? new Map() : this.#read();
    this.#options.setPeers(this.#peers);
    this.#follow();
    this.#unwatch = this.#options.store.watch((event) => {
      if (event.changes.some((change) => change.table === 'nodes')) this.#follow();
    });
  }

  stop(): void {
    this.#unwatch?.();
  }

  /** Addresses of the other managers. */
  addresses(): string[] {
    return [...this.#peers.values()];
  }

  /** What another manager has told, before the store can. */
  learn(peers: readonly { raftId: string; address: string }[]): void {
    this.#take(new Map(peers.map(({ raftId, address }) => [raftId, address])));
  }

  /** The store's list; before it knows this manager, it is older than what was told. */
  #follow(): void {
    const { store, self } = this.#options;
    const peers = new Map<string, string>();
    for (const { manager } of store.view().nodes.all()) {
      if (manager !== undefined) peers.set(manager.raftId, manager.address);
    }
    if (peers.has(self)) this.#take(peers);
  }

  #take(all: ReadonlyMap<string, string>): void {
    const { self, setPeers, log } = this.#options;
    const peers = new Map([...all].filter(([id]) => id !== self).sort(([a], [b]) => (a < b ? -1 : 1)));
    const text = JSON.stringify([...peers]);
    if (text === JSON.stringify([...this.#peers])) return;
    this.#peers = peers;
    setPeers(peers);
    try {
      writeFileSync(`${this.#file}.new`, text, { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      // A full disk: the list of before serves the next start nearly as well.
      log('warn', 'the list of managers cannot be written', { error });
    }
  }

  #read(): ReadonlyMap<string, string> {
    try {
      return new Map(JSON.parse(readFileSync(this.#file, 'utf8')) as [string, string][]);
    } catch {
      // Absent at the first start; damaged, it is told anew by the others.
      return new Map();
    }
  }
}
