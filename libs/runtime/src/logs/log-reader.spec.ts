import { expect } from 'chai';
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LogLine, LogQuery } from '../port.js';
import { systemClock } from '../runtime-fixture.js';
import { readLog } from './log-reader.js';

const record = (text: string, second: number, stream = 'stdout'): string =>
  `${JSON.stringify({ log: text, stream, time: `2026-01-01T00:00:${String(second).padStart(2, '0')}.000000001Z` })}\n`;
const nanoOf = (second: number): bigint => BigInt(Date.UTC(2026, 0, 1, 0, 0, second)) * 1_000_000n + 1n;

describe('reading a log', () => {
  let folder: string;
  let path: string;
  let isWritten = true;
  let endListeners: (() => void)[] = [];
  beforeEach(() => {
    folder = mkdtempSync('/tmp/enxame-log-');
    path = join(folder, 'x.log');
    isWritten = true;
    endListeners = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const read = (query: Partial<LogQuery>): ReturnType<typeof readLog> =>
    readLog(
      {
        path,
        clock: systemClock,
        isWritten: () => isWritten,
        onEnd: (listener) => {
          endListeners.push(listener);
          return () => undefined;
        },
      },
      { follow: false, stdout: true, stderr: true, ...query },
    );
  async function* each(batches: ReturnType<typeof readLog>): AsyncGenerator<LogLine> {
    for await (const lines of batches) yield* lines;
  }
  const all = async (query: Partial<LogQuery> = {}): Promise<string> => {
    let text = '';
    for await (const lines of read(query)) for (const line of lines) text += line.data.toString();
    return text;
  };
  const end = (): void => {
    isWritten = false;
    for (const listener of endListeners) listener();
  };
  const rotate = (): void => {
    renameSync(`${path}.1`, `${path}.2`);
    renameSync(path, `${path}.1`);
  };

  it('is nothing where there is none', async () => expect(await all()).to.equal(''));

  it('goes through rotated files in the order they were written', async () => {
    writeFileSync(`${path}.2`, record('a\n', 1));
    writeFileSync(`${path}.1`, record('b\n', 2) + record('c\n', 3, 'stderr'));
    writeFileSync(path, record('d\n', 4));
    expect(await all()).to.equal('a\nb\nc\nd\n');
    expect(await all({ stderr: false })).to.equal('a\nb\nd\n');
    expect(await all({ sinceNano: nanoOf(2), untilNano: nanoOf(3) })).to.equal('b\nc\n');
    for (const [tail, text] of [
      [0, ''],
      [1, 'd\n'],
      [2, 'c\nd\n'],
      [3, 'b\nc\nd\n'],
      [9, 'a\nb\nc\nd\n'],
    ] as const) {
      expect(await all({ tail }), `tail ${tail}`).to.equal(text);
    }
  });

  it('finds a tail in long lines', async () => {
    const long = `${'x'.repeat(200_000)}\n`;
    writeFileSync(path, record('a\n', 1) + record(long, 2) + record('c\n', 3));
    expect(await all({ tail: 2 })).to.equal(`${long}c\n`);
  });

  it('skips what is no record: torn, foreign, damaged', async () => {
    writeFileSync(
      path,
      `${record('a\n', 1)}{"log":"half\n\n{"log":1}\nnull\n${record('b\n', 2)}{"log":"no end`,
    );
    expect(await all()).to.equal('a\nb\n');
  });

  it('reads text of every kind back as it was written, fast ways and slow', async () => {
    const texts = [
      'plain\n',
      'no newline',
      '\n',
      '',
      'tab\there\n',
      '"quoted" \\ back\n',
      'ação 蜂\n',
      'two\nlines\n',
      '\\n',
    ];
    writeFileSync(
      path,
      texts.map((text, second) => record(text, second, second % 2 ? 'stderr' : 'stdout')).join(''),
    );
    const lines: string[] = [];
    for await (const { data, stream, time } of each(read({})))
      lines.push(`${time} ${stream} ${data.toString()}`);
    expect(lines).to.deep.equal(
      texts.map(
        (text, second) =>
          `2026-01-01T00:00:0${second}.000000001Z ${second % 2 ? 'stderr' : 'stdout'} ${text}`,
      ),
    );
  });

  it('compares times with fewer decimals, and bounds beyond any log', async () => {
    writeFileSync(
      path,
      `{"log":"a\\n","stream":"stdout","time":"2026-01-01T00:00:01.5Z"}\n${record('b\n', 2)}`,
    );
    expect(await all({ sinceNano: nanoOf(1) })).to.equal('a\nb\n');
    expect(await all({ sinceNano: nanoOf(1) + 600_000_000n })).to.equal('b\n');
    expect(await all({ sinceNano: -1n, untilNano: 10n ** 30n })).to.equal('a\nb\n');
  });

  it('follows across rotations until the writer ends', async () => {
    writeFileSync(`${path}.1`, record('a\n', 1));
    writeFileSync(path, record('b\n', 2));
    const seen: string[] = [];
    const steps: Record<string, () => void> = {
      'b\n': () => appendFileSync(path, record('c\n', 3).slice(0, 10)),
      'c\n': () => {
        appendFileSync(path, record('d\n', 4));
        rotate();
        writeFileSync(path, record('e\n', 5));
        rotate();
        writeFileSync(path, record('f\n', 6));
      },
      'f\n': () => {
        appendFileSync(path, record('g\n', 7));
        end();
      },
    };
    for await (const { data } of each(read({ follow: true }))) {
      const text = data.toString();
      seen.push(text);
      steps[text]?.();
      if (text === 'b\n') setImmediate(() => appendFileSync(path, record('c\n', 3).slice(10)));
    }
    expect(seen).to.deep.equal(['a\n', 'b\n', 'c\n', 'd\n', 'e\n', 'f\n', 'g\n']);
  });

  it('follows a file that is cut instead of rotated, and one that does not exist yet', async () => {
    const seen: string[] = [];
    setImmediate(() => writeFileSync(path, record('first\n', 1)));
    for await (const { data } of each(read({ follow: true, tail: 5 }))) {
      seen.push(data.toString());
      if (seen.length === 1) {
        writeFileSync(path, '');
        setTimeout(() => appendFileSync(path, record('2\n', 2)), 50);
      }
      if (seen.length === 2) end();
    }
    expect(seen).to.deep.equal(['first\n', '2\n']);
  });

  it('stops when nobody reads any more', async () => {
    writeFileSync(path, record('a\n', 1));
    const abort = new AbortController();
    for await (const { data } of each(read({ follow: true, signal: abort.signal }))) {
      expect(data.toString()).to.equal('a\n');
      abort.abort();
    }
  });
});
