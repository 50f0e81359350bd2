/** Simulated time: a queue of things to do, each at its millisecond, equal ones in the order they were asked for. */

export interface Appointment {
  cancel(): void;
}

interface Entry {
  atMs: number;
  order: number;
  run: (() => void) | undefined;
}

export class Scheduler {
  nowMs = 0;
  private nextOrder = 0;
  /** A binary heap: the earliest is at the front. */
  private readonly heap: Entry[] = [];

  after(delayMs: number, run: () => void): Appointment {
    const entry: Entry = { atMs: this.nowMs + Math.max(0, delayMs), order: this.nextOrder++, run };
    this.push(entry);
    return {
      cancel: () => {
        entry.run = undefined;
      },
    };
  }

  /** Does the next thing that is due by `untilMs`. False when there is none; then it is `untilMs`. */
  runNext(untilMs: number): boolean {
    for (let first = this.heap[0]; first !== undefined && first.atMs <= untilMs; first = this.heap[0]) {
      this.pop();
      if (first.run === undefined) continue;
      this.nowMs = first.atMs;
      first.run();
      return true;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
    return false;
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent] as Entry, entry)) break;
      heap[at] = heap[parent] as Entry;
      at = parent;
    }
    heap[at] = entry;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (isBefore(last, heap[child] as Entry)) break;
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
