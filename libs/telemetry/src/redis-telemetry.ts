/**
 * Telemetry that is shared through Redis Streams: history outlives this process, and every process sees the events of
 * all. What is published here also stays in this process's memory, which serves alone while Redis is away: Redis
 * being down costs history, nothing else.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { ClusterEvent, StatsSample } from '#libs/model';
import type { TelemetryLimits } from './limits.js';
import { MemoryTelemetry } from './memory-telemetry.js';
import type { Telemetry } from './port.js';
import { type EventRange, isInRange, type PublishedEvent } from './published.js';

const pageEntries = 1000;
const blockMs = 5000;
const reconnectDelayMaxMs = 2000;
const retryReadMs = 250;
/** A stream's ids are the times of arrival; an event's own time may be earlier, and clocks differ. */
const arrivalSlackMs = 60_000;

type StreamEntry = [id: string, fields: string[]];

export class RedisTelemetry extends MemoryTelemetry {
  private readonly writer: Redis;
  /** Apart, because a blocking read holds its connection. */
  private readonly tail: Redis;
  private readonly eventsKey: string;
  private inFlight = 0;
  private readonly closing = new AbortController();
  private following: Promise<void> | undefined;

  constructor(
    url: string,
    private readonly keyPrefix: string,
    limits: TelemetryLimits,
  ) {
    super(limits);
    this.eventsKey = `${keyPrefix}:events`;
    const shared = {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: limits.redisTimeoutMs,
      retryStrategy: (attempt: number) => Math.min(50 * 2 ** Math.min(attempt, 8), reconnectDelayMaxMs),
    };
    this.writer = new Redis(url, { ...shared, commandTimeout: limits.redisTimeoutMs });
    this.tail = new Redis(url, { ...shared, blockingTimeout: blockMs });
    // Without a listener the client prints. The state of the connection is in `health`, and every write is counted.
    for (const client of [this.writer, this.tail]) client.on('error', () => undefined);
  }

  /** Does not wait for Redis: it may come later, or never. */
  override start(): Promise<void> {
    const later = (): void => {
      // The client goes on trying by itself.
    };
    this.writer.connect().catch(later);
    this.tail.connect().catch(later);
    this.following = this.followOthers();
    return Promise.resolve();
  }

  override async close(): Promise<void> {
    this.closing.abort();
    this.writer.disconnect();
    this.tail.disconnect();
    await super.close();
    await this.following;
  }

  override publishStats(sample: StatsSample): void {
    super.publishStats(sample);
    const key = this.statsKey(sample.containerId);
    const { statsPerContainerMax, redisStatsKeptMs } = this.limits;
    this.write(() =>
      this.writer
        .pipeline()
        .xadd(key, 'MAXLEN', '~', statsPerContainerMax, '*', 'sample', JSON.stringify(sample))
        .pexpire(key, redisStatsKeptMs)
        .exec(),
    );
  }

  override async stats(containerId: string, options: { sinceMs: number }): Promise<StatsSample[]> {
    const from = String(Math.max(0, options.sinceMs - arrivalSlackMs));
    const entries = await this.read(this.statsKey(containerId), from, '+');
    if (entries === undefined) return super.stats(containerId, options);
    return entries
      .map(([, fields]) => JSON.parse(fields[1] ?? 'null') as StatsSample)
      .filter((sample) => sample.atMs >= options.sinceMs);
  }

  override health(): ReturnType<Telemetry['health']> {
    return { kind: 'redis', connected: this.isConnected(), dropped: this.dropped };
  }

  protected override deliver(published: PublishedEvent): void {
    super.deliver(published);
    if (!this.isOwn(published)) return;
    const { mark, event } = published;
    this.write(() =>
      this.writer.xadd(
        this.eventsKey,
        'MAXLEN',
        '~',
        this.limits.eventsMax,
        '*',
        'mark',
        mark,
        'event',
        JSON.stringify(event),
      ),
    );
  }

  protected override async history(range: EventRange): Promise<PublishedEvent[]> {
    const slackMs = BigInt(arrivalSlackMs);
    const sinceMs = range.sinceNano === undefined ? 0n : range.sinceNano / 1_000_000n - slackMs;
    const untilMs = range.untilNano === undefined ? undefined : range.untilNano / 1_000_000n + slackMs;
    const entries = await this.read(
      this.eventsKey,
      String(sinceMs > 0n ? sinceMs : 0n),
      untilMs === undefined ? '+' : String(untilMs),
    );
    const own = await super.history(range);
    if (entries === undefined) return own;
    const found = entries.map(([, fields]) => toPublished(fields)).filter((each) => isInRange(each, range));
    // What was published while Redis was away is only here.
    const known = new Set(found.map((each) => each.mark));
    found.push(...own.filter((each) => !known.has(each.mark)));
    return found.sort((a, b) => a.event.timeNano - b.event.timeNano);
  }

  /** Fire and forget; what does not arrive is counted. */
  private write(send: () => Promise<unknown>): void {
    if (!this.isConnected() || this.inFlight >= this.limits.redisWritesInFlightMax) {
      this.dropped++;
      return;
    }
    this.inFlight++;
    send()
      .catch(() => this.dropped++)
      .finally(() => this.inFlight--);
  }

  /** Undefined when Redis does not answer. */
  private async read(key: string, from: string, to: string): Promise<StreamEntry[] | undefined> {
    if (!this.isConnected()) return undefined;
    const found: StreamEntry[] = [];
    let start = from;
    try {
      for (;;) {
        const page = await this.writer.xrange(key, start, to, 'COUNT', pageEntries);
        found.push(...page);
        const last = page.at(-1);
        if (last === undefined || page.length < pageEntries) return found;
        start = `(${last[0]}`;
      }
    } catch {
      // The memory of this process answers instead.
      return undefined;
    }
  }

  /** Reads what other processes publish and passes it on, for as long as this one lives. */
  private async followOthers(): Promise<void> {
    let lastId: string | undefined;
    while (!this.closing.signal.aborted) {
      try {
        if (this.tail.status !== 'ready') {
          await this.tailReady();
          continue;
        }
        // Not `$`: between two reads it would skip what arrives meanwhile.
        lastId ??= (await this.tail.xrevrange(this.eventsKey, '+', '-', 'COUNT', 1))[0]?.[0] ?? '0-0';
        const reply = await this.tail.xread(
          'COUNT',
          pageEntries,
          'BLOCK',
          blockMs,
          'STREAMS',
          this.eventsKey,
          lastId,
        );
        for (const [id, fields] of reply?.[0]?.[1] ?? []) {
          lastId = id;
          const published = toPublished(fields);
          if (!this.isOwn(published)) this.deliver(published);
        }
      } catch {
        // Redis went away in the middle, or refuses. A stream made anew begins with ids later than any seen, so the
        // next read goes on from here.
        await delay(retryReadMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
  }

  private async tailReady(): Promise<void> {
    if (this.closing.signal.aborted || this.tail.status === 'ready') return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.tail.off('ready', done);
        this.tail.off('end', done);
        resolve();
      };
      this.tail.on('ready', done);
      this.tail.on('end', done);
    });
  }

  private isConnected(): boolean {
    return this.writer.status === 'ready';
  }

  private statsKey(containerId: string): string {
    return `${this.keyPrefix}:stats:${containerId}`;
  }
}

function toPublished(fields: string[]): PublishedEvent {
  const values = new Map<string, string>();
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i] ?? '', fields[i + 1] ?? '');
  return {
    mark: values.get('mark') ?? '',
    event: JSON.parse(values.get('event') ?? '{}') as ClusterEvent,
  };
}
