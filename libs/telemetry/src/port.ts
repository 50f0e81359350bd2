/** Volatile facts that many may read: events and stats. Losing them never stops orchestration. */
import type { ClusterEvent, StatsSample } from '#libs/model';

export interface Telemetry {
  start(): Promise<void>;
  close(): Promise<void>;
  /** Never rejects and never blocks the caller: what cannot be kept is dropped and counted. */
  publishEvent(event: ClusterEvent): void;
  publishStats(sample: StatsSample): void;
  /** Kept events in `[sinceNano, untilNano]`, oldest first, then live ones until `signal` aborts (unless `follow` is false). */
  events(options: {
    sinceNano?: bigint;
    untilNano?: bigint;
    follow: boolean;
    signal: AbortSignal;
  }): AsyncIterable<ClusterEvent>;
  stats(containerId: string, options: { sinceMs: number }): Promise<StatsSample[]>;
  health(): { kind: 'memory' | 'redis'; connected: boolean; dropped: number };
}
