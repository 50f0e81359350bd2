/** Ongaro's thesis, 4.1 to 4.3: changes of membership. */
import { expect } from 'chai';
import { decodeMembershipEntry, encodeMembershipEntry, type MembershipEntry } from '../membership/codec.js';
import { emptyMembership } from '../membership/membership.js';
import type { Rules } from '../rules.js';
import { entry, LoneCore, logOf, persist, send } from '../testing/lone-core.js';
import { rule } from '../testing/rule.js';
import type {
  Command,
  Entry,
  MemberId,
  Membership,
  MembershipChange,
  MembershipTransition,
} from '../types.js';

function change(index: number, term: number, what: MembershipEntry): Entry {
  return { index, term, kind: 'membership', data: encodeMembershipEntry(what) };
}

const addVoter = (id: string): MembershipEntry => ({
  kind: 'change',
  changes: [{ kind: 'add-voter', id }],
  transition: 'auto',
});

const refused = (ref: number, reason: string, detail?: string): Command =>
  ({
    kind: 'refused',
    ref,
    reason,
    leader: 'm1',
    ...(detail === undefined ? {} : { detail }),
    afterPersist: 0,
  }) as Command;

/** Leads term 2 and has committed its first entry. */
function leader(rules: Rules, membership: Partial<Membership> = {}): LoneCore {
  const member = new LoneCore({ term: 1, membership }, rules);
  member.becomeLeader();
  for (const peer of member.peers) member.ack(peer);
  return member;
}

function ask(
  member: LoneCore,
  changes: readonly MembershipChange[],
  transition: MembershipTransition = 'auto',
): Command[] {
  return member.step({ kind: 'propose-membership', ref: 9, changes, transition });
}

/** The disk here and those members take the change, the disk learns that it is committed. */
function commitChange(member: LoneCore, ...acks: MemberId[]): Command[] {
  member.sync();
  for (const peer of acks) member.ack(peer);
  return member.sync();
}

const now = (member: LoneCore): Membership => member.core.status().membership;

