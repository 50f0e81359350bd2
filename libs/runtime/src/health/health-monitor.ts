/** Runs a container's health check again and again, from whatever state it was in when its last agent died. */
import type { RuntimeClock } from '../options.js';
import type { ContainerHealth, HealthState } from '../port.js';
import { afterProbe, probeDelayMs } from './health-state.js';

export interface HealthMonitorOptions {
  health: ContainerHealth;
  clock: RuntimeClock;
  startedAtMs: number;
  state: HealthState;
  /** Runs one probe within `timeoutMs`. Undefined: the container has ended, so there is nothing to say. */
  probe(timeoutMs: number): Promise<{ exitCode: number; output: string } | undefined>;
  onState(state: HealthState): void;
  onError(error: unknown): void;
}

export class HealthMonitor {
  readonly #options: HealthMonitorOptions;
  #state: HealthState;
  #cancelTimer: (() => void) | undefined;
  #stopped = false;

  constructor(options: HealthMonitorOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  start(): void {
    this.#schedule();
  }

  /** A probe that is under way is left to end with its container; its result is not used. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
  }

  #schedule(): void {
    const { clock, health, startedAtMs } = this.#options;
    const nowMs = clock.nowMs();
    const last = this.#state.log.at(-1)?.endMs ?? startedAtMs;
    const dueMs = last + probeDelayMs(this.#state, health, { nowMs: last, startedAtMs });
    this.#cancelTimer = clock.setTimeout(() => void this.#probe(), Math.max(0, dueMs - nowMs));
  }

  async #probe(): Promise<void> {
    const { clock, health, probe, startedAtMs, onState, onError } = this.#options;
    const startMs = clock.nowMs();
    try {
      const result = await probe(health.timeoutMs);
      if (this.#stopped || result === undefined) return;
      this.#state = afterProbe(
        this.#state,
        { startMs, endMs: clock.nowMs(), ...result },
        health,
        startedAtMs,
      );
      onState(this.#state);
    } catch (error) {
      onError(error);
    }
    if (!this.#stopped) this.#schedule();
  }
}
