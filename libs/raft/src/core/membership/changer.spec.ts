import { expect } from 'chai';
import fc from 'fast-check';
import { majorityOf } from '../quorum/majority.js';
import type { MemberId, Membership, MembershipChange } from '../types.js';
import { changeOneVoter, enterJoint, flawOf, leaveJoint, nextMembership } from './changer.js';
import { decodeMembershipEntry, encodeMembershipEntry, type MembershipEntry } from './codec.js';
import { emptyMembership, isJoint, isVoter, membersOf, votersOnly } from './membership.js';

/** `a b / c d` is joint; `; x` are learners, `> y` become learners, `!` leaves by itself. */
function parse(text: string): Membership {
  const part = (mark: RegExp): string[] => (mark.exec(text)?.[1] ?? '').trim().split(/\s+/).filter(Boolean);
  return {
    voters: part(/^([^/;>!]*)/),
    outgoing: part(/\/([^;>!]*)/),
    learners: part(/;([^>!]*)/),
    learnersNext: part(/>([^!]*)/),
    autoLeave: text.includes('!'),
  };
}

/** `+a` adds a voter, `~a` a learner, `-a` removes. */
function changes(text: string): MembershipChange[] {
  const kinds = { '+': 'add-voter', '~': 'add-learner', '-': 'remove' } as const;
  return text
    .split(' ')
    .filter(Boolean)
    .map((each) => ({ kind: kinds[each[0] as keyof typeof kinds], id: each.slice(1) }));
}

function told(result: ReturnType<typeof nextMembership>): Membership | string {
  return result.ok ? result.membership : result.reason;
}

