/** Reads: by index on leader and followers (thesis, 6.4), and under a lease (6.4.1). */
import { expect } from 'chai';
import type { Rules } from '../rules.js';
import { apply, entry, LoneCore, noop, role, send } from '../testing/lone-core.js';
import { rule } from '../testing/rule.js';
import type { Command, Message } from '../types.js';

const ready = (refs: number[], index: number): Command => ({
  kind: 'read-ready',
  refs,
  index,
  afterPersist: 0,
});

const heartbeat = (readSequence: number, commit: number): Message => ({
  kind: 'heartbeat',
  term: 2,
  commit,
  readSequence,
});

const answerTo = (readSequence: number): Message => ({ kind: 'heartbeat-response', term: 2, readSequence });

/** Leads term 2 and has committed its first entry; m2 has it, m3 nothing. */
function leader(rules: Rules, config: LoneCore['situation']['config'] = {}): LoneCore {
  const member = new LoneCore({ term: 1, config }, rules);
  member.becomeLeader();
  member.ack('m2');
  return member;
}

const read = (member: LoneCore, ...refs: number[]): Command[] => member.step({ kind: 'read', refs });

describe('raft: thesis 6.4, reads by index', () => {
  rule(
    '1. a leader that has committed nothing of its term lets reads wait until it has',
    (rules) => {
      const member = new LoneCore({ term: 1 }, rules);
      member.becomeLeader();
      expect(read(member, 1)).to.deep.equal([]);
      expect(member.ack('m2')).to.deep.include(send('m2', heartbeat(1, 1)));
      expect(member.receive('m2', answerTo(1))).to.deep.equal([ready([1], 1)]);
    },
    'read-before-own-commit',
  );

  rule(
    '2. and 3. the commit index of the moment is given out once a majority has answered a later heartbeat',
    (rules) => {
      const member = leader(rules);
      expect(read(member, 1, 2)).to.deep.equal([send('m2', heartbeat(1, 1)), send('m3', heartbeat(1, 0))]);
      member.propose('x');
      member.sync();
      member.ack('m2');
      expect(member.receive('m3', answerTo(1))).to.deep.include(ready([1, 2], 1));
    },
    'read-without-round',
  );

  rule('an answer to a heartbeat sent before the read proves nothing', (rules) => {
    const member = leader(rules);
    member.tick();
    read(member, 1);
    expect(member.receive('m2', answerTo(1))).to.deep.equal([]);
    expect(member.receive('m2', answerTo(2))).to.deep.equal([ready([1], 1)]);
  });

  rule('reads that come while a round is out share the next one', (rules) => {
    const member = leader(rules);
    read(member, 1);
    expect([...read(member, 2), ...read(member, 3)]).to.deep.equal([]);
    expect(member.receive('m2', answerTo(1))).to.deep.equal([
      ready([1], 1),
      send('m2', heartbeat(2, 1)),
      send('m3', heartbeat(2, 0)),
    ]);
    expect(member.receive('m2', answerTo(2))).to.deep.equal([ready([2], 1), ready([3], 1)]);
  });

  rule('when a round is lost the next heartbeat asks again', (rules) => {
    const member = leader(rules);
    read(member, 1);
    member.tick();
    expect(member.receive('m2', answerTo(2))).to.deep.equal([ready([1], 1)]);
  });

  rule('a leader that is deposed refuses what waits', (rules) => {
    const member = leader(rules);
    read(member, 1);
    const commands = member.receive('m3', { kind: 'heartbeat', term: 3, commit: 0, readSequence: 1 });
    expect(commands.slice(0, 1)).to.deep.equal([
      { kind: 'refused', ref: 1, reason: 'lost-leadership', leader: 'm3', afterPersist: 0 },
    ]);
  });

  rule('a follower asks the leader and answers by what it hears', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    expect(read(member, 1)).to.deep.equal([
      { kind: 'refused', ref: 1, reason: 'not-leader', afterPersist: 0 },
    ]);
    member.receive('m2', heartbeat(1, 0));
    expect(read(member, 2, 3)).to.deep.equal([send('m2', { kind: 'read-request', term: 2, context: 0 })]);
    const response = { kind: 'read-response', term: 2, context: 0, index: 7 } as const;
    expect(member.receive('m2', response)).to.deep.equal([ready([2, 3], 7)]);
    // A doubled answer answers nothing else.
    expect(member.receive('m2', response)).to.deep.equal([]);
  });

  rule('the leader answers a follower as it answers its own', (rules) => {
    const member = leader(rules);
    member.receive('m2', { kind: 'read-request', term: 2, context: 5 });
    expect(member.receive('m3', answerTo(1))).to.deep.include(
      send('m2', { kind: 'read-response', term: 2, context: 5, index: 1 }),
    );
  });

  rule('a follower refuses what waits when its leader changes', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.receive('m2', heartbeat(1, 0));
    read(member, 1);
    const commands = member.receive('m3', { kind: 'heartbeat', term: 3, commit: 0, readSequence: 1 });
    expect(commands[0]).to.deep.equal({
      kind: 'refused',
      ref: 1,
      reason: 'lost-leadership',
      leader: 'm3',
      afterPersist: 0,
    });
    expect(member.receive('m2', { kind: 'read-response', term: 2, context: 0, index: 7 })).to.deep.equal([]);
  });

  rule(
    'an answer to a read from before a restart answers no read after it',
    (rules) => {
      const run = (random: number): { member: LoneCore; context: number } => {
        const member = new LoneCore({ term: 2, config: { random: () => random } }, rules);
        member.receive('m2', heartbeat(1, 0));
        const [asked] = read(member, 1);
        if (asked?.kind !== 'send' || asked.message.kind !== 'read-request') throw new Error('asks nobody');
        return { member, context: asked.message.context };
      };
      const before = run(0.25);
      const { member } = run(0.5);
      const late: Message = { kind: 'read-response', term: 2, context: before.context, index: 1 };
      expect(member.receive('m2', late)).to.deep.equal([]);
    },
    'reuse-read-contexts',
  );

  rule('a read that was given up is not answered', (rules) => {
    const member = leader(rules);
    read(member, 1, 2);
    member.step({ kind: 'forget-reads', refs: [1] });
    expect(member.receive('m2', answerTo(1))).to.deep.equal([ready([2], 1)]);
    const follower = new LoneCore({ term: 2 }, rules);
    follower.receive('m2', heartbeat(1, 0));
    read(follower, 1);
    follower.step({ kind: 'forget-reads', refs: [1] });
    expect(follower.receive('m2', { kind: 'read-response', term: 2, context: 0, index: 7 })).to.deep.equal(
      [],
    );
  });

  rule('a sole voter is a majority', (rules) => {
    const member = new LoneCore({ term: 1, membership: { voters: ['m1'] } }, rules);
    member.sync();
    member.sync();
    expect(read(member, 1)).to.deep.equal([ready([1], 1)]);
  });
});

