/**
 * Keeps the network namespace of a container that has just died. Without it the kernel takes the namespace apart at
 * once: what the program sent last, even the end of its connections, may never leave it, and a connection that begins
 * before every balancer has heard of the death meets silence and hangs for seconds. With it the kernel refuses such a
 * connection at once, and the client may try again.
 */
import { closeSync, openSync } from 'node:fs';
import type { RuntimeClock } from '../options.js';

/** By then every balancer that listens has let go of the container. */
const lingerMs = 3_000;

export class NetworkHold {
  readonly #clock: RuntimeClock;
  #descriptor: number | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(clock: RuntimeClock) {
    this.#clock = clock;
  }

  /** From the start of the container's first process on. */
  take(pid: number): void {
    this.release();
    try {
      this.#descriptor = openSync(`/proc/${pid}/ns/net`, 'r');
    } catch {
      // It has ended already, or this process may open no more files: then the container dies as it always did.
    }
  }

  releaseSoon(): void {
    if (this.#descriptor === undefined) return;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.setTimeout(() => this.release(), lingerMs);
  }

  release(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}
