import { expect } from 'chai';
import fc from 'fast-check';
import { CoreLog } from './log.js';
import { votersOnly } from './membership/membership.js';
import type { Entry } from './types.js';

function entriesFrom(first: number, terms: readonly number[], changesAt: readonly number[] = []): Entry[] {
  return terms.map((term, at) => ({
    index: first + at,
    term,
    kind: changesAt.includes(first + at) ? 'membership' : 'data',
    data: Buffer.alloc(term),
  }));
}

const indexesOf = (entries: readonly Entry[]): number[] => entries.map((each) => each.index);

describe('raft: log', () => {
  it('begins after the snapshot, whose term it knows', () => {
    const snapshot = { index: 4, term: 2, membership: votersOnly(['a']) };
    const log = new CoreLog(snapshot, entriesFrom(5, [2, 3]));
    expect([log.firstIndex, log.lastIndex, log.lastTerm]).to.deep.equal([5, 6, 3]);
    expect([3, 4, 5, 6, 7].map((index) => log.term(index))).to.deep.equal([undefined, 2, 2, 3, undefined]);
  });

  it('refuses entries that leave a gap or reach behind its beginning', () => {
    const log = new CoreLog(undefined, entriesFrom(1, [1, 1, 1]));
    expect(() => log.append(entriesFrom(5, [1]))).to.throw('entry 5 does not fit a log of 1..3');
    log.compact(2);
    expect(() => log.append(entriesFrom(2, [2]))).to.throw('entry 2 does not fit a log of 3..3');
  });

  it('replaces from the first new entry on and says what stayed', () => {
    const log = new CoreLog(undefined, entriesFrom(1, [1, 1, 1, 1]));
    expect(log.append(entriesFrom(3, [2]))).to.equal(2);
    expect([1, 2, 3, 4].map((index) => log.term(index))).to.deep.equal([1, 1, 2, undefined]);
    expect(log.append(entriesFrom(4, [2, 2]))).to.equal(3);
  });

  it('cuts slices by bytes and count, never to nothing', () => {
    // An entry is as long as its term here.
    const log = new CoreLog(undefined, entriesFrom(1, [5, 5, 5, 50, 50]));
    expect(indexesOf(log.slice(1, 5, 12))).to.deep.equal([1, 2]);
    expect(indexesOf(log.slice(4, 5, 12))).to.deep.equal([4]);
    expect(indexesOf(log.slice(1, 5, 1000, 3))).to.deep.equal([1, 2, 3]);
    expect(indexesOf(log.slice(2, 3, 1000))).to.deep.equal([2, 3]);
    expect(indexesOf(log.slice(6, 9, 1000))).to.deep.equal([]);
    expect([log.bytesOf(1, 3), log.bytesOf(4, 5), log.bytesOf(2, 1)]).to.deep.equal([15, 100, 0]);
  });

  it('knows where the changes of membership are after cuts and compaction', () => {
    const log = new CoreLog(undefined, entriesFrom(1, [1, 1, 1, 1, 1], [2, 4, 5]));
    expect([0, 2, 4, 5].map((index) => log.nextMembershipAfter(index))).to.deep.equal([2, 4, 5, undefined]);
    log.append(entriesFrom(4, [2, 2], [5]));
    expect(log.nextMembershipAfter(2)).to.equal(5);
    log.compact(2);
    expect(log.nextMembershipAfter(0)).to.equal(5);
    log.reset({ index: 9, term: 3, membership: votersOnly(['a']) });
    expect([log.firstIndex, log.lastIndex, log.nextMembershipAfter(0)]).to.deep.equal([10, 9, undefined]);
  });

  it('finds the last entry of a term or an older one as a walk backwards would', () => {
    const rises = fc.array(fc.nat({ max: 3 }), { maxLength: 30 });
    fc.assert(
      fc.property(
        rises,
        fc.nat({ max: 35 }),
        fc.nat({ max: 40 }),
        fc.nat({ max: 10 }),
        (steps, index, term, cut) => {
          let last = 1;
          const terms = steps.map((step) => {
            last += step;
            return last;
          });
          const log = new CoreLog(undefined, entriesFrom(1, terms));
          log.compact(Math.min(cut, terms.length));
          let expected = Math.min(index, log.lastIndex);
          while (expected >= log.firstIndex && (log.term(expected) as number) > term) expected--;
          expect(log.lastIndexOfTermAtMost(index, term)).to.equal(Math.max(expected, log.firstIndex - 1));
        },
      ),
    );
  });
});
