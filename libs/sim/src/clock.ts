/**
 * A member's own clock: it runs a little fast or slow, jumps forward, or stands still while the process is stopped.
 * It gives ticks, which is all that Raft knows of time.
 */
import type { Scheduler } from './scheduler.js';

export class SimClock {
  /** Milliseconds of this clock per true millisecond. */
  rate: number;
  private readonly callbacks = new Set<{ everyMs: number; callback: () => void; dueMs: number }>();
  private localMs = 0;
  private readAtMs: number;
  private isWaking = false;
  private isStopped = false;

  constructor(
    private readonly scheduler: Scheduler,
    { rate }: { rate: number },
  ) {
    this.rate = rate;
    this.readAtMs = scheduler.nowMs;
  }

  every(everyMs: number, callback: () => void): () => void {
    this.read();
    const ticking = { everyMs, callback, dueMs: this.localMs + everyMs };
    this.callbacks.add(ticking);
    this.wake();
    return () => void this.callbacks.delete(ticking);
  }

  /** Time goes on, but nobody is told. */
  stop(): void {
    this.isStopped = true;
  }

  goOn(): void {
    if (!this.isStopped) return;
    this.isStopped = false;
    this.catchUp();
    this.wake();
  }

  private catchUp(): void {
    this.read();
    if (this.isStopped) return;
    for (const ticking of this.callbacks) {
      while (this.callbacks.has(ticking) && ticking.dueMs <= this.localMs) {
        ticking.dueMs += ticking.everyMs;
        ticking.callback();
      }
    }
  }

  /** All at once, as after a suspended machine: the ticks of that time are due now. */
  jump(aheadMs: number): void {
    this.localMs += aheadMs;
    this.catchUp();
  }

  private read(): void {
    const { nowMs } = this.scheduler;
    this.localMs += (nowMs - this.readAtMs) * this.rate;
    this.readAtMs = nowMs;
  }

  private wake(): void {
    if (this.isWaking || this.isStopped || this.callbacks.size === 0) return;
    this.isWaking = true;
    const nextMs = Math.min(...[...this.callbacks].map(({ dueMs }) => dueMs));
    // A hundredth more, so that rounding never wakes it a moment too early.
    this.scheduler.after((nextMs - this.localMs) / this.rate + 0.01, () => {
      this.isWaking = false;
      this.catchUp();
      this.wake();
    });
  }
}
