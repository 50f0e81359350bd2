/** Networks that users have made on this node alone, beside the predefined ones. One file holds them all. */
import { EnxameError } from '#libs/model';
import type { LocalNetworkItem } from '#libs/network';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface LocalNetworkRecord extends LocalNetworkItem {
  name: string;
  createdAtMs: number;
  attachable: boolean;
  labels: Record<string, string>;
  options: Record<string, string>;
}

const fileName = 'local-networks.json';
const idBytes = 32;
const networksMax = 1_000;

export class LocalNetworks {
  readonly #folder: string;
  #records: LocalNetworkRecord[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A file that cannot be read stops the start: containers would come up without their networks. */
  load(): void {
    let text: string;
    try {
      text = readFileSync(join(this.#folder, fileName), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      this.#records = JSON.parse(text) as LocalNetworkRecord[];
    } catch (cause) {
      throw new EnxameError('data-damaged', `${join(this.#folder, fileName)} is no JSON`, { cause });
    }
  }

  list(): readonly LocalNetworkRecord[] {
    return this.#records;
  }

  /** By name, id, or the beginning of an id that no other begins with. */
  find(reference: string): LocalNetworkRecord | undefined {
    const exact = this.#records.find(({ id, name }) => name === reference || id === reference);
    if (exact !== undefined || reference === '') return exact;
    const found = this.#records.filter(({ id }) => id.startsWith(reference));
    if (found.length > 1) {
      throw new EnxameError(
        'invalid-argument',
        `network ${reference} is ambiguous (${found.length} matches found on name)`,
      );
    }
    return found[0];
  }

  add(network: Omit<LocalNetworkRecord, 'id'>): LocalNetworkRecord {
    if (this.find(network.name)?.name === network.name) {
      throw new EnxameError('conflict', `network with name ${network.name} already exists`);
    }
    if (this.#records.length >= networksMax) {
      throw new EnxameError('resource-exhausted', `a node has ${networksMax} networks at most`);
    }
    const record = { id: randomBytes(idBytes).toString('hex'), ...network };
    this.#save([...this.#records, record]);
    return record;
  }

  remove(id: string): void {
    this.#save(this.#records.filter((record) => record.id !== id));
  }

  #save(records: LocalNetworkRecord[]): void {
    const file = join(this.#folder, fileName);
    mkdirSync(this.#folder, { recursive: true });
    writeFileSync(`${file}.new`, JSON.stringify(records));
    renameSync(`${file}.new`, file);
    this.#records = records;
  }
}
