/**
 * The append requests to one member that are not answered yet: a ring of their last indexes and bytes. An answer
 * through an index frees every request through it, whatever became of the answers before.
 *
 * Where requests get lost or overtake each other the window is narrowed, and wider again with each that arrives: else
 * every answer to a request of before would set off a whole window of new ones, each of which sets off the next.
 */
export class Inflights {
  private readonly lastIndexes: number[];
  private readonly sizes: number[];
  private start = 0;
  /** How many may be under way now. */
  private window: number;
  count = 0;
  bytes = 0;

  constructor(
    private readonly countMax: number,
    private readonly bytesMax: number,
  ) {
    this.lastIndexes = [];
    this.sizes = [];
    this.window = countMax;
  }

  /** One request larger than all the bytes goes when nothing else is under way. */
  get isFull(): boolean {
    return this.count >= this.window || this.bytes >= this.bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    if (this.isFull) throw new Error('raft: a request beyond the window');
    const slot = (this.start + this.count) % this.countMax;
    this.lastIndexes[slot] = lastIndex;
    this.sizes[slot] = bytes;
    this.count++;
    this.bytes += bytes;
  }

  freeThrough(index: number): void {
    while (this.count > 0 && (this.lastIndexes[this.start] as number) <= index) {
      this.bytes -= this.sizes[this.start] as number;
      this.start = (this.start + 1) % this.countMax;
      this.count--;
    }
  }

  narrow(): void {
    this.window = Math.max(1, Math.floor(this.window / 2));
  }

  widen(): void {
    this.window = Math.min(this.countMax, this.window + 1);
  }

  clear(): void {
    this.start = 0;
    this.count = 0;
    this.bytes = 0;
  }
}
