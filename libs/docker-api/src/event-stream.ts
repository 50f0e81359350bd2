/** Answers `GET /events` from any source of events: one JSON object per line, each sent at once. */
import type { ClusterEvent } from '#libs/model';
import { once } from 'node:events';
import { eventMatches, parseEventQuery, presentEvent } from './events.js';
import type { ApiRequest, ApiResponse } from './port.js';

export type EventSource = (options: {
  sinceNano?: bigint;
  untilNano?: bigint;
  follow: boolean;
  signal: AbortSignal;
}) => AsyncIterable<ClusterEvent>;

const timerMsMax = 2 ** 31 - 1;

export async function streamEvents(
  source: EventSource,
  request: ApiRequest,
  response: ApiResponse,
  nowMs: number,
): Promise<void> {
  const { filters, ...range } = parseEventQuery(request.query, nowMs);
  const output = response.stream(200, { 'Content-Type': 'application/json' });
  const end = new AbortController();
  const leave = (): void => end.abort();
  request.signal.addEventListener('abort', leave, { once: true });
  // A range that is past ends with its last event, however long its history takes to come.
  const { untilNano, follow } = range;
  const timer = untilNano === undefined || !follow ? undefined : setTimeout(leave, waitMs(untilNano, nowMs));
  try {
    // Without `since` only what happens from now on is asked for.
    const sinceNano = range.sinceNano ?? BigInt(nowMs) * 1_000_000n;
    for await (const event of source({ ...range, sinceNano, signal: end.signal })) {
      if (end.signal.aborted) break;
      if (!eventMatches(event, filters)) continue;
      const mayGoOn = output.write(`${JSON.stringify(presentEvent(event))}\n`);
      if (!mayGoOn) await once(output, 'drain', { signal: end.signal });
    }
  } catch (error) {
    // The end of the range and a client that left are how this stream is meant to end.
    if (!end.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    request.signal.removeEventListener('abort', leave);
    end.abort();
    output.end();
  }
}

function waitMs(untilNano: bigint, nowMs: number): number {
  return Math.max(0, Math.min(timerMsMax, Number(untilNano / 1_000_000n) - nowMs));
}