describe('raft: thesis 4.1, safety of changes', () => {
  rule(
    'a change begins only once the one before it is done',
    (rules) => {
      const member = leader(rules);
      ask(member, [{ kind: 'add-voter', id: 'm4' }]);
      expect(ask(member, [{ kind: 'add-voter', id: 'm5' }])).to.deep.equal([
        refused(9, 'membership-pending', 'another change is not applied yet'),
      ]);
      commitChange(member, 'm2');
      expect(ask(member, [{ kind: 'add-voter', id: 'm5' }])[0]).to.deep.include({ kind: 'proposed' });
    },
    'several-changes-at-once',
  );

  rule(
    'a new leader first commits an entry of its own term',
    (rules) => {
      const member = new LoneCore({ term: 1 }, rules);
      member.becomeLeader();
      expect(ask(member, [{ kind: 'add-voter', id: 'm4' }])).to.deep.equal([
        refused(9, 'membership-pending', 'this leader has committed nothing of its term yet'),
      ]);
    },
    'several-changes-at-once',
  );

  rule('a change that was left behind by an earlier leader counts as one under way', (rules) => {
    const log = [...logOf(1), change(2, 1, addVoter('m4'))];
    const member = new LoneCore({ term: 1, log }, rules);
    member.becomeLeader();
    expect(ask(member, [{ kind: 'add-voter', id: 'm5' }])[0]).to.deep.include({
      reason: 'membership-pending',
    });
    commitChange(member, 'm2');
    expect(now(member).voters).to.deep.equal(['m1', 'm2', 'm3', 'm4']);
  });

  rule('a change is an entry like any other; it holds from the moment it is applied', (rules) => {
    const member = leader(rules);
    const added = change(2, 2, addVoter('m4'));
    const prev = { prevIndex: 1, prevTerm: 2, commit: 1 };
    const commands = ask(member, [{ kind: 'add-voter', id: 'm4' }]);
    expect(commands.slice(-2)).to.deep.equal([
      send('m2', { kind: 'append-request', term: 2, ...prev, entries: [added] }),
      send('m3', { kind: 'append-request', term: 2, ...prev, entries: [added] }),
    ]);
    expect(now(member).voters).to.deep.equal(['m1', 'm2', 'm3']);
    member.sync();
    const membership = { ...emptyMembership, voters: ['m1', 'm2', 'm3', 'm4'] };
    // First the disk must know that it is committed.
    expect(member.ack('m2').filter((each) => each.kind !== 'send')).to.deep.equal([
      persist(4, { term: 2, votedFor: 'm1', commit: 2 }),
    ]);
    expect(now(member).voters).to.deep.equal(['m1', 'm2', 'm3']);
    // The new member is sent to at once.
    expect(member.sync()).to.deep.equal([
      { kind: 'apply', entries: [added], afterPersist: 0 },
      { kind: 'membership-changed', index: 2, membership, afterPersist: 0 },
      send('m4', { kind: 'append-request', term: 2, prevIndex: 2, prevTerm: 2, entries: [], commit: 2 }),
    ]);
    expect(now(member)).to.deep.equal(membership);
  });

  rule('a follower takes part by the membership of its own log', (rules) => {
    const member = new LoneCore({ term: 1, log: [change(1, 1, addVoter('m4'))], commit: 1 }, rules);
    member.tick(10);
    const asked = member.tick(10).flatMap((each) => (each.kind === 'send' ? [each.to] : []));
    expect(asked).to.deep.equal(['m2', 'm3', 'm4']);
  });

  rule(
    'whoever knows of a committed change does not campaign before it has applied it',
    (rules) => {
      // Its disk is late: what it knows to be committed is not durable here.
      const member = new LoneCore({ term: 1, log: logOf(1) }, rules);
      member.receive('m2', {
        kind: 'append-request',
        term: 1,
        prevIndex: 1,
        prevTerm: 1,
        entries: [change(2, 1, addVoter('m4'))],
        commit: 2,
      });
      expect(member.tick(20)).to.deep.equal([]);
      expect(member.step({ kind: 'campaign' })).to.deep.equal([]);
      member.sync();
      expect(member.tick()[0]).to.deep.include({ kind: 'role-changed', role: 'pre-candidate' });
    },
    'campaign-while-a-change-is-unapplied',
  );

  rule('a change is not acted on before the disk knows that it is committed', (rules) => {
    // The removed members may be gone at once. Should everybody who knew forget by a crash, those that stay would
    // still need their votes.
    const member = new LoneCore({ term: 1, log: [change(1, 1, addVoter('m4')), entry(2, 1)] }, rules);
    const news = {
      kind: 'append-request',
      term: 1,
      prevIndex: 2,
      prevTerm: 1,
      entries: [],
      commit: 2,
    } as const;
    expect(member.receive('m2', news).slice(1)).to.deep.equal([
      send('m2', { kind: 'append-response', term: 1, result: { accepted: true, match: 2 } }),
      persist(1, { term: 1, commit: 2 }),
    ]);
    expect(member.tick(9)).to.deep.equal([]);
    expect(member.sync().map((each) => each.kind)).to.deep.equal(['apply', 'membership-changed', 'apply']);
    expect(now(member).voters).to.deep.equal(['m1', 'm2', 'm3', 'm4']);
    // What the disk knew at the start needs no write.
    const again = new LoneCore(
      { term: 1, log: [change(1, 1, addVoter('m4')), entry(2, 1)], commit: 2 },
      rules,
    );
    expect([now(again).voters.length, again.sequence]).to.deep.equal([4, 0]);
  });

  rule('what was committed is on disk with the entries that came with it', (rules) => {
    const member = new LoneCore({ term: 1, log: [change(1, 1, addVoter('m4'))] }, rules);
    const commands = member.receive('m2', {
      kind: 'append-request',
      term: 1,
      prevIndex: 1,
      prevTerm: 1,
      entries: [change(2, 1, addVoter('m5'))],
      commit: 1,
    });
    const write = commands.find((each) => each.kind === 'persist');
    // Else a restart would leave a log of two changes of which none is known to hold.
    expect(write).to.deep.include({ hardState: { term: 1, commit: 1 } });
  });
});

