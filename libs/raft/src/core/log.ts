/** The part of the log that is in memory: every entry after the last compaction, durable or not. */
import type { Entry, SnapshotMeta } from './types.js';

export class CoreLog {
  private entries: Entry[] = [];
  /** The entry just before the first one here. */
  private base: { index: number; term: number };

  constructor(snapshot: SnapshotMeta | undefined, entries: readonly Entry[]) {
    this.base = { index: snapshot?.index ?? 0, term: snapshot?.term ?? 0 };
    for (const entry of entries) this.append([entry]);
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
    for (const entry of entries) this.entries.push(entry);
    return first.index - 1;
  }

  /** `from..through`, both included, cut at `bytesMax` but never to nothing. */
  slice(from: number, through: number, bytesMax = Number.POSITIVE_INFINITY): Entry[] {
    const picked: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= through; index++) {
      const entry = this.entries[index - this.firstIndex];
      if (entry === undefined) break;
      bytes += entry.data.length;
      if (picked.length > 0 && bytes > bytesMax) break;
      picked.push(entry);
    }
    return picked;
  }

  compact(through: number): void {
    const term = this.term(through);
    if (through <= this.base.index || term === undefined) return;
    this.entries.splice(0, through - this.base.index);
    this.base = { index: through, term };
  }

  /** Forgets everything: the snapshot stands for it. */
  reset(snapshot: SnapshotMeta): void {
    this.entries = [];
    this.base = { index: snapshot.index, term: snapshot.term };
  }

  /** The election restriction (Raft paper, 5.4.1): is the other log at least as new as this one? */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /**
   * The highest index at or below `index` whose term is at most `term`: where another log, which has `term` at
   * `index`, may still agree with this one. Skips a whole term per round trip (Raft paper, end of 5.3).
   */
  lastIndexOfTermAtMost(index: number, term: number): number {
    let at = Math.min(index, this.lastIndex);
    for (; at > this.base.index; at--) {
      const here = this.term(at);
      if (here !== undefined && here <= term) return at;
    }
    return this.base.index;
  }
}
