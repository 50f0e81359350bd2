import { expect } from 'chai';
import fc from 'fast-check';
import type { MemberId } from '../types.js';
import { quorumIndex, quorumVote, type VoterSets } from './joint.js';
import { majorityIndex, majorityOf, majorityVote } from './majority.js';

const members = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const someMembers = fc.uniqueArray(fc.constantFrom(...members), { maxLength: 7 });
const indexes = fc.array(fc.nat({ max: 9 }), { minLength: 7, maxLength: 7 });

function subsets(ids: readonly MemberId[]): MemberId[][] {
  return ids.reduce<MemberId[][]>((all, id) => all.concat(all.map((set) => [...set, id])), [[]]);
}

/** By the definition: some quorum has it all, for the highest index there is. */
function bruteForceIndex({ voters, outgoing }: VoterSets, ackOf: (id: MemberId) => number): number {
  const holds = (ids: readonly MemberId[], index: number): boolean =>
    subsets(ids).some((set) => set.length * 2 > ids.length && set.every((id) => ackOf(id) >= index));
  const candidates = [...members.map(ackOf), 0].sort((a, b) => b - a);
  const isCommitted = (index: number): boolean =>
    [voters, outgoing].every((ids) => ids.length === 0 || holds(ids, index));
  return candidates.find(isCommitted) ?? 0;
}

describe('raft: quorum', () => {
  it('needs more than half', () => {
    expect([1, 2, 3, 4, 5, 6, 7].map(majorityOf)).to.deep.equal([1, 2, 2, 3, 3, 4, 4]);
  });

  for (const [acks, expected] of [
    [[], Number.POSITIVE_INFINITY],
    [[5], 5],
    [[5, 3], 3],
    [[1, 9, 4], 4],
    [[0, 9, 0], 0],
    [[4, 4, 4, 9], 4],
    [[1, 2, 3, 4, 5], 3],
  ] as const) {
    it(`finds ${expected} committed where acknowledgements are ${acks.join(' ') || 'none'}`, () => {
      const ids = acks.map((_, at) => members[at] as MemberId);
      expect(majorityIndex(ids, (id) => acks[ids.indexOf(id)] ?? 0)).to.equal(expected);
    });
  }

  for (const [given, expected] of [
    ['', 'won'],
    ['+', 'won'],
    ['-', 'lost'],
    ['?', 'pending'],
    ['+?', 'pending'],
    ['+-', 'lost'],
    ['++?', 'won'],
    ['+-?', 'pending'],
    ['--+?', 'lost'],
    ['++--', 'lost'],
    ['++-?', 'pending'],
    ['+++--', 'won'],
  ] as const) {
    it(`finds votes of "${given}" ${expected}`, () => {
      const ids = members.slice(0, given.length);
      const votes = new Map(ids.flatMap((id, at) => (given[at] === '?' ? [] : [[id, given[at] === '+']])));
      expect(majorityVote(ids, votes)).to.equal(expected);
    });
  }

  for (const { voters, outgoing, acks, expected } of [
    { voters: 'abc', outgoing: '', acks: { a: 7, b: 6 }, expected: 6 },
    { voters: 'abc', outgoing: 'abc', acks: { a: 7, b: 6 }, expected: 6 },
    // The new half alone has 9, but nobody of the old half.
    { voters: 'cde', outgoing: 'ab', acks: { c: 9, d: 9, e: 9 }, expected: 0 },
    { voters: 'cde', outgoing: 'ab', acks: { a: 5, b: 4, c: 9, d: 9 }, expected: 4 },
    // Who is in both halves counts in both.
    { voters: 'ab', outgoing: 'bc', acks: { a: 3, b: 8, c: 5 }, expected: 3 },
  ]) {
    it(`finds ${expected} committed by ${voters} and ${outgoing || 'nobody'} with ${JSON.stringify(acks)}`, () => {
      const sets = { voters: voters.split(''), outgoing: outgoing.split('').filter(Boolean) };
      expect(quorumIndex(sets, (id) => (acks as Record<string, number>)[id] ?? 0)).to.equal(expected);
    });
  }

  it('lets neither half of a joint membership win without the other', () => {
    const sets = { voters: ['a', 'b', 'c'], outgoing: ['d', 'e', 'f'] };
    const vote = (yes: string, no = ''): string => {
      const entries = [...yes].map((id): [string, boolean] => [id, true]);
      return quorumVote(sets, new Map([...entries, ...[...no].map((id): [string, boolean] => [id, false])]));
    };
    expect(vote('abc')).to.equal('pending');
    expect(vote('def')).to.equal('pending');
    expect(vote('abde')).to.equal('won');
    expect(vote('abc', 'de')).to.equal('lost');
    expect(vote('abd', 'ce')).to.equal('pending');
  });

  it('commits what a brute-force search over all quorums finds committed', () => {
    fc.assert(
      fc.property(
        someMembers.filter((ids) => ids.length > 0),
        someMembers,
        indexes,
        (voters, outgoing, acks) => {
          const ackOf = (id: MemberId): number => acks[members.indexOf(id)] as number;
          expect(quorumIndex({ voters, outgoing }, ackOf)).to.equal(
            bruteForceIndex({ voters, outgoing }, ackOf),
          );
        },
      ),
    );
  });

  it('never lets two disjoint sets of voters win', () => {
    fc.assert(
      fc.property(
        someMembers.filter((ids) => ids.length > 0),
        someMembers,
        fc.subarray(members),
        (voters, outgoing, half) => {
          const votes = (ids: readonly MemberId[]) => new Map(ids.map((id) => [id, true]));
          const others = members.filter((id) => !half.includes(id));
          const wins = [half, others].filter((ids) => quorumVote({ voters, outgoing }, votes(ids)) === 'won');
          expect(wins.length).to.be.at.most(1);
        },
      ),
    );
  });

  it('knows a loss exactly when no further vote could win', () => {
    const threeWay = fc.constantFrom(true, false, undefined);
    fc.assert(
      fc.property(
        someMembers.filter((ids) => ids.length > 0),
        someMembers,
        fc.array(threeWay, { minLength: 7, maxLength: 7 }),
        (voters, outgoing, given) => {
          const sets = { voters, outgoing };
          const votesWith = (open: boolean | undefined): Map<MemberId, boolean> => {
            const pairs = members.map((id, at): [MemberId, boolean | undefined] => [id, given[at] ?? open]);
            return new Map(pairs.filter((pair): pair is [MemberId, boolean] => pair[1] !== undefined));
          };
          const result = quorumVote(sets, votesWith(undefined));
          const couldWin = quorumVote(sets, votesWith(true)) === 'won';
          const hasWon = quorumVote(sets, votesWith(false)) === 'won';
          expect(result).to.equal(hasWon ? 'won' : couldWin ? 'pending' : 'lost');
        },
      ),
    );
  });
});