describe('raft: thesis 4.2, availability', () => {
  rule(
    '4.2.1 a learner gets the log and counts for nothing',
    (rules) => {
      const member = leader(rules, { voters: ['m1', 'm2'], learners: ['m3', 'm4'] });
      member.propose('x');
      member.sync();
      member.ack('m3');
      member.ack('m4');
      expect(member.core.status().commit).to.equal(1);
      member.ack('m2');
      expect(member.core.status().commit).to.equal(2);
    },
    'count-learners',
  );

  rule('4.2.1 a learner asks for no votes but gives one: it may be a voter and not know it yet', (rules) => {
    const member = new LoneCore({ id: 'm4', term: 1, membership: { learners: ['m4'] } }, rules);
    expect(member.tick(30)).to.deep.equal([]);
    expect(member.step({ kind: 'campaign' })).to.deep.equal([]);
    const request = { kind: 'vote-request', force: false, term: 2, lastIndex: 0, lastTerm: 0 } as const;
    expect(member.receive('m1', request).at(-1)).to.deep.equal(
      send('m1', { kind: 'vote-response', term: 2, granted: true }, 2),
    );
  });

  rule('4.2.2 a leader that is removed leads until that is committed, then steps down', (rules) => {
    const member = leader(rules);
    ask(member, [{ kind: 'remove', id: 'm1' }]);
    member.sync();
    expect(member.core.status().role).to.equal('leader');
    // The others hear of the commit, and one that has everything is asked to take over.
    const news = {
      kind: 'append-request',
      term: 2,
      prevIndex: 2,
      prevTerm: 2,
      entries: [],
      commit: 2,
    } as const;
    expect(member.ack('m2').filter((each) => each.kind === 'send')).to.deep.equal([
      send('m2', news),
      send('m3', news),
    ]);
    expect(member.core.status().role).to.equal('leader');
    expect(member.sync().slice(1)).to.deep.equal([
      {
        kind: 'membership-changed',
        index: 2,
        membership: { ...emptyMembership, voters: ['m2', 'm3'] },
        afterPersist: 0,
      },
      send('m2', { kind: 'timeout-now', term: 2 }),
      { kind: 'role-changed', role: 'follower', term: 2, afterPersist: 0 },
    ]);
    expect(member.tick(30)).to.deep.equal([]);
  });

  rule(
    '4.2.2 who is asked to take over does so once it has applied the change that made it necessary',
    (rules) => {
      const removal: MembershipEntry = {
        kind: 'change',
        changes: [{ kind: 'remove', id: 'm2' }],
        transition: 'auto',
      };
      const member = new LoneCore({ term: 1, log: [change(1, 1, removal)] }, rules);
      const news = {
        kind: 'append-request',
        term: 1,
        prevIndex: 1,
        prevTerm: 1,
        entries: [],
        commit: 1,
      } as const;
      member.receive('m2', news);
      expect(member.receive('m2', { kind: 'timeout-now', term: 1 })).to.deep.equal([]);
      const commands = member.sync();
      const asks = {
        kind: 'vote-request',
        force: true,
        term: 2,
        lastIndex: 1,
        lastTerm: 1,
        committed: { index: 1, term: 1 },
      } as const;
      expect(commands.slice(2)).to.deep.equal([
        persist(2, { term: 2, votedFor: 'm1', commit: 1 }),
        { kind: 'role-changed', role: 'candidate', term: 2, afterPersist: 0 },
        send('m3', asks, 2),
      ]);
    },
    'campaign-while-a-change-is-unapplied',
  );

  rule('4.2.2 a leader that becomes a learner steps down as well', (rules) => {
    const member = leader(rules);
    ask(member, [{ kind: 'add-learner', id: 'm1' }]);
    commitChange(member, 'm2');
    expect(member.core.status().role).to.equal('follower');
    expect(member.tick(30)).to.deep.equal([]);
  });

  rule(
    '4.2.3 within an election timeout of hearing a leader, a member does not help to depose it',
    (rules) => {
      const member = new LoneCore({ term: 2 }, rules);
      member.receive('m2', { kind: 'heartbeat', term: 2, commit: 0, readSequence: 1 });
      member.tick(9);
      const ballot = { lastIndex: 9, lastTerm: 9 };
      const vote = { kind: 'vote-request', force: false, term: 9, ...ballot } as const;
      expect(member.receive('m3', vote)).to.deep.equal([]);
      expect(member.core.status().term).to.equal(2);
      const preVote = { kind: 'pre-vote-request', term: 9, ...ballot } as const;
      expect(member.receive('m3', preVote)).to.deep.equal([
        send('m3', { kind: 'pre-vote-response', term: 2, granted: false }),
      ]);
    },
  );

  rule('4.2.3 unless the leader itself has asked for the election', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.receive('m2', { kind: 'heartbeat', term: 2, commit: 0, readSequence: 1 });
    const request = { kind: 'vote-request', force: true, term: 3, lastIndex: 9, lastTerm: 2 } as const;
    expect(member.receive('m3', request).at(-1)).to.deep.equal(
      send('m3', { kind: 'vote-response', term: 3, granted: true }, 2),
    );
  });

  rule('4.2.3 a removed member cannot make others raise their terms', (rules) => {
    const member = leader(rules);
    const request = { kind: 'vote-request', force: false, term: 7, lastIndex: 9, lastTerm: 2 } as const;
    expect(member.receive('m9', request)).to.deep.equal([]);
    expect(member.core.status()).to.deep.include({ role: 'leader', term: 2 });
  });
});

