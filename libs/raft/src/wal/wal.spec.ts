import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { EnxameError, type ErrorCode } from '#libs/model';
import type { Entry } from '../core/types.js';
import { crc32c } from './crc32c.js';
import { type Disk, readWhole } from './disk.js';
import type { StorageKey } from './file-cipher.js';
import type { FileOwner } from './file-header.js';
import { nodeDisk } from './node-disk.js';
import { packBatch } from './records.js';
import { openWal, type Wal } from './wal.js';
import { EntryList, LogShape, type WalContent } from './wal-content.js';

const key = (id: string): StorageKey => ({ id, key: Buffer.alloc(32, id) });

function entry(index: number, term = 1, text = `entry ${index}`): Entry {
  return { index, term, kind: 'data', data: Buffer.from(text) };
}

function range(first = 0, last = 0): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function texts(content: WalContent): string[] {
  return content.entries.map((each) => Buffer.from(each.data).toString());
}

function refusalOf(action: () => unknown, code: ErrorCode = 'data-damaged'): EnxameError {
  try {
    action();
  } catch (error) {
    if (error instanceof EnxameError && error.code === code) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

it('raft: CRC-32C gives the values of RFC 3720, B.4, whole and in parts', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  expect(crc32c(new Uint8Array(32))).to.equal(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).to.equal(0x62a8ab43);
  expect(crc32c(ascending)).to.equal(0x46dd794e);
  expect(crc32c(ascending.toReversed())).to.equal(0x113fdb5c);
  expect(crc32c(Buffer.from('123456789'))).to.equal(0xe3069283);
  expect(crc32c(ascending.subarray(13), crc32c(ascending.subarray(0, 13)))).to.equal(0x46dd794e);
});

for (const owner of [{ keys: [] }, { keys: [key('first')], clusterId: 'blue' }] as const) {
  describe(`raft: write-ahead log, ${owner.keys.length > 0 ? '' : 'not '}encrypted`, () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'enxame-wal-'));
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    type Settings = Partial<FileOwner> & { segmentBytesMax?: number; disk?: Disk };

    function open({ disk = nodeDisk, ...settings }: Settings = {}): { wal: Wal; content: WalContent } {
      const entries = new EntryList();
      const options = { segmentBytesMax: 1024 * 1024, ...owner, ...settings };
      const { wal, found } = openWal(disk, dir, options, (batch) => entries.add(batch));
      return { wal, content: { ...found, entries: entries.take() } };
    }

    function append(batches: Entry[][], settings: Settings = {}): void {
      const { wal } = open(settings);
      for (const entries of batches) {
        const last = entries.at(-1);
        wal.append(packBatch({ hardState: { term: last?.term ?? 1, votedFor: 'm1', commit: 0 }, entries }));
      }
      wal.close();
    }

    function read(settings: Settings = {}): WalContent {
      const { wal, content } = open(settings);
      wal.close();
      return content;
    }

    const damage = (): EnxameError => refusalOf(() => read());
    const manySegments = (): void =>
      append(
        Array.from({ length: 20 }, (_, i) => [entry(i + 1, 3, 'x'.repeat(100))]),
        { segmentBytesMax: 900 },
      );
    const file = (sequence = 1): string => join(dir, `${String(sequence).padStart(12, '0')}.wal`);

    /** Six frames in one file, and where each ends. What follows the last is room set aside. */
    function sample(): { bytes: Buffer; ends: number[] } {
      // Little room set aside: less to write for each of many files.
      const little = { segmentBytesMax: 4000 };
      append([], little);
      const ends = [readFileSync(file()).length];
      for (let i = 1; i <= 6; i++) {
        append([[entry(i, 1, `payload ${i} `.repeat(i))]], little);
        const used = readFileSync(file()).findLastIndex((byte) => byte !== 0) + 1;
        ends.push(used);
      }
      return { bytes: readFileSync(file()).subarray(0, (ends.at(-1) ?? 0) + 2000), ends };
    }

    it('gives back what was appended, with the newest hard state', () => {
      append([[entry(1)], [entry(2), entry(3, 2)], []]);
      const content = read();
      expect(texts(content)).to.deep.equal(['entry 1', 'entry 2', 'entry 3']);
      expect(content.hardState).to.deep.equal({ term: 1, votedFor: 'm1', commit: 0 });
      expect(content.torn).to.equal(undefined);
    });

    it('replaces entries from the first new one on', () => {
      append([[entry(1), entry(2), entry(3)], [entry(2, 2, 'new 2')]]);
      expect(texts(read())).to.deep.equal(['entry 1', 'new 2']);
    });

    it('goes on in new segments and reads across them', () => {
      const batches = Array.from({ length: 50 }, (_, i) => [entry(i + 1, 1, 'x'.repeat(100))]);
      append(batches, { segmentBytesMax: 900 });
      expect(readdirSync(dir).length).to.be.greaterThan(5);
      expect(read().entries.map((each) => each.index)).to.deep.equal(batches.map((_, i) => i + 1));
    });

    it('releases whole segments behind a snapshot and keeps the hard state', () => {
      manySegments();
      const { wal } = open();
      wal.release(12);
      wal.close();
      const { entries, hardState } = read();
      expect(entries[0]?.index).to.be.within(2, 13);
      expect(entries.at(-1)?.index).to.equal(20);
      expect(hardState.term).to.equal(3);
    });

    it('sets room aside in zeros, and goes on within it', () => {
      append([[entry(1)]], { segmentBytesMax: 64 * 1024 });
      expect(readFileSync(file()).length).to.equal(64 * 1024);
      append([[entry(2)], [entry(3, 1, 'z'.repeat(64 * 1024))]], { segmentBytesMax: 64 * 1024 });
      expect(readFileSync(file()).length).to.equal(128 * 1024);
      expect(read().entries).to.have.length(3);
    });

    it('needs room for what it writes alone, not for what it sets aside', () => {
      const disk: Disk = {
        ...nodeDisk,
        open(path, mode) {
          const real = nodeDisk.open(path, mode);
          return Object.assign(Object.create(real) as typeof real, {
            write(bytes: Uint8Array, position: number) {
              if (position + bytes.length <= 4000) return real.write(bytes, position);
              real.write(bytes.subarray(0, 100), position);
              throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
            },
          });
        },
      };
      append([[entry(1)], [entry(2)]], { disk });
      expect(() => append([[entry(3, 1, 'z'.repeat(5000))]], { disk })).to.throw('no space left');
      append([[entry(3)]]);
      expect(texts(read())).to.deep.equal(['entry 1', 'entry 2', 'entry 3']);
    });

    it('refuses a segment that is missing or stands in for another', () => {
      manySegments();
      const bytes = readFileSync(file(2));
      rmSync(file(2));
      expect(damage().message).to.contain('segment 2 is missing');
      copyFileSync(file(3), file(2));
      expect(damage().message).to.contain('not segment 2');
      const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
      writeFileSync(file(2), bytes.subarray(0, used - 3));
      expect(damage().message).to.contain('ends in the middle');
      writeFileSync(file(2), bytes);
      expect(read().entries).to.have.length(20);
    });

    it('keeps every whole frame when the last write ends at any byte', function () {
      this.timeout(30_000);
      const { bytes, ends } = sample();
      const used = ends.at(-1);
      // Within the first frame and the last one; between them at the ends.
      const lengths = [...range(ends[0], ends[1]), ...ends.slice(2, 5), ...range(ends[5], used)];
      for (const length of lengths) {
        const wholeFrames = ends.filter((end) => end <= length).length - 1;
        const isTorn = !ends.includes(length);
        const cut = bytes.subarray(0, length);
        for (const left of [cut, Buffer.concat([cut], length + 700)]) {
          writeFileSync(file(), left);
          const content = read();
          expect(content.entries.length, `cut at ${length}`).to.equal(wholeFrames);
          expect(content.torn !== undefined, `cut at ${length}`).to.equal(isTorn);
        }
        // The tail is gone from the disk: what is appended now is read back.
        if (length % 8 > 0) continue;
        append([[entry(wholeFrames + 1, 2, 'after')]], { segmentBytesMax: 4000 });
        expect(texts(read()).at(-1)).to.equal('after');
      }
    });

    it('refuses a file in which any bit has flipped, says where, and leaves it alone', () => {
      const { bytes, ends } = sample();
      const used = ends.at(-1) ?? 0;
      fc.assert(
        fc.property(fc.nat(used * 8 - 1), (bit) => {
          const flipped = Buffer.from(bytes);
          flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          writeFileSync(file(), flipped);
          const { message } = damage();
          expect(message).to.match(/000000000001\.wal at offset \d+: /);
          expect(Number(/offset (\d+)/.exec(message)?.[1])).to.be.at.most(bit >> 3);
          expect(readFileSync(file()).equals(flipped)).to.equal(true);
        }),
        { numRuns: 300 },
      );
    });

    it('loses nothing to a bit that flips in the room set aside', () => {
      const { bytes, ends } = sample();
      const used = ends.at(-1) ?? 0;
      for (const at of [used, used + 9, used + 15, used + 16, used + 1500]) {
        const flipped = Buffer.from(bytes);
        flipped[at] = 4;
        writeFileSync(file(), flipped);
        expect(read().entries).to.have.length(6);
      }
    });

    it('cuts a last frame of which any sectors never reached the disk, and refuses it before others', () => {
      append([[entry(1)]]);
      const begin = readFileSync(file()).findLastIndex((byte) => byte !== 0) + 1;
      append([[entry(2, 1, 'y'.repeat(2500))]]);
      const last = readFileSync(file());
      const end = last.findLastIndex((byte) => byte !== 0) + 1;
      append([[entry(3)]]);
      const middle = readFileSync(file());
      const sectors = Array.from({ length: 5 }, (_, i) => i);
      fc.assert(
        fc.property(fc.subarray(sectors, { minLength: 1 }), (lost) => {
          const without = (whole: Buffer): Buffer => {
            const left = Buffer.from(whole);
            for (const sector of lost) {
              const start = Math.floor(begin / 512) * 512 + sector * 512;
              left.fill(0, Math.max(start, begin), Math.min(start + 512, end));
            }
            return left;
          };
          writeFileSync(file(), without(last));
          const content = read();
          expect(texts(content)).to.deep.equal(['entry 1']);
          expect(content.torn).to.include({ file: file(), offset: begin });
          writeFileSync(file(), without(middle));
          expect(damage().message).to.contain(`at offset ${begin}`);
        }),
        { numRuns: 60 },
      );
    });

    it('refuses a foreign file, and one of another format in clear words', () => {
      writeFileSync(file(), 'this is a letter, not a log');
      expect(damage().message).to.contain('at offset 0: the header is not whole');
      writeFileSync(file(), Buffer.from('456e7857440000003df2c15d', 'hex'));
      const { message } = refusalOf(() => read(), 'failed-precondition');
      expect(message).to.contain(
        'is of format 1, written by another version of Enxame; this one reads format 2',
      );
    });
  });
}

