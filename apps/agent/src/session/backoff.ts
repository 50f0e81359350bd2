/** Delays that double up to a limit, each spread at random over its upper half, so that nodes do not come in step. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #fraction: () => number;
  #nextMs: number;

  constructor(options: { firstMs: number; maxMs: number; fraction: () => number }) {
    this.#firstMs = options.firstMs;
    this.#maxMs = options.maxMs;
    this.#fraction = options.fraction;
    this.#nextMs = options.firstMs;
  }

  reset(): void {
    this.#nextMs = this.#firstMs;
  }

  next(): number {
    const delayMs = this.#nextMs;
    this.#nextMs = Math.min(this.#nextMs * 2, this.#maxMs);
    return Math.round(delayMs * (0.5 + 0.5 * this.#fraction()));
  }
}
