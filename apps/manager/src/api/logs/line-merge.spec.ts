import { expect } from 'chai';
import { LineMerge, type TimedLine } from './line-merge.js';

interface Line extends TimedLine {
  text: string;
}

const line = (at: string, text: string): Line => ({ at, text });

describe('LineMerge', () => {
  function mergeInto(written: string[], patienceMs?: number): LineMerge<Line> {
    return new LineMerge<Line>({
      write: async ({ text }) => {
        await new Promise((resolve) => setImmediate(resolve));
        written.push(text);
      },
      nowMs: () => performance.now(),
      ...(patienceMs === undefined ? {} : { patienceMs }),
    });
  }

  it('writes the lines of all sources in the order of their times', async () => {
    const written: string[] = [];
    const merge = mergeInto(written);
    const [a, b, c] = [merge.open(), merge.open(), merge.open()];
    await a.add(line('1', 'a1'));
    await a.add(line('4', 'a4'));
    merge.start();
    c.end();
    a.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(written, 'one source has shown nothing yet').to.deep.equal([]);
    await b.add(line('2', 'b2'));
    await b.add(line('3', 'b3'));
    await b.add(line('5', 'b5'));
    b.end();
    await merge.finished();
    expect(written).to.deep.equal(['a1', 'b2', 'b3', 'a4', 'b5']);
  });

  it('does not wait for a silent source that is followed', async () => {
    const written: string[] = [];
    const merge = mergeInto(written, 20);
    const [a, silent, b] = [merge.open(), merge.open(), merge.open()];
    merge.start();
    await a.add(line('2', 'a2'));
    await b.add(line('1', 'b1'));
    a.end();
    b.end();
    while (written.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(written).to.deep.equal(['b1', 'a2']);
    silent.end();
    await merge.finished();
  });

  it('holds back a source that brings more than the others', async () => {
    const written: string[] = [];
    const merge = mergeInto(written);
    const [quick, slow] = [merge.open(), merge.open()];
    merge.start();
    let added = 0;
    const feed = (async () => {
      for (let i = 0; i < 2_000; i++) {
        await quick.add(line('1', `q${i}`));
        added++;
      }
      quick.end();
    })();
    await new Promise((resolve) => setImmediate(resolve));
    expect(added).to.be.lessThan(300);
    slow.end();
    await feed;
    await merge.finished();
    expect(written).to.have.length(2_000);
  });

  it('tells the sources that the reader is gone', async () => {
    const merge = new LineMerge<Line>({
      write: () => Promise.reject(new Error('gone')),
      nowMs: () => 0,
    });
    const source = merge.open();
    merge.start();
    await source.add(line('1', 'lost'));
    await merge.finished();
    let refused = '';
    await source.add(line('2', 'lost, too')).catch((error: Error) => (refused = error.message));
    expect(refused).to.equal('gone');
  });
});