describe('raft: thesis 6.4.1, reads under a lease', () => {
  const config = { readLease: { clockDriftMax: 0.1 } };
  /** Nine of a follower's fast ticks last as long as 7.36 of the leader's slow ones. */
  const leaseTicks = 7;

  function leaseHolder(rules: Rules): LoneCore {
    const member = leader(rules, config);
    member.tick();
    member.receive('m2', answerTo(1));
    return member;
  }

  rule('a leader whose heartbeat a majority has answered reads at once', (rules) => {
    const member = leaseHolder(rules);
    expect(read(member, 1)).to.deep.equal([ready([1], 1)]);
    const request: Message = { kind: 'read-request', term: 2, context: 5 };
    expect(member.receive('m3', request)).to.deep.equal([
      send('m3', { kind: 'read-response', term: 2, context: 5, index: 1 }),
    ]);
  });

  rule('without the option every read costs a round', (rules) => {
    const member = leader(rules);
    member.tick();
    member.receive('m2', answerTo(1));
    expect(read(member, 1)).to.deep.equal([send('m2', heartbeat(2, 1)), send('m3', heartbeat(2, 0))]);
  });

  rule(
    'the lease counts from when the heartbeat was sent, and ends before the promise of the fastest clock',
    (rules) => {
      const member = leaseHolder(rules);
      member.tick(leaseTicks - 1);
      expect(read(member, 1)).to.deep.equal([ready([1], 1)]);
      member.tick();
      expect(read(member, 2).some((each) => each.kind === 'read-ready')).to.equal(false);
    },
    'lease-too-long',
  );

  rule(
    'the lease is dropped before another member is asked to take over, and not taken up again',
    (rules) => {
      const member = leaseHolder(rules);
      member.step({ kind: 'transfer', ref: 9, to: 'm2' });
      expect(read(member, 1).some((each) => each.kind === 'read-ready')).to.equal(false);
      member.tick(10);
      for (const round of [11, 12]) member.receive('m2', answerTo(round));
      member.tick();
      expect(member.core.status().transferringTo).to.equal(undefined);
      expect(read(member, 2).some((each) => each.kind === 'read-ready')).to.equal(false);
    },
    'keep-lease-on-transfer',
  );

  rule(
    'a member that has heard a leader helps nobody else, whatever it has learned since',
    (rules) => {
      const member = new LoneCore({ term: 2, config }, rules);
      member.receive('m2', heartbeat(1, 0));
      // It learns of a higher term and forgets the leader, but not its promise.
      member.receive('m3', { kind: 'vote-response', term: 7, granted: false });
      member.tick(9);
      const asks = { kind: 'vote-request', force: false, lastIndex: 9, lastTerm: 7 } as const;
      expect(member.receive('m3', { ...asks, term: 7 })).to.deep.equal([
        send('m3', { kind: 'vote-response', term: 7, granted: false }, 1),
      ]);
      expect(member.receive('m3', { ...asks, term: 8 })).to.deep.equal([]);
      member.tick();
      expect(member.receive('m3', { ...asks, term: 8 }).at(-1)).to.deep.equal(
        send('m3', { kind: 'vote-response', term: 8, granted: true }, 3),
      );
    },
    'lease-not-protected',
  );

  rule(
    'a member that restarts keeps the promise it may have given just before',
    (rules) => {
      const member = new LoneCore({ term: 2, config }, rules);
      const asks = { kind: 'vote-request', force: false, term: 3, lastIndex: 9, lastTerm: 2 } as const;
      member.tick(9);
      expect(member.receive('m3', asks)).to.deep.equal([]);
      member.tick();
      expect(member.receive('m3', asks).length).to.be.greaterThan(0);
    },
    'promise-forgotten-by-restart',
  );

  rule('a member that promised does not campaign out of turn, nor forget its leader', (rules) => {
    const member = new LoneCore({ term: 2, config }, rules);
    member.receive('m2', heartbeat(1, 0));
    expect(member.step({ kind: 'campaign' })).to.deep.equal([]);
    expect(member.step({ kind: 'forget-leader' })).to.deep.equal([]);
    expect(member.core.status().leader).to.equal('m2');
  });
});

