/** Telemetry within one process: enough for a cluster whose history may start anew with a new leader. */
import { randomBytes } from 'node:crypto';
import type { ClusterEvent, StatsSample } from '#libs/model';
import type { TelemetryLimits } from './limits.js';
import type { Telemetry } from './port.js';
import { type EventRange, isInRange, type PublishedEvent } from './published.js';
import { ReaderQueue } from './reader-queue.js';
import { Ring } from './ring.js';

export class MemoryTelemetry implements Telemetry {
  private readonly recent: Ring<PublishedEvent>;
  /** In order of last use, so that the first is the one to go. */
  private readonly samples = new Map<string, Ring<StatsSample>>();
  private readonly readers = new Set<ReaderQueue<PublishedEvent>>();
  private readonly processMark = randomBytes(8).toString('hex');
  private published = 0;
  protected dropped = 0;

  constructor(protected readonly limits: TelemetryLimits) {
    this.recent = new Ring(limits.eventsMax);
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    for (const reader of this.readers) reader.close();
    this.readers.clear();
    return Promise.resolve();
  }

  publishEvent(event: ClusterEvent): void {
    this.deliver({ mark: `${this.processMark}-${++this.published}`, event });
  }

  publishStats(sample: StatsSample): void {
    const ring = this.samples.get(sample.containerId) ?? new Ring(this.limits.statsPerContainerMax);
    this.samples.delete(sample.containerId);
    this.samples.set(sample.containerId, ring);
    ring.add(sample);
    if (this.samples.size > this.limits.statsContainersMax) {
      for (const oldest of this.samples.keys()) {
        this.samples.delete(oldest);
        break;
      }
    }
  }

  /**
   * History is given when a range is asked for, or when nothing is followed: like `docker events`, which without
   * `--since` shows only what happens from now on.
   */
  async *events(options: EventRange & { follow: boolean; signal: AbortSignal }): AsyncIterable<ClusterEvent> {
    const { follow, signal, sinceNano, untilNano } = options;
    if (signal.aborted) return;
    const queue = new ReaderQueue<PublishedEvent>(this.limits.readerQueueMax, () => this.dropped++);
    const close = (): void => queue.close();
    // Listening begins before history is read, so that nothing falls between; what is in both is told by its mark.
    if (follow) this.readers.add(queue);
    signal.addEventListener('abort', close);
    try {
      const told = new Set<string>();
      if (sinceNano !== undefined || untilNano !== undefined || !follow) {
        for (const published of await this.history(options)) {
          if (signal.aborted) return;
          told.add(published.mark);
          yield published.event;
        }
      }
      if (!follow) return;
      for (;;) {
        const batch = await queue.take();
        if (batch === undefined) return;
        for (const published of batch) {
          if (untilNano !== undefined && BigInt(published.event.timeNano) > untilNano) return;
          if (!told.has(published.mark) && isInRange(published, options)) yield published.event;
        }
        told.clear();
      }
    } finally {
      signal.removeEventListener('abort', close);
      this.readers.delete(queue);
    }
  }

  stats(containerId: string, { sinceMs }: { sinceMs: number }): Promise<StatsSample[]> {
    const samples = this.samples.get(containerId)?.toArray() ?? [];
    return Promise.resolve(samples.filter((sample) => sample.atMs >= sinceMs));
  }

  health(): ReturnType<Telemetry['health']> {
    return { kind: 'memory', connected: true, dropped: this.dropped };
  }

  protected history(range: EventRange): Promise<PublishedEvent[]> {
    return Promise.resolve(this.recent.toArray().filter((published) => isInRange(published, range)));
  }

  protected isOwn(published: PublishedEvent): boolean {
    return published.mark.startsWith(`${this.processMark}-`);
  }

  protected deliver(published: PublishedEvent): void {
    this.recent.add(published);
    for (const reader of this.readers) reader.push(published);
  }
}
