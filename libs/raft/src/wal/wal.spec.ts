import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { EnxameError } from '#libs/model';
import type { Entry } from '../core/types.js';
import { nodeDisk } from './node-disk.js';
import { packBatch } from './records.js';
import { openWal, type WalContent } from './wal.js';

const options = { segmentBytesMax: 1024 * 1024 };

function entry(index: number, term = 1, text = `entry ${index}`): Entry {
  return { index, term, kind: 'data', data: Buffer.from(text) };
}

function texts(content: WalContent): string[] {
  return content.entries.map((each) => Buffer.from(each.data).toString());
}

function append(dir: string, batches: Entry[][], limits = options): void {
  const { wal } = openWal(nodeDisk, dir, limits);
  for (const entries of batches) {
    const last = entries.at(-1);
    wal.append(packBatch({ hardState: { term: last?.term ?? 1, votedFor: 'm1', commit: 0 }, entries }));
  }
  wal.close();
}

function read(dir: string): WalContent {
  const { wal, content } = openWal(nodeDisk, dir, options);
  wal.close();
  return content;
}

function damageOf(dir: string): EnxameError {
  try {
    read(dir);
  } catch (error) {
    if (error instanceof EnxameError && error.code === 'data-damaged') return error;
    throw error;
  }
  throw new Error('the damage was not noticed');
}

describe('raft: write-ahead log', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-wal-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('gives back what was appended, with the newest hard state', () => {
    append(dir, [[entry(1)], [entry(2), entry(3, 2)], []]);
    const content = read(dir);
    expect(texts(content)).to.deep.equal(['entry 1', 'entry 2', 'entry 3']);
    expect(content.hardState).to.deep.equal({ term: 1, votedFor: 'm1', commit: 0 });
    expect(content.torn).to.equal(undefined);
  });

  it('replaces entries from the first new one on', () => {
    append(dir, [[entry(1), entry(2), entry(3)], [entry(2, 2, 'new 2')]]);
    expect(texts(read(dir))).to.deep.equal(['entry 1', 'new 2']);
  });

  it('goes on in new segments and reads across them', () => {
    const batches = Array.from({ length: 50 }, (_, i) => [entry(i + 1, 1, 'x'.repeat(100))]);
    append(dir, batches, { segmentBytesMax: 500 });
    expect(readdirSync(dir).length).to.be.greaterThan(5);
    expect(read(dir).entries.map((each) => each.index)).to.deep.equal(batches.map((_, i) => i + 1));
  });

  it('releases whole segments behind a snapshot and keeps the hard state', () => {
    append(
      dir,
      Array.from({ length: 20 }, (_, i) => [entry(i + 1, 3, 'x'.repeat(100))]),
      { segmentBytesMax: 500 },
    );
    const { wal } = openWal(nodeDisk, dir, options);
    wal.release(12);
    wal.close();
    const { entries, hardState } = read(dir);
    expect(entries[0]?.index).to.be.within(2, 13);
    expect(entries.at(-1)?.index).to.equal(20);
    expect(hardState.term).to.equal(3);
  });

  it('refuses a segment that is missing or stands in for another', () => {
    append(
      dir,
      Array.from({ length: 20 }, (_, i) => [entry(i + 1, 1, 'x'.repeat(100))]),
      { segmentBytesMax: 500 },
    );
    const names = readdirSync(dir).sort();
    const second = join(dir, names[1] ?? '');
    const bytes = readFileSync(second);
    rmSync(second);
    expect(damageOf(dir).message).to.contain('segment 2 is missing');
    copyFileSync(join(dir, names[2] ?? ''), second);
    expect(damageOf(dir).message).to.contain('not segment 2');
    writeFileSync(second, bytes.subarray(0, -3));
    expect(damageOf(dir).message).to.contain('ends in the middle');
  });

  it('keeps every whole frame when the file is cut at any byte', () => {
    const { file, bytes, ends } = sample();
    for (let length = ends[0] ?? 0; length <= bytes.length; length++) {
      const wholeFrames = ends.filter((end) => end <= length).length - 1;
      writeFileSync(file, bytes.subarray(0, length));
      const content = read(dir);
      expect(content.entries.length, `cut at ${length}`).to.equal(wholeFrames);
      const isTorn = !ends.includes(length);
      expect(content.torn !== undefined, `cut at ${length}`).to.equal(isTorn);
      // The tail is gone from the disk: what is appended now is read back.
      append(dir, [[entry(wholeFrames + 1, 2, 'after')]]);
      expect(texts(read(dir)).at(-1)).to.equal('after');
    }
  });

  it('refuses a file in which any bit has flipped, says where, and leaves it alone', () => {
    const { file, bytes } = sample();
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const flipped = Buffer.from(bytes);
        flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        writeFileSync(file, flipped);
        const { message } = damageOf(dir);
        expect(message).to.match(/raft log .*000000000001\.wal at offset \d+: /);
        const offset = Number(/offset (\d+)/.exec(message)?.[1]);
        expect(offset).to.be.at.most(bit >> 3);
        expect(readFileSync(file).equals(flipped)).to.equal(true);
      }),
      { numRuns: 400 },
    );
  });

  it('cuts a last frame whose sectors never reached the disk', () => {
    append(dir, [[entry(1)], [entry(2, 1, 'y'.repeat(3000))]]);
    const file = join(dir, '000000000001.wal');
    const bytes = readFileSync(file);
    bytes.fill(0, 1024, 1536);
    writeFileSync(file, bytes);
    const content = read(dir);
    expect(texts(content)).to.deep.equal(['entry 1']);
    expect(content.torn).to.include({ file });
  });

  it('refuses a foreign file', () => {
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, '000000000001.wal'), 'this is a letter, not a log');
    expect(damageOf(dir).message).to.contain('at offset 0: the segment header is not whole');
  });

  function sample(): { file: string; bytes: Buffer; ends: number[] } {
    const file = join(dir, '000000000001.wal');
    append(dir, []);
    const ends = [readFileSync(file).length];
    for (let i = 1; i <= 6; i++) {
      append(dir, [[entry(i, 1, `payload ${i} `.repeat(i))]]);
      ends.push(readFileSync(file).length);
    }
    return { file, bytes: readFileSync(file), ends };
  }
});
