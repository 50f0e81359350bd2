import { expect } from 'chai';
import fc from 'fast-check';
import { Inflights } from './inflights.js';
import { Progress } from './progress.js';

const limits = { inflightAppendsMax: 3, inflightBytesMax: 100 };

function replicating(match: number): Progress {
  const progress = new Progress(match + 1, limits);
  progress.accept(match);
  progress.becomeReplicate();
  return progress;
}

function told({ state, match, next, isPaused, pendingSnapshot, inflights }: Progress) {
  return { state, match, next, isPaused, pendingSnapshot, inflight: [inflights.count, inflights.bytes] };
}

describe('raft: requests under way', () => {
  it('are full by count', () => {
    const inflights = new Inflights(2, 1000);
    inflights.add(5, 10);
    expect(inflights.isFull).to.equal(false);
    inflights.add(6, 10);
    expect(inflights.isFull).to.equal(true);
    expect(() => inflights.add(7, 10)).to.throw('beyond the window');
  });

  it('are full by bytes, and one of any size goes', () => {
    const inflights = new Inflights(8, 100);
    inflights.add(5, 5000);
    expect(inflights.isFull).to.equal(true);
    inflights.freeThrough(5);
    expect([inflights.isFull, inflights.bytes]).to.deep.equal([false, 0]);
  });

  it('are freed through the answered index, also by an answer that overtook others', () => {
    const inflights = new Inflights(4, 1000);
    for (const index of [3, 6, 9, 12]) inflights.add(index, index);
    inflights.freeThrough(2);
    expect([inflights.count, inflights.bytes]).to.deep.equal([4, 30]);
    inflights.freeThrough(10);
    expect([inflights.count, inflights.bytes]).to.deep.equal([1, 12]);
    inflights.freeThrough(6);
    expect(inflights.count).to.equal(1);
  });

  it('are fewer after each loss, and more again with each that arrives', () => {
    const inflights = new Inflights(5, 1000);
    const room = (): number => {
      let count = 0;
      for (; !inflights.isFull; count++) inflights.add(count, 0);
      inflights.clear();
      return count;
    };
    const rooms = [room()];
    for (const move of ['narrow', 'narrow', 'narrow', 'widen', 'widen', 'widen', 'widen', 'widen'] as const) {
      inflights[move]();
      rooms.push(room());
    }
    expect(rooms).to.deep.equal([5, 2, 1, 1, 2, 3, 4, 5, 5]);
  });

  it('count as a plain list would, over any number of turns of the ring', () => {
    const moves = fc.array(
      fc.record({ add: fc.boolean(), step: fc.nat({ max: 5 }), bytes: fc.nat({ max: 60 }) }),
    );
    fc.assert(
      fc.property(moves, (all) => {
        const inflights = new Inflights(3, 100);
        let model: { index: number; bytes: number }[] = [];
        let last = 0;
        for (const { add, step, bytes } of all) {
          if (add && !inflights.isFull) {
            last += step;
            inflights.add(last, bytes);
            model.push({ index: last, bytes });
          } else if (!add) {
            const through = last - step;
            inflights.freeThrough(through);
            model = model.filter((each) => each.index > through);
          }
          const total = model.reduce((sum, each) => sum + each.bytes, 0);
          expect([inflights.count, inflights.bytes]).to.deep.equal([model.length, total]);
          expect(inflights.isFull).to.equal(model.length >= 3 || total >= 100);
        }
      }),
    );
  });
});

describe('raft: progress of a member', () => {
  const fresh = { match: 0, isPaused: false, pendingSnapshot: 0, inflight: [0, 0] };

  it('begins to probe after the end of the log', () => {
    expect(told(new Progress(8, limits))).to.deep.equal({ ...fresh, state: 'probe', next: 8 });
  });

  it('waits for an answer after one request while probing', () => {
    const progress = new Progress(8, limits);
    progress.sent(2, 20, 0);
    expect(told(progress)).to.deep.equal({ ...fresh, state: 'probe', next: 8, isPaused: true });
    expect(progress.maySend).to.equal(false);
  });

  it('goes back to the hint when a probe is rejected, once', () => {
    const progress = new Progress(8, limits);
    progress.sent(0, 0, 0);
    expect(progress.reject(7, 4)).to.equal(true);
    expect(told(progress)).to.deep.equal({ ...fresh, state: 'probe', next: 4 });
    expect(progress.reject(7, 2)).to.equal(false);
    expect(progress.next).to.equal(4);
  });

  it('goes back by at least one, and never behind what is known to match', () => {
    const progress = new Progress(8, limits);
    progress.reject(7, 20);
    expect(progress.next).to.equal(7);
    progress.accept(5);
    progress.reject(6, 2);
    expect(progress.next).to.equal(6);
  });

  it('sends on without answers while replicating, until the window is full', () => {
    const progress = replicating(4);
    progress.sent(2, 20, 4);
    progress.sent(1, 10, 4);
    expect(told(progress)).to.deep.equal({
      state: 'replicate',
      match: 4,
      next: 8,
      isPaused: false,
      pendingSnapshot: 0,
      inflight: [2, 30],
    });
    progress.sent(1, 80, 4);
    expect([progress.isPaused, progress.inflights.bytes]).to.deep.equal([true, 110]);
    progress.accept(6);
    expect([progress.isPaused, progress.inflights.bytes]).to.deep.equal([false, 90]);
  });

  it('takes an older answer for no news', () => {
    const progress = replicating(4);
    progress.sent(3, 30, 4);
    expect([progress.accept(7), progress.accept(5), progress.accept(7)]).to.deep.equal([true, false, false]);
    expect(progress.match).to.equal(7);
  });

  it('probes from what is known to match when a request was lost', () => {
    const progress = replicating(4);
    progress.sent(3, 30, 4);
    expect(progress.reject(4, 1)).to.equal(false);
    expect(progress.state).to.equal('replicate');
    expect(progress.reject(7, 1)).to.equal(true);
    expect(told(progress)).to.deep.equal({ ...fresh, state: 'probe', match: 4, next: 5 });
  });

  it('sends nothing while a snapshot is on its way, and goes on after it', () => {
    const progress = replicating(4);
    progress.becomeSnapshot(20);
    expect(told(progress)).to.deep.include({ state: 'snapshot', pendingSnapshot: 20, next: 5 });
    expect([progress.maySend, progress.reject(4, 1)]).to.deep.equal([false, false]);
    progress.snapshotEnded('delivered');
    expect(told(progress)).to.deep.equal({ ...fresh, state: 'probe', match: 4, next: 21, isPaused: true });
  });

  it('goes on where it was when the snapshot failed', () => {
    const progress = replicating(4);
    progress.becomeSnapshot(20);
    progress.snapshotEnded('failed');
    expect(told(progress)).to.deep.equal({ ...fresh, state: 'probe', match: 4, next: 5, isPaused: true });
    progress.snapshotEnded('delivered');
    expect(progress.next).to.equal(5);
  });

  it('remembers the commit it sent only as far as it is sure to have arrived', () => {
    const progress = replicating(4);
    progress.sent(3, 30, 7);
    expect(progress.sentCommit).to.equal(7);
    progress.becomeProbe();
    expect(progress.sentCommit).to.equal(4);
  });
});