describe('raft: thesis 6.2, a leader without a quorum', () => {
  rule('steps down after an election timeout in which no quorum was heard', (rules) => {
    const member = leader(rules);
    // The first period counts everybody as heard.
    member.tick(19);
    expect(member.core.status().role).to.equal('leader');
    expect(member.tick()).to.deep.equal([role('follower', 2)]);
  });

  rule('leads on while one answers', (rules) => {
    const member = leader(rules);
    for (let period = 0; period < 5; period++) {
      member.tick(9);
      member.receive('m3', answerTo(1));
      member.tick();
    }
    expect(member.core.status().role).to.equal('leader');
  });

  rule('does not count learners', (rules) => {
    const member = new LoneCore({ term: 1, membership: { voters: ['m1', 'm2'], learners: ['m3'] } }, rules);
    member.becomeLeader();
    for (let period = 0; period < 3; period++) {
      member.tick(9);
      member.receive('m3', answerTo(1));
      member.tick();
    }
    expect(member.core.status().role).to.not.equal('leader');
  });
});

describe('raft: thesis 3.10, leadership transfer', () => {
  const takeOver = send('m2', { kind: 'timeout-now', term: 2 });
  const transfer = (member: LoneCore, to: string): Command[] => member.step({ kind: 'transfer', ref: 9, to });

  rule('a target that has everything is asked to take over at once', (rules) => {
    const member = leader(rules);
    expect(transfer(member, 'm2')).to.deep.equal([takeOver]);
    expect(member.core.status().transferringTo).to.equal('m2');
  });

  rule('a target that is behind is brought up to date first', (rules) => {
    const member = leader(rules);
    member.propose('x');
    member.sync();
    expect(transfer(member, 'm2')).to.deep.equal([]);
    expect(member.ack('m2').at(-2)).to.deep.equal(takeOver);
  });

  rule('no proposals are taken meanwhile', (rules) => {
    const member = leader(rules);
    transfer(member, 'm2');
    const refused = (ref: number) => ({
      kind: 'refused',
      ref,
      reason: 'transferring',
      leader: 'm1',
      afterPersist: 0,
    });
    expect(member.propose('x', 'y')).to.deep.equal([refused(1), refused(2)]);
    expect(
      member.step({ kind: 'propose-membership', ref: 3, changes: [], transition: 'auto' }),
    ).to.deep.equal([refused(3)]);
  });

  rule('is given up after an election timeout; then the leader leads on', (rules) => {
    const member = leader(rules);
    transfer(member, 'm2');
    member.tick(9);
    expect(member.tick()[0]).to.deep.equal({
      kind: 'transfer-ended',
      ref: 9,
      outcome: 'aborted',
      afterPersist: 0,
    });
    expect(member.propose('x')[0]).to.deep.include({ kind: 'proposed' });
  });

  rule('a lost offer is made again with the next answer', (rules) => {
    const member = leader(rules);
    transfer(member, 'm2');
    member.tick();
    expect(member.receive('m2', answerTo(1))).to.deep.equal([takeOver]);
  });

  rule('the target begins an election that no promise holds up', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.receive('m2', heartbeat(1, 0));
    const asks: Message = { kind: 'vote-request', force: true, term: 3, lastIndex: 0, lastTerm: 0 };
    expect(member.receive('m2', { kind: 'timeout-now', term: 2 }).slice(1)).to.deep.equal([
      role('candidate', 3),
      send('m2', asks, 1),
      send('m3', asks, 1),
    ]);
  });

  rule('the target takes over also when it has just begun to doubt the leader', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.receive('m2', heartbeat(1, 0));
    member.tick(10);
    expect(member.core.status().role).to.equal('pre-candidate');
    member.receive('m2', { kind: 'timeout-now', term: 2 });
    expect(member.core.status()).to.deep.include({ role: 'candidate', term: 3 });
  });

  rule('an offer of an earlier term is no offer', (rules) => {
    const member = new LoneCore({ term: 3 }, rules);
    expect(member.receive('m2', { kind: 'timeout-now', term: 2 })).to.deep.equal([]);
  });

  rule('ends when another term begins', (rules) => {
    const member = leader(rules);
    transfer(member, 'm2');
    const asks: Message = { kind: 'vote-request', force: true, term: 3, lastIndex: 1, lastTerm: 2 };
    expect(member.receive('m2', asks)[0]).to.deep.equal({
      kind: 'transfer-ended',
      ref: 9,
      outcome: 'stepped-down',
      afterPersist: 0,
    });
  });

  rule('another target takes the place of the first', (rules) => {
    const member = leader(rules);
    transfer(member, 'm2');
    expect(member.step({ kind: 'transfer', ref: 10, to: 'm3' })).to.deep.equal([
      { kind: 'transfer-ended', ref: 9, outcome: 'aborted', afterPersist: 0 },
    ]);
    expect(member.core.status().transferringTo).to.equal('m3');
  });

  rule('goes only to a voter that is not leading, and only from the leader', (rules) => {
    const member = new LoneCore({ term: 1, membership: { voters: ['m1', 'm2'], learners: ['m3'] } }, rules);
    const told = (commands: Command[]) =>
      commands.map((each) => (each.kind === 'refused' ? [each.reason, each.detail] : each));
    expect(told(transfer(member, 'm2'))).to.deep.equal([['not-leader', undefined]]);
    member.becomeLeader();
    expect(told(transfer(member, 'm1'))).to.deep.equal([
      ['transfer-target-invalid', 'm1 is the leader already'],
    ]);
    expect(told(transfer(member, 'm3'))).to.deep.equal([['transfer-target-invalid', 'm3 is no voter']]);
    expect(told(transfer(member, 'm9'))).to.deep.equal([['transfer-target-invalid', 'm9 is no voter']]);
  });

  rule('ends when the target is removed', (rules) => {
    const member = leader(rules);
    member.step({
      kind: 'propose-membership',
      ref: 3,
      changes: [{ kind: 'remove', id: 'm3' }],
      transition: 'auto',
    });
    member.step({ kind: 'transfer', ref: 9, to: 'm3' });
    member.sync();
    member.ack('m2');
    expect(member.sync()).to.deep.include({
      kind: 'transfer-ended',
      ref: 9,
      outcome: 'aborted',
      afterPersist: 0,
    });
  });
});

