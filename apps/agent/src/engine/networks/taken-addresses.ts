/** Addresses that containers of this node have or were promised: asked at every create, among thousands. */
import type { ContainerId } from '#libs/model';

export class TakenAddresses {
  readonly #of = new Map<ContainerId, readonly string[]>();
  /** How many have it: after a change of networks, two containers may for a while. */
  readonly #owners = new Map<string, number>();

  has(address: string): boolean {
    return this.#owners.has(address);
  }

  /** All that the container has. */
  set(id: ContainerId, addresses: readonly string[]): void {
    this.delete(id);
    if (addresses.length === 0) return;
    this.#of.set(id, addresses);
    for (const address of addresses) this.#owners.set(address, (this.#owners.get(address) ?? 0) + 1);
  }

  delete(id: ContainerId): void {
    for (const address of this.#of.get(id) ?? []) {
      const left = (this.#owners.get(address) ?? 0) - 1;
      if (left > 0) this.#owners.set(address, left);
      else this.#owners.delete(address);
    }
    this.#of.delete(id);
  }
}
