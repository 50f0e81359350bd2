/** One reader's live events. A slow reader loses the oldest instead of holding up or filling the process. */
export class ReaderQueue<T> {
  private items: T[] = [];
  private wake: (() => void) | undefined;
  private isClosed = false;

  constructor(
    private readonly itemsMax: number,
    private readonly onDrop: () => void,
  ) {}

  push(item: T): void {
    if (this.items.length >= this.itemsMax) {
      this.items.shift();
      this.onDrop();
    }
    this.items.push(item);
    this.wake?.();
  }

  close(): void {
    this.isClosed = true;
    this.wake?.();
  }

  /** The waiting items, or undefined once closed. */
  async take(): Promise<T[] | undefined> {
    while (this.items.length === 0 && !this.isClosed) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
    if (this.isClosed) return undefined;
    const taken = this.items;
    this.items = [];
    return taken;
  }
}
