/** What a log comes to when it is read: later records take the place of earlier ones. */
import type { Entry, HardState, SnapshotMeta } from '../core/types.js';
import type { ReadBatch } from './records.js';

export interface WalContent {
  hardState: HardState;
  /** Set when the log begins after a snapshot that a leader sent. */
  snapshot?: SnapshotMeta;
  /** At least those after the newest snapshot file. */
  entries: Entry[];
  /** Set when an unfinished write was cut off the end. Nothing of it had been acknowledged. */
  torn?: { file: string; offset: number; bytes: number };
}

export class EntryList {
  private entries: Entry[] = [];

  add(batch: ReadBatch): void {
    if (batch.snapshot !== undefined) this.entries = [];
    for (const entry of batch.entries) {
      const position = entry.index - (this.entries[0]?.index ?? entry.index);
      if (position > this.entries.length) throw new Error(`entry ${entry.index} follows a gap`);
      // A new leader's entry replaces the old one and all after it.
      this.entries.length = Math.max(0, position);
      this.entries.push(entry);
    }
  }

  take(): Entry[] {
    const taken = this.entries;
    this.entries = [];
    return taken;
  }
}

/** Follows a log while it is read, when a snapshot stands for every entry through `after`. */
export class LogShape {
  /** Of all entries so far; undefined when there are none. */
  first: number | undefined;
  last = 0;
  /** Of the entry at `after`, if the log has it. */
  termAtSnapshot: number | undefined;
  snapshot: SnapshotMeta | undefined;
  private hasKept = false;

  constructor(private readonly after: number) {}

  /** True when the frame matters. Throws RangeError on a gap between entries. */
  take({ entries, snapshot }: ReadBatch): boolean {
    if (snapshot !== undefined) {
      this.snapshot = snapshot;
      this.first = undefined;
      this.last = 0;
      this.termAtSnapshot = undefined;
      this.hasKept = false;
    }
    for (const entry of entries) this.follow(entry);
    // An old entry may take others with it that came before; then those that follow it are needed as well.
    this.hasKept ||= entries.some(({ index }) => index > this.after);
    return snapshot !== undefined || (this.hasKept && entries.length > 0);
  }

  private follow({ index, term }: Entry): void {
    if (this.first !== undefined && index > this.last + 1)
      throw new RangeError(`entry ${index} follows a gap`);
    if (this.first === undefined || index < this.first) this.first = index;
    this.last = index;
    if (index === this.after) this.termAtSnapshot = term;
    else if (index < this.after) this.termAtSnapshot = undefined;
  }
}
