/** The last `capacity` items, oldest first. Adding never moves the others. */
export class Ring<T> {
  private readonly slots: T[] = [];
  private oldest = 0;

  constructor(private readonly capacity: number) {}

  add(item: T): void {
    if (this.slots.length < this.capacity) {
      this.slots.push(item);
      return;
    }
    this.slots[this.oldest] = item;
    this.oldest = (this.oldest + 1) % this.capacity;
  }

  toArray(): T[] {
    return [...this.slots.slice(this.oldest), ...this.slots.slice(0, this.oldest)];
  }
}
