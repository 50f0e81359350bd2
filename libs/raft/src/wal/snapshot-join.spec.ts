import { expect } from 'chai';
import { votersOnly } from '../core/membership/membership.js';
import type { Entry, HardState, SnapshotMeta } from '../core/types.js';
import { joinSnapshot } from './snapshot-join.js';
import type { WalBatch } from './records.js';
import { LogShape } from './wal-content.js';

const snapshot: SnapshotMeta = { index: 5, term: 3, membership: votersOnly(['m1', 'm2', 'm3']) };

interface Log {
  hardState: HardState;
  entries: Entry[];
  snapshot?: SnapshotMeta;
}

/** A log of one letter per entry, its term; `from` is the first index. */
function log(from: number, terms: string, more: Partial<Log> = {}): Log {
  const entries = [...terms].map(
    (term, at): Entry => ({ index: from + at, term: Number(term), kind: 'noop', data: new Uint8Array(0) }),
  );
  return { hardState: { term: 3, votedFor: 'm2', commit: 2 }, entries, ...more };
}

function join(
  { hardState, entries, snapshot: noted }: Log,
  meta: SnapshotMeta | undefined,
): WalBatch | undefined {
  const shape = new LogShape(meta?.index ?? 0);
  if (noted !== undefined) shape.take({ snapshot: noted, entries: [] });
  for (const entry of entries) shape.take({ entries: [entry] });
  return joinSnapshot(shape, hardState, meta);
}

describe('raft: a log and the newest snapshot', () => {
  for (const [name, content] of Object.entries({
    'through it': log(1, '1122333'),
    'exactly to it': log(1, '11223'),
    'from some entry before it on': log(4, '233'),
    'right after it': log(6, '33'),
    'with its note': log(6, '', { snapshot }),
    'with its note and entries': log(6, '33', { snapshot }),
  })) {
    it(`need nothing when the log goes ${name}`, () => {
      expect(join(content, snapshot)).to.equal(undefined);
    });
  }

  it('need nothing when there is no snapshot', () => {
    expect(join(log(1, '123'), undefined)).to.equal(undefined);
  });

  for (const [name, content] of Object.entries({
    'ends before it': log(1, '1122'),
    'is empty': log(1, ''),
    'went another way': log(1, '1122222'),
    'begins after an older one': log(3, '22', { snapshot: { ...snapshot, index: 2 } }),
  })) {
    it(`are joined by the snapshot alone when the log ${name}`, () => {
      expect(join(content, snapshot)).to.deep.equal({
        snapshot,
        entries: [],
        hardState: { term: 3, votedFor: 'm2', commit: 5 },
      });
    });
  }

  it('make known the term of a leader whose first word was the snapshot; the vote was for an earlier one', () => {
    const content = log(1, '11', { hardState: { term: 2, votedFor: 'm2', commit: 1 } });
    expect(join(content, snapshot)?.hardState).to.deep.equal({ term: 3, commit: 5 });
  });
});