describe('raft: thesis 9.6, PreVote', () => {
  const asks = (term: number, lastIndex = 0, lastTerm = 0): Message => ({
    kind: 'pre-vote-request',
    term,
    lastIndex,
    lastTerm,
  });

  rule('a member asks before it raises its term, and raises it only with a majority behind it', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    expect(member.tick(10)).to.deep.equal([
      role('pre-candidate', 2),
      send('m2', asks(3)),
      send('m3', asks(3)),
    ]);
    member.tick(40);
    expect(member.core.status().term).to.equal(2);
    member.receive('m2', { kind: 'pre-vote-response', term: 3, granted: true });
    expect(member.core.status()).to.deep.include({ role: 'candidate', term: 3 });
  });

  rule('saying yes commits to nothing: any number may be told so', (rules) => {
    const member = new LoneCore({ term: 2, log: [noop(1, 2)] }, rules);
    const yes = { kind: 'pre-vote-response', term: 3, granted: true } as const;
    expect(member.receive('m2', asks(3, 1, 2))).to.deep.equal([send('m2', yes)]);
    expect(member.receive('m3', asks(3, 1, 2))).to.deep.equal([send('m3', yes)]);
    expect(member.core.status().term).to.equal(2);
  });

  rule('the answer is no to an old term and to a shorter log', (rules) => {
    const member = new LoneCore({ term: 2, log: [noop(1, 2)] }, rules);
    const no = { kind: 'pre-vote-response', term: 2, granted: false } as const;
    expect(member.receive('m2', asks(2, 9, 2))).to.deep.equal([send('m2', no)]);
    expect(member.receive('m2', asks(3, 0, 0))).to.deep.equal([send('m2', no)]);
  });

  rule('a refusal at a higher term tells the asker of it', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.tick(10);
    member.receive('m2', { kind: 'pre-vote-response', term: 6, granted: false });
    expect(member.core.status()).to.deep.include({ role: 'follower', term: 6 });
  });

  rule('a majority of refusals sends it back to following', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.tick(10);
    for (const peer of ['m2', 'm3']) {
      member.receive(peer, { kind: 'pre-vote-response', term: 2, granted: false });
    }
    expect(member.core.status()).to.deep.include({ role: 'follower', term: 2 });
  });

  rule('a member that was told that its leader is dead helps at once', (rules) => {
    const member = new LoneCore({ term: 2 }, rules);
    member.receive('m2', heartbeat(1, 0));
    expect(member.receive('m3', asks(3))).to.deep.equal([
      send('m3', { kind: 'pre-vote-response', term: 2, granted: false }),
    ]);
    expect(member.step({ kind: 'forget-leader' })).to.deep.equal([role('follower', 2)]);
    expect(member.receive('m3', asks(3))).to.deep.equal([
      send('m3', { kind: 'pre-vote-response', term: 3, granted: true }),
    ]);
  });
});