describe('raft: write-ahead log and its keys', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-wal-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  function run(owner: FileOwner, batch: Entry[] = [], segmentBytesMax = 1_000_000): string[] {
    const entries = new EntryList();
    const { wal, found } = openWal(nodeDisk, dir, { segmentBytesMax, ...owner }, (each) => entries.add(each));
    if (batch.length > 0) wal.append(packBatch({ hardState: { term: 1, commit: 0 }, entries: batch }));
    wal.close();
    return texts({ ...found, entries: entries.take() });
  }

  it('writes nothing of an entry in the clear', () => {
    run({ keys: [key('a')] }, [entry(1, 1, 'a secret word')]);
    const bytes = readWhole(nodeDisk, join(dir, '000000000001.wal'));
    expect(bytes.includes('a secret word')).to.equal(false);
    rmSync(dir, { recursive: true });
    run({ keys: [] }, [entry(1, 1, 'a secret word')]);
    expect(readWhole(nodeDisk, join(dir, '000000000001.wal')).includes('a secret word')).to.equal(true);
  });

  it('goes over to a new key, or to encryption, with a new segment', () => {
    run({ keys: [] }, [entry(1)]);
    run({ keys: [key('a')] }, [entry(2)]);
    run({ keys: [key('b'), key('a')] }, [entry(3)]);
    expect(run({ keys: [key('c'), key('b'), key('a')] })).to.deep.equal(['entry 1', 'entry 2', 'entry 3']);
    expect(readdirSync(dir)).to.have.length(3);
    const { message } = refusalOf(() => run({ keys: [key('b')] }), 'failed-precondition');
    expect(message).to.contain('000000000002.wal is encrypted with key a, which is not among');
  });

  it('refuses a wrong key, and a log that goes back to none', () => {
    run({ keys: [key('a')] }, [entry(1)]);
    const wrong = { id: 'a', key: Buffer.alloc(32, 'other') };
    expect(refusalOf(() => run({ keys: [wrong] })).message).to.contain('not encrypted for this place');
    const elsewhere = dir;
    dir = mkdtempSync(join(tmpdir(), 'enxame-wal-'));
    run({ keys: [] }, [entry(1, 1, 'x'.repeat(500))], 400);
    run({ keys: [] }, [entry(2)], 400);
    copyFileSync(join(dir, '000000000002.wal'), join(elsewhere, '000000000002.wal'));
    rmSync(dir, { recursive: true });
    dir = elsewhere;
    // It would be read otherwise if the chain happened to fit.
    expect(refusalOf(() => run({ keys: [key('a')] })).message).to.contain('000000000002.wal at offset 0');
  });

  it('refuses the log of another cluster', () => {
    run({ keys: [key('a')], clusterId: 'blue' }, [entry(1)]);
    const { message } = refusalOf(() => run({ keys: [key('a')], clusterId: 'red' }), 'conflict');
    expect(message).to.contain('belongs to cluster blue, this node is of cluster red');
    expect(run({ keys: [key('a')], clusterId: 'blue' })).to.deep.equal(['entry 1']);
  });

  it('passes over frames that a snapshot stands for, unless they end others', () => {
    const batch = (...entries: Entry[]) => ({ entries });
    const shape = new LogShape(4);
    expect(shape.take(batch(entry(1), entry(2)))).to.equal(false);
    expect(shape.take(batch(entry(3), entry(4), entry(5), entry(6)))).to.equal(true);
    expect(shape.take(batch(entry(4, 2)))).to.equal(true);
    expect(shape.take(batch(entry(5, 2)))).to.equal(true);
    expect(shape).to.include({ first: 1, last: 5, termAtSnapshot: 2 });
    expect(() => shape.take(batch(entry(7, 2)))).to.throw(RangeError, 'entry 7 follows a gap');
  });

  it('needs every frame from one that ends others on, to have no gap when a later one counts again', () => {
    const shape = new LogShape(4);
    const list = new EntryList();
    for (const entries of [
      [entry(4), entry(5)],
      [entry(2, 2)],
      [entry(3, 2)],
      [entry(4, 2)],
      [entry(5, 2)],
    ]) {
      expect(shape.take({ entries })).to.equal(true);
      list.add({ entries });
    }
    expect(list.take().map(({ index, term }) => [index, term])).to.deep.equal([
      [2, 2],
      [3, 2],
      [4, 2],
      [5, 2],
    ]);
  });
});
