/**
 * The append requests to one member that are not answered yet: a ring of their last indexes and bytes. An answer
 * through an index frees every request through it, whatever became of the answers before.
 */
export class Inflights {
  private readonly lastIndexes: number[];
  private readonly sizes: number[];
  private start = 0;
  count = 0;
  bytes = 0;

  constructor(
    private readonly countMax: number,
    private readonly bytesMax: number,
  ) {
    this.lastIndexes = [];
    this.sizes = [];
  }

  /** One request larger than all the bytes goes when nothing else is under way. */
  get isFull(): boolean {
    return this.count >= this.countMax || this.bytes >= this.bytesMax;
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

  clear(): void {
    this.start = 0;
    this.count = 0;
    this.bytes = 0;
  }
}
