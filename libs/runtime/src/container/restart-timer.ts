/** The moment between a container's end and its next run. */
import type { RuntimeClock } from '../options.js';

export class RestartTimer {
  readonly #clock: RuntimeClock;
  #cancel: (() => void) | undefined;
  /** Of the wait before the run that is under way; undefined when it was started by hand. */
  lastDelayMs: number | undefined;

  constructor(clock: RuntimeClock) {
    this.#clock = clock;
  }

  get isWaiting(): boolean {
    return this.#cancel !== undefined;
  }

  wait(delayMs: number, then: () => void): void {
    this.cancel();
    this.lastDelayMs = delayMs;
    this.#cancel = this.#clock.setTimeout(then, delayMs);
  }

  /** The wait is over: by its end, or because nobody wants the next run any more. */
  cancel(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
