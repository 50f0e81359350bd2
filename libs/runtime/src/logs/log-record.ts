/** One line of a json-file log: `{"log":"...","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}`. */
import type { LogLine } from '../port.js';

/** Undefined for what is no record: half a line of a keeper that was killed, or damage. */
export function parseLogRecord(line: Buffer): (LogLine & { timeValue: bigint }) | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line.toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { log, stream, time } = parsed as { log?: unknown; stream?: unknown; time?: unknown };
  if (typeof log !== 'string' || typeof time !== 'string') return undefined;
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const timeValue = parseNanoseconds(time);
  if (timeValue === undefined) return undefined;
  return { stream, data: Buffer.from(log, 'utf8'), timeNano: String(timeValue), timeValue };
}

/** RFC 3339 in UTC with up to nine decimals. */
function parseNanoseconds(text: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(text);
  if (match === null) return undefined;
  const seconds = Date.parse(`${match[1]}Z`);
  if (Number.isNaN(seconds)) return undefined;
  return BigInt(seconds) * 1_000_000n + BigInt((match[2] ?? '').padEnd(9, '0'));
}
