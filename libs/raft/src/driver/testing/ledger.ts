import type { StateMachine } from '../../port.js';

/** Remembers what it was fed; its snapshot is the same list. */
export class Ledger implements StateMachine {
  lines: string[] = [];

  apply({ data }: { data: Uint8Array }): number {
    return this.lines.push(Buffer.from(data).toString());
  }

  advance(): void {
    // Entries without content change nothing here.
  }

  snapshot(): Iterable<Uint8Array> {
    return this.lines.map((line) => Buffer.from(line));
  }

  restore(chunks: Iterable<Uint8Array>): void {
    this.lines = Array.from(chunks, (chunk) => Buffer.from(chunk).toString());
  }
}
