/** The part of the log that is in memory: every entry after the last compaction, durable or not. */
import type { Entry, SnapshotMeta } from './types.js';

export class CoreLog {
  private entries: Entry[] = [];
  /** The entry just before the first one here. */
  private base: { index: number; term: number };
  /** Where the changes of membership are, in order: few, and asked for at every election and step. */
  private membershipIndexes: number[] = [];

  constructor(snapshot: SnapshotMeta | undefined, entries: readonly Entry[]) {
    this.base = { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 };
    this.append(entries);
  }

  get firstIndex(): number {
    return this.base.index + 1;
  }

  get lastIndex(): number {
    return this.base.index + this.entries.length;
  }

  get lastTerm(): number {
    return this.entries.at(-1)?.term ?? this.base.term;
  }

  /** Undefined when the index is compacted away or past the end. */
  term(index: number): number | undefined {
    if (index === this.base.index) return this.base.term;
    return this.entries[index - this.firstIndex]?.term;
  }

  /** Adds entries; the first must replace or follow what is there. Returns the index after which the log is new. */
  append(entries: readonly Entry[]): number {
    const first = entries[0];
    if (first === undefined) return this.lastIndex;
    if (first.index < this.firstIndex || first.index > this.lastIndex + 1) {
      throw new Error(
        `raft log: entry ${first.index} does not fit a log of ${this.firstIndex}..${this.lastIndex}`,
      );
    }
    this.entries.length = first.index - this.firstIndex;
    while ((this.membershipIndexes.at(-1) ?? 0) >= first.index) this.membershipIndexes.pop();
    for (const entry of entries) {
      this.entries.push(entry);
      if (entry.kind === 'membership') this.membershipIndexes.push(entry.index);
    }
    return first.index - 1;
  }

  /** `from..through`, both included, cut at the limits but never to nothing. */
  slice(from: number, through: number, bytesMax: number, entriesMax = Number.POSITIVE_INFINITY): Entry[] {
    const start = from - this.firstIndex;
    const end = Math.min(through - this.firstIndex + 1, this.entries.length, start + entriesMax);
    let bytes = 0;
    let at = start;
    for (; at < end; at++) {
      bytes += (this.entries[at] as Entry).data.length;
      if (bytes > bytesMax && at > start) break;
    }
    return this.entries.slice(start, at);
  }

  /** Of the data of the entries `from..through`. */
  bytesOf(from: number, through: number): number {
    let bytes = 0;
    for (let at = from - this.firstIndex; at <= through - this.firstIndex; at++) {
      bytes += this.entries[at]?.data.length ?? 0;
    }
    return bytes;
  }

  /** The first change of membership after `index`. */
  nextMembershipAfter(index: number): number | undefined {
    return this.membershipIndexes.find((each) => each > index);
  }

  compact(through: number): void {
    const term = this.term(through);
    if (through <= this.base.index || term === undefined) return;
    this.entries.splice(0, through - this.base.index);
    this.base = { index: through, term };
    this.membershipIndexes = this.membershipIndexes.filter((index) => index > through);
  }

  /** Forgets everything: the snapshot stands for it. */
  reset(snapshot: SnapshotMeta): void {
    this.entries = [];
    this.membershipIndexes = [];
    this.base = { index: snapshot.index, term: snapshot.term };
  }

  /**
   * The highest index at or below `index` whose term is at most `term`: where another log, which has `term` at
   * `index`, may still agree with this one. Skips a whole term per round trip (Raft paper, end of 5.3).
   */
  lastIndexOfTermAtMost(index: number, term: number): number {
    // Terms never fall along a log.
    let low = this.base.index;
    let high = Math.max(low, Math.min(index, this.lastIndex));
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.term(middle) as number) <= term) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
