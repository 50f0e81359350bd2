import { expect } from 'chai';
import { type Entry, type Recovered, votersOnly } from '#libs/raft';
import { Durability } from './durability.js';
import type { Observed } from './observer.js';

const member = { id: 'm1' } as Observed;

function entries(from: number, ...terms: number[]): Entry[] {
  return terms.map((term, at) => ({ index: from + at, term, kind: 'noop', data: new Uint8Array(0) }));
}

function snapshot(index: number, term: number): Pick<Recovered, 'snapshot'> {
  return { snapshot: { index, term, membership: votersOnly(['m1']) } };
}

/** What is found when a disk that had taken entries of the terms 1 1 2 2 comes back as `after`. */
function findings(after: Partial<Recovered>): string[] {
  const found: string[] = [];
  const checker = new Durability((finding) => found.push(finding));
  const hardState = { term: 2, votedFor: 'm2', commit: 1 };
  checker.recovered(member, { hardState: { term: 0, commit: 0 }, entries: [] });
  checker.stepped(member, [{ kind: 'persist', sequence: 1, hardState, entries: entries(1, 1, 1, 2, 2) }]);
  checker.persisted(member, 1);
  checker.recovered(member, { hardState, entries: [], ...after });
  return found;
}

describe('sim: durability', () => {
  it('is kept when everything is there again', () => {
    expect(findings({ entries: entries(1, 1, 1, 2, 2) })).to.deep.equal([]);
  });

  it('is broken by an entry that is gone, or another one', () => {
    expect(findings({ entries: entries(1, 1, 1, 2) })).to.deep.equal([
      'durability: m1 came back without entry 4 of term 2',
    ]);
    expect(findings({ entries: entries(1, 1, 1, 1, 2) })).to.deep.equal([
      'durability: m1 came back without entry 3 of term 2',
    ]);
  });

  it('is broken by a vote or a term that is gone', () => {
    const log = { entries: entries(1, 1, 1, 2, 2) };
    expect(findings({ ...log, hardState: { term: 2, votedFor: 'm3', commit: 1 } })).to.have.length(1);
    expect(findings({ ...log, hardState: { term: 1, votedFor: 'm2', commit: 1 } })).to.have.length(1);
    expect(findings({ ...log, hardState: { term: 3, commit: 1 } })).to.deep.equal([]);
  });

  it('of entries after a snapshot is kept as long as they follow what it stands for', () => {
    expect(findings({ ...snapshot(3, 2), entries: entries(4, 2) })).to.deep.equal([]);
    expect(findings({ ...snapshot(3, 2) })).to.deep.equal([
      'durability: m1 came back without entry 4 of term 2',
    ]);
  });

  it('of entries that went another way than a snapshot which the leader sent just before the crash is over', () => {
    expect(findings({ ...snapshot(3, 3) })).to.deep.equal([]);
  });

  it('is broken by what is applied before the disk has it', () => {
    const found: string[] = [];
    const checker = new Durability((finding) => found.push(finding));
    checker.recovered(member, { hardState: { term: 1, commit: 0 }, entries: entries(1, 1) });
    checker.stepped(member, [{ kind: 'apply', entries: entries(1, 1, 1), afterPersist: 0 }]);
    expect(found).to.deep.equal(['durability: m1 is to apply 2 before it is on its disk']);
  });
});
