/** The managers this node may turn to: first the one it was sent to, then all that are known, in turn. */
import type { ManagerPeer } from './swarm-file.js';

export class KnownManagers {
  #peers: readonly ManagerPeer[];
  #sentTo: string | undefined;
  #next: number;

  /** `fraction` in [0, 1): nodes begin at different managers. */
  constructor(peers: readonly ManagerPeer[], fraction: number) {
    this.#peers = peers;
    this.#next = Math.floor(fraction * peers.length);
  }

  get peers(): readonly ManagerPeer[] {
    return this.#peers;
  }

  addresses(): string[] {
    return this.#peers.map(({ address }) => address);
  }

  /** Takes the cluster's list. False when nothing is new; an empty list says nothing. */
  replace(peers: readonly ManagerPeer[]): boolean {
    const sorted = [...peers].sort((a, b) => (a.address < b.address ? -1 : 1));
    if (sorted.length === 0 || JSON.stringify(sorted) === JSON.stringify(this.#peers)) return false;
    this.#peers = sorted;
    return true;
  }

  /** The next address to try is this one. */
  sendTo(address: string): void {
    this.#sentTo = address;
  }

  /** Undefined when no manager is known. */
  next(): string | undefined {
    const sentTo = this.#sentTo;
    this.#sentTo = undefined;
    if (sentTo !== undefined) return sentTo;
    if (this.#peers.length === 0) return undefined;
    return this.#peers[this.#next++ % this.#peers.length]?.address;
  }
}