describe('raft: changes of membership', () => {
  for (const [now, change, next] of [
    ['a', '+b', 'a b'],
    ['a b', '+c', 'a b c'],
    ['a b c', '-b', 'a c'],
    ['a b c', '+b', 'a b c'],
    ['a b c', '-x', 'a b c'],
    ['a b', '~c', 'a b ; c'],
    ['a b ; c', '+c', 'a b c'],
    ['a b c', '~c', 'a b ; c'],
    ['a b ; c d', '-c ~e', 'a b ; d e'],
    ['a b ; c', '+c ~d', 'a b c ; d'],
  ] as const) {
    it(`takes ${change} in one step: ${now} becomes ${next}`, () => {
      expect(told(changeOneVoter(parse(now), changes(change)))).to.deep.equal(parse(next));
      const auto: MembershipEntry = { kind: 'change', changes: changes(change), transition: 'auto' };
      expect(told(nextMembership(parse(now), auto))).to.deep.equal(parse(next));
    });
  }

  for (const [now, change, reason] of [
    ['a', '-a', 'no voter would be left'],
    ['a', '~a', 'no voter would be left'],
    ['a b c', '+d +e', 'more than one voter changes without a joint phase'],
    ['a b c', '-a +d', 'more than one voter changes without a joint phase'],
    ['a b / c d', '+e', 'the membership is joint already; leave that phase first'],
  ] as const) {
    it(`refuses ${change} of ${now} in one step: ${reason}`, () => {
      expect(told(changeOneVoter(parse(now), changes(change)))).to.equal(reason);
    });
  }

  for (const [now, change, joint, after] of [
    ['a b c', '+d +e', 'a b c d e / a b c !', 'a b c d e'],
    ['a b c', '-a -b +d', 'c d / a b c !', 'c d'],
    ['a b c', '~a +d', 'b c d / a b c > a !', 'b c d ; a'],
    ['a b c ; x y', '+x -y ~a', 'b c x / a b c > a !', 'b c x ; a'],
    ['a b c', '-c -b -a +d', 'd / a b c !', 'd'],
    ['a b c', '~a +a +d +e', 'a b c d e / a b c !', 'a b c d e'],
  ] as const) {
    it(`takes ${change} through ${joint}: ${now} becomes ${after}`, () => {
      const auto: MembershipEntry = { kind: 'change', changes: changes(change), transition: 'auto' };
      const between = nextMembership(parse(now), auto);
      expect(told(between)).to.deep.equal(parse(joint));
      expect(told(nextMembership(parse(joint), { kind: 'leave-joint' }))).to.deep.equal(parse(after));
    });
  }

  it('goes through a joint phase for one voter where that is asked for, and stays in it where that is', () => {
    const ask = (transition: 'joint' | 'joint-until-left') =>
      told(nextMembership(parse('a b c'), { kind: 'change', changes: changes('-c'), transition }));
    expect(ask('joint')).to.deep.equal(parse('a b / a b c !'));
    expect(ask('joint-until-left')).to.deep.equal(parse('a b / a b c'));
  });

  it('refuses what makes no sense', () => {
    const joint = parse('a b / b c !');
    expect(told(enterJoint(joint, changes('+d'), true))).to.contain('joint already');
    expect(told(enterJoint(emptyMembership, changes('+d'), true))).to.contain('without voters');
    expect(told(enterJoint(parse('a b'), changes('-a -b'), true))).to.equal('no voter would be left');
    expect(told(leaveJoint(parse('a b')))).to.equal('the membership is not joint');
  });

  for (const [flawed, flaw] of [
    ['', 'no voter would be left'],
    ['b a', 'a list of members is not sorted or names one twice'],
    ['a a', 'a list of members is not sorted or names one twice'],
    ['a b ; b', 'b would be voter and learner at once'],
    ['a / b ; b', 'b would be voter and learner at once'],
    ['a / b > c', 'c waits to become a learner but does not leave as a voter'],
    ['a b / b > b', 'b waits to become a learner but does not leave as a voter'],
    ['a b !', 'there is no joint phase to leave'],
  ] as const) {
    it(`finds the flaw of "${flawed}": ${flaw}`, () => {
      expect(flawOf(parse(flawed))).to.equal(flaw);
    });
  }

  const ids = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
  const someChanges = fc.array(
    fc.record({
      kind: fc.constantFrom('add-voter', 'add-learner', 'remove'),
      id: ids,
    }) as fc.Arbitrary<MembershipChange>,
    { maxLength: 6 },
  );
  const steps = fc.array(
    fc.oneof(
      fc.record({
        kind: fc.constant('change' as const),
        changes: someChanges,
        transition: fc.constantFrom('auto' as const, 'joint' as const, 'joint-until-left' as const),
      }),
      fc.constant({ kind: 'leave-joint' as const }),
    ),
    { maxLength: 12 },
  );

  it('leaves no flaw behind, whatever is asked for in whatever order', () => {
    fc.assert(
      fc.property(steps, (entries) => {
        let now = votersOnly(['a']);
        for (const entry of entries) {
          const next = nextMembership(now, entry);
          if (next.ok) {
            expect(flawOf(next.membership)).to.equal(undefined);
            now = next.membership;
          }
        }
      }),
    );
  });

  it('lets any quorum of before and any of after share a voter', () => {
    const quorumsOf = (voters: readonly MemberId[]): MemberId[][] =>
      voters
        .reduce<MemberId[][]>((all, id) => all.concat(all.map((set) => [...set, id])), [[]])
        .filter((set) => set.length >= majorityOf(voters.length));
    const shareOne = (one: readonly MemberId[], other: readonly MemberId[]): boolean =>
      quorumsOf(one).every((left) =>
        quorumsOf(other).every((right) => left.some((id) => right.includes(id))),
      );
    fc.assert(
      fc.property(steps, (entries) => {
        let now = votersOnly(['a', 'b', 'c']);
        for (const entry of entries) {
          const next = nextMembership(now, entry);
          if (!next.ok) continue;
          const after = next.membership;
          // A joint membership needs quorums of both halves, so it is enough that one half of each overlaps.
          const halves = (each: Membership) => [each.voters, each.outgoing].filter((half) => half.length > 0);
          expect(halves(now).some((one) => halves(after).some((other) => shareOne(one, other)))).to.equal(
            true,
          );
          now = after;
        }
      }),
      { numRuns: 60 },
    );
  });

  it('reaches the same end through a joint phase as change by change', () => {
    fc.assert(
      fc.property(someChanges, (asked) => {
        const begin = votersOnly(['a', 'b', 'c']);
        const joint = enterJoint(begin, asked, true);
        fc.pre(joint.ok);
        const end = leaveJoint(joint.membership);
        let now = begin;
        for (const change of asked) {
          const next = changeOneVoter(now, [change]);
          // On the way the last voter may not be taken, which a joint phase does not mind.
          fc.pre(next.ok);
          now = next.membership;
        }
        expect(told(end)).to.deep.equal(now);
      }),
    );
  });

  it('tells who is in it', () => {
    const joint = parse('b c d / a b c ; x > a');
    expect(membersOf(joint)).to.deep.equal(['a', 'b', 'c', 'd', 'x']);
    expect(['a', 'd', 'x', 'y'].map((id) => isVoter(joint, id))).to.deep.equal([true, true, false, false]);
    expect([isJoint(joint), isJoint(parse('a b'))]).to.deep.equal([true, false]);
  });

  it('writes and reads each kind of entry, and refuses others', () => {
    const entries: MembershipEntry[] = [
      { kind: 'establish', membership: parse('a b ; c') },
      { kind: 'change', changes: changes('+d -a ~b'), transition: 'joint' },
      { kind: 'leave-joint' },
    ];
    for (const entry of entries) {
      expect(decodeMembershipEntry(encodeMembershipEntry(entry))).to.deep.equal(entry);
    }
    for (const bad of ['{"kind":"other"}', '{"kind":"change"}', '{"kind":"establish"}', 'null', '7']) {
      expect(() => decodeMembershipEntry(Buffer.from(bad)), bad).to.throw('no change of membership');
    }
  });

  it('sorts what an entry establishes, and refuses it when it is flawed', () => {
    expect(told(nextMembership(parse('x'), { kind: 'establish', membership: parse('c a b') }))).to.deep.equal(
      parse('a b c'),
    );
    expect(told(nextMembership(parse('x'), { kind: 'establish', membership: parse('') }))).to.equal(
      'no voter would be left',
    );
  });
});
