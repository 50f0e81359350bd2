interface Validity {
  notBeforeMs: number;
  notAfterMs: number;
}

/**
 * When a node asks for its next certificate: at a random point between 50 and 80 % of the certificate's life, so
 * that nodes that joined together do not all come back together. `random` is in [0, 1).
 */
export function renewalTimeMs(options: Validity & { random: number }): number {
  const lifeMs = options.notAfterMs - options.notBeforeMs;
  return Math.round(options.notBeforeMs + lifeMs * (0.5 + 0.3 * options.random));
}

export interface RenewalTimerOptions {
  nowMs(): number;
  /** In [0, 1). */
  fraction(): number;
  /** It is time; called once for each certificate that is followed. */
  renew(): void;
  lookIntervalMs?: number;
}

const lookIntervalMsDefault = 30_000;

/**
 * Tells when a certificate is to be renewed. It looks at the clock again and again: a timer of weeks would not notice
 * that the machine slept, or that its clock was set.
 */
export class RenewalTimer {
  readonly #options: RenewalTimerOptions;
  #interval: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(options: RenewalTimerOptions) {
    this.#options = options;
  }

  /** From now on this certificate counts. */
  follow(validity: Validity): void {
    this.#dueMs = renewalTimeMs({ ...validity, random: this.#options.fraction() });
    this.#interval ??= setInterval(
      () => this.look(),
      this.#options.lookIntervalMs ?? lookIntervalMsDefault,
    ).unref();
  }

  look(): void {
    if (this.#options.nowMs() < this.#dueMs) return;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#options.renew();
  }

  stop(): void {
    clearInterval(this.#interval);
    this.#interval = undefined;
    this.#dueMs = Number.POSITIVE_INFINITY;
  }
}
