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

interface Peer {
  address: string;
  /** Absent where only the address is known, from before this was kept. */
  nodeId?: string;
}

/** On disk: raft id, address, node id. */
type Line = [string, string, string?];

export class GroupPeers {
  readonly #options: GroupPeersOptions;
  readonly #file: string;
  #peers: ReadonlyMap<string, Peer> = new Map();
  #unwatch: (() => void) | undefined;

  constructor(options: GroupPeersOptions) {
    this.#options = options;
    this.#file = join(options.stateDir, 'raft-peers.json');
  }

  /** `alone`: the others that are on disk are lost for good. */
  start(options: { alone: boolean }): void {
    this.#peers = options.alone ? new Map() : this.#read();
    this.#tell();
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
    return [...this.#peers.values()].map(({ address }) => address);
  }

  /** The node whose certificate speaks for a member. */
  holderOf(raftId: string): string | undefined {
    return this.#peers.get(raftId)?.nodeId;
  }

  /** What another manager has told, before the store can. */
  learn(peers: readonly { raftId: string; address: string; nodeId: string }[]): void {
    this.#take(peers.map(({ raftId, address, nodeId }) => [raftId, address, nodeId]));
  }

  /** The store's list; before it knows this manager, it is older than what was told. */
  #follow(): void {
    const { store, self } = this.#options;
    const lines: Line[] = [];
    for (const { id, manager } of store.view().nodes.all()) {
      if (manager !== undefined) lines.push([manager.raftId, manager.address, id]);
    }
    if (lines.some(([raftId]) => raftId === self)) this.#take(lines);
  }

  #take(all: Line[]): void {
    const { self, log } = this.#options;
    const lines = all.filter(([id]) => id !== self).sort(([a], [b]) => (a < b ? -1 : 1));
    const peers = peersOf(lines);
    const text = JSON.stringify(lines);
    if (text === JSON.stringify(linesOf(this.#peers))) return;
    this.#peers = peers;
    this.#tell();
    try {
      writeFileSync(`${this.#file}.new`, text, { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      // A full disk: the list of before serves the next start nearly as well.
      log('warn', 'the list of managers cannot be written', { error });
    }
  }

  #tell(): void {
    this.#options.setPeers(new Map([...this.#peers].map(([id, { address }]) => [id, address])));
  }

  #read(): ReadonlyMap<string, Peer> {
    try {
      return peersOf(JSON.parse(readFileSync(this.#file, 'utf8')) as Line[]);
    } catch {
      // Absent at the first start; damaged, it is told anew by the others.
      return new Map();
    }
  }
}

function peersOf(lines: readonly Line[]): ReadonlyMap<string, Peer> {
  return new Map(
    lines.map(([id, address, nodeId]) => [id, nodeId === undefined ? { address } : { address, nodeId }]),
  );
}

function linesOf(peers: ReadonlyMap<string, Peer>): Line[] {
  return [...peers].map(([id, { address, nodeId }]) =>
    nodeId === undefined ? [id, address] : [id, address, nodeId],
  );
}