describe('raft: a leader whose connection broke', () => {
  const asks: Message = { kind: 'pre-vote-request', term: 3, lastIndex: 0, lastTerm: 0 };

  it('is replaced after two heartbeats of silence', () => {
    const member = new LoneCore({ term: 2 });
    member.receive('m2', heartbeat(1, 0));
    member.step({ kind: 'unreachable', peer: 'm2' });
    expect(member.tick()).to.deep.equal([]);
    expect(member.tick()).to.deep.equal([role('pre-candidate', 2), send('m2', asks), send('m3', asks)]);
  });

  it('is not protected from others any more', () => {
    const member = new LoneCore({ term: 2 });
    member.receive('m2', heartbeat(1, 0));
    member.step({ kind: 'unreachable', peer: 'm2' });
    expect(member.receive('m3', asks)).to.deep.equal([
      send('m3', { kind: 'pre-vote-response', term: 3, granted: true }),
    ]);
  });

  it('is believed in again with its next message', () => {
    const member = new LoneCore({ term: 2 });
    member.receive('m2', heartbeat(1, 0));
    member.step({ kind: 'unreachable', peer: 'm2' });
    member.receive('m2', heartbeat(2, 0));
    expect(member.tick(9)).to.deep.equal([]);
    expect(member.receive('m3', asks)).to.deep.equal([
      send('m3', { kind: 'pre-vote-response', term: 2, granted: false }),
    ]);
  });

  it('keeps the lease that it was promised', () => {
    const member = new LoneCore({ term: 2, config: { readLease: { clockDriftMax: 0.1 } } });
    member.receive('m2', heartbeat(1, 0));
    member.step({ kind: 'unreachable', peer: 'm2' });
    expect(member.tick(9)).to.deep.equal([]);
  });

  it('is no other member', () => {
    const member = new LoneCore({ term: 2 });
    member.receive('m2', heartbeat(1, 0));
    member.step({ kind: 'unreachable', peer: 'm3' });
    expect(member.tick(9)).to.deep.equal([]);
  });
});

describe('raft: what is handed over', () => {
  it('is no more than the state machine takes, and one entry of any size', () => {
    const log = [entry(1, 1, 'x'.repeat(30)), entry(2, 1, 'x'.repeat(60)), entry(3, 1, 'y')];
    const member = new LoneCore({ term: 1, log, config: { applyingBytesMax: 50 } });
    const commit = {
      kind: 'append-request',
      term: 1,
      prevIndex: 3,
      prevTerm: 1,
      entries: [],
      commit: 3,
    } as const;
    expect(member.receive('m2', commit).slice(-2)).to.deep.equal([apply(log[0]!), apply(log[1]!)]);
    expect(member.tick()).to.deep.equal([]);
    expect(member.step({ kind: 'applied', index: 2 })).to.deep.equal([apply(log[2]!)]);
  });
});
