/** A container's record in memory and on disk: one write at a time, and never an older one after a newer. */
import type { ContainerDisk, ContainerRecord } from './container-record.js';

export class KeptRecord {
  readonly #disk: Pick<ContainerDisk, 'save'>;
  #record: ContainerRecord;
  #writing: Promise<void> = Promise.resolve();
  /** A write that waits for the one before it takes along what has changed meanwhile. */
  #waiting: Promise<void> | undefined;
  #isLeaving = false;

  constructor(disk: Pick<ContainerDisk, 'save'>, record: ContainerRecord) {
    this.#disk = disk;
    this.#record = record;
  }

  get now(): ContainerRecord {
    return this.#record;
  }

  /** A write that fails now is no loss. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** In memory alone, until the next write. */
  change(record: ContainerRecord): void {
    this.#record = record;
  }

  /** Rejects when it cannot be written; in memory it has changed then, too. */
  save(change: Partial<ContainerRecord> = {}): Promise<void> {
    this.#record = { ...this.#record, ...change };
    this.#waiting ??= this.#writeNext();
    return this.#waiting;
  }

  async #writeNext(): Promise<void> {
    // Its own caller hears of a failure.
    await this.#writing.catch(() => undefined);
    this.#waiting = undefined;
    if (this.#isLeaving) return;
    this.#writing = this.#disk.save(this.#record);
    await this.#writing;
  }

  /** Calls `remove`, which takes it off the disk, without waiting for writes. When that fails, all is as before. */
  async leave(remove: () => Promise<void>): Promise<void> {
    this.#isLeaving = true;
    try {
      await remove();
    } catch (error) {
      this.#isLeaving = false;
      throw error;
    }
  }

  /** Nothing is being written any more. */
  async settled(): Promise<void> {
    await (this.#waiting ?? this.#writing).catch(() => undefined);
  }
}