describe('raft: thesis 4.3, joint membership', () => {
  const joint = { voters: ['m1', 'm4', 'm5'], outgoing: ['m1', 'm2', 'm3'] };

  rule('log entries are replicated to all members of both', (rules) => {
    const member = leader(rules, joint);
    const targets = member.propose('x').flatMap((each) => (each.kind === 'send' ? [each.to] : []));
    expect(targets.sort()).to.deep.equal(['m2', 'm3', 'm4', 'm5']);
  });

  rule(
    'agreement for entries needs majorities of both',
    (rules) => {
      const member = leader(rules, joint);
      member.propose('x');
      member.sync();
      member.ack('m4');
      member.ack('m5');
      expect(member.core.status().commit).to.equal(1);
      member.ack('m2');
      expect(member.core.status().commit).to.equal(2);
    },
    'new-majority-alone-while-joint',
  );

  rule(
    'agreement for elections needs majorities of both',
    (rules) => {
      const member = new LoneCore({ term: 1, membership: joint }, rules);
      member.tick(10);
      const granted = { kind: 'pre-vote-response', term: 2, granted: true } as const;
      member.receive('m4', granted);
      member.receive('m5', granted);
      expect(member.core.status().role).to.equal('pre-candidate');
      member.receive('m2', granted);
      expect(member.core.status().role).to.equal('candidate');
    },
    'new-majority-alone-while-joint',
  );

  rule('any member of either may lead', (rules) => {
    const incoming = new LoneCore({ id: 'm4', term: 1, membership: joint }, rules);
    incoming.becomeLeader();
    const outgoing = new LoneCore({ id: 'm2', term: 1, membership: joint }, rules);
    outgoing.becomeLeader();
    expect([incoming.core.status().role, outgoing.core.status().role]).to.deep.equal(['leader', 'leader']);
  });

  rule('several changes go through a joint phase, which the leader ends by itself', (rules) => {
    const member = leader(rules);
    ask(member, [
      { kind: 'remove', id: 'm3' },
      { kind: 'add-voter', id: 'm4' },
      { kind: 'add-learner', id: 'm2' },
      { kind: 'add-voter', id: 'm5' },
    ]);
    const entered = commitChange(member, 'm2');
    expect(now(member)).to.deep.equal({
      voters: ['m1', 'm4', 'm5'],
      outgoing: ['m1', 'm2', 'm3'],
      learners: [],
      learnersNext: ['m2'],
      autoLeave: true,
    });
    const write = entered.find((each) => each.kind === 'persist');
    expect(write?.entries.map((each) => decodeMembershipEntry(each.data))).to.deep.equal([
      { kind: 'leave-joint' },
    ]);
    commitChange(member, 'm2', 'm4');
    expect(now(member)).to.deep.equal({
      ...emptyMembership,
      voters: ['m1', 'm4', 'm5'],
      learners: ['m2'],
    });
  });

  rule('a leader elected meanwhile ends the phase in place of the one before', (rules) => {
    const member = new LoneCore({ term: 1, membership: { ...joint, autoLeave: true } }, rules);
    member.becomeLeader();
    expect(member.log).to.equal('1/2');
    for (const peer of ['m4', 'm2']) member.ack(peer);
    expect(member.log).to.equal('1/2 2/2');
  });

  rule('a phase that does not end by itself lasts until it is told to', (rules) => {
    const member = leader(rules, joint);
    expect(member.log).to.equal('1/2');
    expect(ask(member, [{ kind: 'add-voter', id: 'm6' }])).to.deep.equal([
      refused(9, 'membership-invalid', 'the membership is joint already; leave that phase first'),
    ]);
    member.step({ kind: 'leave-joint', ref: 10 });
    commitChange(member, 'm2', 'm4');
    expect(now(member)).to.deep.equal({ ...emptyMembership, voters: ['m1', 'm4', 'm5'] });
  });

  rule('a leader that is not in the new membership leads to the end of the phase and no longer', (rules) => {
    const member = leader(rules, { voters: ['m2', 'm3'], outgoing: ['m1', 'm2'] });
    member.propose('still led');
    expect(member.core.status().role).to.equal('leader');
    member.step({ kind: 'leave-joint', ref: 10 });
    commitChange(member, 'm2', 'm3');
    expect(member.core.status().role).to.equal('follower');
  });

  rule('an election tells each side what the other knows to be committed', (rules) => {
    // The demotion of m2 is committed, and m1 does not know. Its log is shorter than the one of m2, whose vote it
    // would need by the old membership, while m2 by the new one is none to be elected.
    const demotion: MembershipEntry = {
      kind: 'change',
      changes: [{ kind: 'add-learner', id: 'm2' }],
      transition: 'auto',
    };
    const log = [...logOf(1), change(2, 1, demotion)];
    const member = new LoneCore({ term: 1, log, membership: { voters: ['m1', 'm2'] } }, rules);
    member.tick(10);
    const no = { kind: 'pre-vote-response', term: 1, granted: false } as const;
    // Other entries at that index say nothing.
    member.receive('m2', { ...no, committed: { index: 2, term: 7 } });
    member.sync();
    expect(now(member).voters).to.deep.equal(['m1', 'm2']);
    member.receive('m2', { ...no, committed: { index: 2, term: 1 } });
    member.sync();
    expect(now(member).voters).to.deep.equal(['m1']);
    expect(member.core.status()).to.deep.include({ role: 'candidate', term: 2 });
    // The other way round: whoever is asked learns it from the question.
    const asked = new LoneCore({ id: 'm2', term: 1, log, membership: { voters: ['m1', 'm2'] } }, rules);
    const question = { kind: 'pre-vote-request', term: 2, lastIndex: 2, lastTerm: 1 } as const;
    asked.receive('m1', { ...question, committed: { index: 2, term: 1 } });
    asked.sync();
    expect(now(asked)).to.deep.include({ voters: ['m1'], learners: ['m2'] });
  });

  rule('a member that is alone in both halves leads without asking', (rules) => {
    const membership = { voters: ['m1'], outgoing: ['m1'] };
    const member = new LoneCore({ term: 1, membership }, rules);
    member.sync();
    expect(member.core.status()).to.deep.include({ role: 'leader', term: 2 });
  });

  rule('a member that becomes the only voter leads without asking', (rules) => {
    const log = [
      ...logOf(1),
      change(2, 1, { kind: 'change', changes: [{ kind: 'remove', id: 'm2' }], transition: 'auto' }),
    ];
    const member = new LoneCore({ term: 1, log, membership: { voters: ['m1', 'm2'] } }, rules);
    member.receive('m2', {
      kind: 'append-request',
      term: 1,
      prevIndex: 2,
      prevTerm: 1,
      entries: [],
      commit: 2,
    });
    expect(member.sync().at(-1)).to.deep.equal({
      kind: 'role-changed',
      role: 'candidate',
      term: 2,
      afterPersist: 0,
    });
    expect(member.sync()[0]).to.deep.include({ role: 'leader', term: 2 });
  });
});

describe('raft: the first membership', () => {
  it('is written by each founder as entry 1, and a member that joins later learns it from there', () => {
    const bootstrap = { ...emptyMembership, voters: ['m1', 'm2'] };
    const established = change(1, 1, { kind: 'establish', membership: bootstrap });
    const founder = new LoneCore({ membership: { voters: [] }, config: { bootstrap } });
    expect(founder.log).to.equal('1/1');
    expect(founder.sync()).to.deep.equal([
      { kind: 'apply', entries: [established], afterPersist: 0 },
      { kind: 'membership-changed', index: 1, membership: bootstrap, afterPersist: 0 },
    ]);
    const joiner = new LoneCore({ id: 'm3', membership: { voters: [] } });
    expect(joiner.tick(40)).to.deep.equal([]);
    joiner.receive('m1', {
      kind: 'append-request',
      term: 2,
      prevIndex: 0,
      prevTerm: 0,
      entries: [established, entry(2, 2)],
      commit: 2,
    });
    joiner.sync();
    expect(now(joiner)).to.deep.equal(bootstrap);
  });
});
