/** One line of a json-file log: `{"log":"...","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}`. */
import type { LogLine } from '../port.js';

/** The shim writes its fields in one order and its times in one length, so a line ends in a fixed number of bytes. */
const head = Buffer.from('{"log":"');
const tailBytes = Buffer.byteLength('","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}');
const tailPattern = /^","stream":"(stdout|stderr)","time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)"\}$/;
const backslash = 0x5c;
const letterN = 0x6e;
const newline = 0x0a;

/**
 * Undefined for what is no record: half a line of a keeper that was killed, or damage. `line` must be the caller's own:
 * its bytes become the record's data where they need no translation, which is what makes long logs fast.
 */
export function readLogRecord(line: Buffer): LogLine | undefined {
  return readPlainRecord(line) ?? parseLogRecord(line);
}

/** Text without escapes but for the newline at its end. */
function readPlainRecord(line: Buffer): LogLine | undefined {
  const textEnd = line.length - tailBytes;
  if (textEnd < head.length || line.compare(head, 0, head.length, 0, head.length) !== 0) return undefined;
  const match = tailPattern.exec(line.toString('latin1', textEnd));
  if (match === null) return undefined;
  const [, stream, time] = match as unknown as [string, LogLine['stream'], string];
  const escape = line.indexOf(backslash, head.length);
  if (escape < 0 || escape >= textEnd) return { stream, time, data: line.subarray(head.length, textEnd) };
  if (escape !== textEnd - 2 || line[escape + 1] !== letterN) return undefined;
  line[escape] = newline;
  return { stream, time, data: line.subarray(head.length, escape + 1) };
}

function parseLogRecord(line: Buffer): LogLine | undefined {
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
  const aligned = alignTime(time);
  return aligned === undefined ? undefined : { stream, time: aligned, data: Buffer.from(log, 'utf8') };
}

/** RFC 3339 in UTC with up to nine decimals, to exactly nine: such texts compare as their times do. */
function alignTime(text: string): string | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(text);
  return match === null ? undefined : `${match[1]}.${(match[2] ?? '').padEnd(9, '0')}Z`;
}

/** The last second whose year has four digits. */
const lastNano = BigInt(Date.UTC(9999, 11, 31, 23, 59, 59)) * 1_000_000n;

/** Nanoseconds since the epoch as the log writes times; what is out of their range is the nearest end of it. */
export function timeOfNano(given: bigint): string {
  const second = 1_000_000_000n;
  const nano = given < 0n ? 0n : given > lastNano ? lastNano : given;
  const date = new Date(Number(nano / second) * 1_000);
  return `${date.toISOString().slice(0, 19)}.${(nano % second).toString().padStart(9, '0')}Z`;
}
