/** Lines of a log as a client gets them: many at once, because a write for each would cost more than all the rest. */
import type { LogLine } from '#libs/runtime';
import type { Writable } from 'node:stream';

const frameHeaderBytes = 8;

export type LinePrefix = (line: LogLine) => string;

/** What `timestamps` and `details` put before a line; undefined: nothing. Always ASCII. */
export function linePrefix(options: {
  timestamps: boolean;
  details: boolean;
  /** What log options add to every line. */
  attributes: Readonly<Record<string, string>>;
}): LinePrefix | undefined {
  const attributes = Object.entries(options.attributes)
    .map(([name, value]) => `${queryEscape(name)}=${queryEscape(value)}`)
    .join(',');
  const details = options.details ? `${attributes} ` : '';
  if (options.timestamps) return (line) => `${line.time} ${details}`;
  return options.details ? () => details : undefined;
}

/** As Go's url.QueryEscape. */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replace(/%20/g, '+')
    .replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Raw with a terminal, else a frame of the multiplexed stream for each line. */
export function frameLines(lines: readonly LogLine[], tty: boolean, prefix?: LinePrefix): Buffer {
  const headerBytes = tty ? 0 : frameHeaderBytes;
  // Prefixes are ASCII.
  const prefixes = prefix === undefined ? undefined : lines.map(prefix);
  let length = 0;
  for (const [at, line] of lines.entries())
    length += headerBytes + (prefixes?.[at]?.length ?? 0) + line.data.length;
  const bytes = Buffer.allocUnsafe(length);
  let offset = 0;
  for (const [at, line] of lines.entries()) {
    const text = prefixes?.[at] ?? '';
    if (!tty) {
      bytes.writeUInt32BE((line.stream === 'stdout' ? 1 : 2) << 24, offset);
      bytes.writeUInt32BE(text.length + line.data.length, offset + 4);
      offset += frameHeaderBytes;
    }
    offset += bytes.write(text, offset, 'latin1');
    bytes.set(line.data, offset);
    offset += line.data.length;
  }
  return bytes;
}

/** Resolves when there is room again, or nobody who waits for it. */
export function drained(output: Writable, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      output.off('drain', done);
      output.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    output.once('drain', done);
    output.once('close', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted || output.destroyed) done();
  });
}
