/**
 * Figure 2 of the Raft paper, sentence by sentence. Where the core does more than the figure (PreVote before an election,
 * a no-op as the first append, hints in rejections), the test shows what it does.
 */
import { expect } from 'chai';
import { apply, entry, LoneCore, logOf, noop, persist, role, send } from '../testing/lone-core.js';
import { rule } from '../testing/rule.js';
import type { Entry, Message } from '../types.js';

function append(
  term: number,
  prev: [index: number, term: number],
  entries: Entry[] = [],
  commit = 0,
): Message {
  return { kind: 'append-request', term, prevIndex: prev[0], prevTerm: prev[1], entries, commit };
}

function took(term: number, match: number): Message {
  return { kind: 'append-response', term, result: { accepted: true, match } };
}

function voteRequest(term: number, lastIndex: number, lastTerm: number): Message {
  return { kind: 'vote-request', force: false, term, lastIndex, lastTerm };
}

function vote(term: number, granted: boolean): Message {
  return { kind: 'vote-response', term, granted };
}

describe('raft: paper, figure 2, state', () => {
  rule(
    'votedFor is updated on stable storage before responding to RPCs',
    (rules) => {
      const member = new LoneCore({ term: 1 }, rules);
      expect(member.receive('m2', voteRequest(2, 0, 0))).to.deep.equal([
        persist(1, { term: 2, commit: 0 }),
        role('follower', 2),
        persist(2, { term: 2, votedFor: 'm2', commit: 0 }),
        send('m2', vote(2, true), 2),
      ]);
    },
    'ack-before-sync',
    'forget-vote',
    'forget-term',
  );

  rule(
    'the log is updated on stable storage before responding to RPCs',
    (rules) => {
      const member = new LoneCore({ term: 1, log: logOf(1) }, rules);
      expect(member.receive('m2', append(1, [1, 1], [entry(2, 1)]))).to.deep.equal([
        role('follower', 1, 'm2'),
        persist(1, { term: 1, commit: 0 }, [entry(2, 1)]),
        send('m2', took(1, 2), 1),
      ]);
    },
    'ack-before-sync',
  );

  rule('currentTerm, votedFor and the log are what the disk held at the start', (rules) => {
    const member = new LoneCore({ term: 3, votedFor: 'm2', log: logOf(1, 3), commit: 1 }, rules);
    expect(member.state).to.deep.equal({ role: 'follower', term: 3, commit: 1, log: '1/1 2/3' });
    const answers = [
      ...member.receive('m3', voteRequest(3, 9, 3)),
      ...member.receive('m2', voteRequest(3, 9, 3)),
    ];
    const committed = { index: 1, term: 1 };
    expect(answers).to.deep.equal([
      send('m3', { kind: 'vote-response', term: 3, granted: false, committed }),
      send('m2', { kind: 'vote-response', term: 3, granted: true, committed }),
    ]);
  });

  rule('commitIndex and lastApplied increase monotonically', (rules) => {
    const member = new LoneCore({ term: 1, log: logOf(1, 1, 1) }, rules);
    expect(member.receive('m2', append(1, [3, 1], [], 2)).at(-1)).to.deep.equal(
      apply(entry(1, 1), entry(2, 1)),
    );
    expect(member.receive('m2', append(1, [3, 1], [], 1))).to.deep.equal([send('m2', took(1, 3))]);
    member.receive('m2', { kind: 'heartbeat', term: 1, commit: 1, readSequence: 1 });
    expect(member.state.commit).to.equal(2);
  });

  rule('nextIndex begins after the last log index and matchIndex at 0, with every election', (rules) => {
    const member = new LoneCore({ term: 1, log: logOf(1, 1) }, rules);
    const known = (): object[] => member.core.peers().map(({ id, match, next }) => ({ id, match, next }));
    const begun = (next: number): object[] => ['m2', 'm3'].map((id) => ({ id, match: 0, next }));
    expect(known()).to.deep.equal([]);
    member.becomeLeader();
    expect(known()).to.deep.equal(begun(3));
    member.ack('m2', 3);
    expect(known()).to.deep.equal([
      { id: 'm2', match: 3, next: 4 },
      { id: 'm3', match: 0, next: 3 },
    ]);
    // An older answer that comes late takes nothing back.
    member.ack('m2', 1);
    expect(known()[0]).to.deep.equal({ id: 'm2', match: 3, next: 4 });
    member.receive('m3', append(member.term + 1, [0, 0]));
    expect(known()).to.deep.equal([]);
    member.becomeLeader();
    expect(known()).to.deep.equal(begun(4));
  });
});

describe('raft: paper, figure 2, AppendEntries receiver', () => {
  rule('1. reply false if term < currentTerm', (rules) => {
    const member = new LoneCore({ term: 3, log: logOf(1) }, rules);
    expect(member.receive('m2', append(2, [1, 1], [entry(2, 2)], 2))).to.deep.equal([
      send('m2', {
        kind: 'append-response',
        term: 3,
        result: { accepted: false, rejectedPrev: 0, hintIndex: 0, hintTerm: 0 },
      }),
    ]);
    expect(member.state).to.deep.equal({ role: 'follower', term: 3, commit: 0, log: '1/1' });
  });

  rule(
    "2. reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm",
    (rules) => {
      const rejection = (rejectedPrev: number, hintIndex: number, hintTerm: number): Message => ({
        kind: 'append-response',
        term: 5,
        result: { accepted: false, rejectedPrev, hintIndex, hintTerm },
      });
      const other = new LoneCore({ term: 5, log: logOf(1, 2, 2) }, rules);
      // The hint skips the whole term that cannot agree.
      expect(other.receive('m2', append(5, [3, 1], [entry(4, 5)], 4))).to.deep.equal([
        role('follower', 5, 'm2'),
        send('m2', rejection(3, 1, 1)),
      ]);
      expect(other.state).to.deep.equal({ role: 'follower', term: 5, commit: 0, log: '1/1 2/2 3/2' });
      const shorter = new LoneCore({ term: 5, log: logOf(1, 2, 2) }, rules);
      expect(shorter.receive('m2', append(5, [7, 5], [entry(8, 5)], 4))).to.deep.equal([
        role('follower', 5, 'm2'),
        send('m2', rejection(7, 3, 2)),
      ]);
    },
    'skip-log-matching',
  );

  rule('3. if an existing entry conflicts with a new one, delete it and all that follow it', (rules) => {
    const member = new LoneCore({ term: 3, log: logOf(1, 2, 2, 2) }, rules);
    expect(member.receive('m2', append(3, [1, 1], [entry(2, 3)]))).to.deep.equal([
      role('follower', 3, 'm2'),
      persist(1, { term: 3, commit: 0 }, [entry(2, 3)]),
      send('m2', took(3, 2), 1),
    ]);
    expect(member.state).to.deep.equal({ role: 'follower', term: 3, commit: 0, log: '1/1 2/3' });
  });

  rule(
    '4. append any new entries not already in the log',
    (rules) => {
      const member = new LoneCore({ term: 3, log: logOf(1, 3, 3) }, rules);
      const request = append(3, [1, 1], [entry(2, 3), entry(3, 3), entry(4, 3)]);
      expect(member.receive('m2', request)).to.deep.equal([
        role('follower', 3, 'm2'),
        persist(1, { term: 3, commit: 0 }, [entry(4, 3)]),
        send('m2', took(3, 4), 1),
      ]);
      // A request that was overtaken brings nothing new and must not cut off what came after it.
      expect(member.receive('m2', append(3, [1, 1], [entry(2, 3)]))).to.deep.equal([
        send('m2', took(3, 2), 1),
      ]);
      expect(member.log).to.equal('1/1 2/3 3/3 4/3');
    },
    'truncate-matching-appends',
  );

  rule('5. set commitIndex = min(leaderCommit, index of last new entry)', (rules) => {
    const member = new LoneCore({ term: 3, log: logOf(1, 1, 2) }, rules);
    // Entry 3 may differ from the leader's: only what the request covers is known to agree.
    expect(member.receive('m2', append(3, [1, 1], [entry(2, 1)], 9))).to.deep.equal([
      role('follower', 3, 'm2'),
      send('m2', took(3, 2)),
      apply(entry(1, 1), entry(2, 1)),
    ]);
    expect(member.core.status().commit).to.equal(2);
    // An older request does not take it back.
    member.receive('m2', append(3, [2, 1], [], 1));
    expect(member.core.status().commit).to.equal(2);
  });
});

describe('raft: paper, figure 2, RequestVote receiver', () => {
  rule('1. reply false if term < currentTerm', (rules) => {
    const member = new LoneCore({ term: 3, log: logOf(1) }, rules);
    expect(member.receive('m2', voteRequest(2, 5, 2))).to.deep.equal([send('m2', vote(3, false))]);
    expect(member.state).to.deep.equal({ role: 'follower', term: 3, commit: 0, log: '1/1' });
  });

  rule(
    '2. grant the vote if votedFor is null or candidateId, and to nobody else',
    (rules) => {
      const member = new LoneCore({ term: 2 }, rules);
      expect(member.receive('m2', voteRequest(2, 0, 0))).to.deep.equal([
        persist(1, { term: 2, votedFor: 'm2', commit: 0 }),
        send('m2', vote(2, true), 1),
      ]);
      expect(member.receive('m3', voteRequest(2, 0, 0))).to.deep.equal([send('m3', vote(2, false), 1)]);
      expect(member.receive('m2', voteRequest(2, 0, 0))).to.deep.equal([send('m2', vote(2, true), 1)]);
    },
    'two-votes-in-a-term',
  );

  for (const { log, last, granted } of [
    { log: [1, 1], last: [2, 1], granted: true },
    { log: [1, 1], last: [3, 1], granted: true },
    { log: [1, 1], last: [1, 2], granted: true },
    { log: [1, 1], last: [1, 1], granted: false },
    { log: [1, 2], last: [9, 1], granted: false },
    { log: [], last: [0, 0], granted: true },
  ]) {
    rule(
      `2. a log that ends at ${last.join('/')} is ${granted ? '' : 'not '}up-to-date for one of terms "${log.join(' ')}"`,
      (rules) => {
        const member = new LoneCore({ term: 3, log: logOf(...log) }, rules);
        const [lastIndex = 0, lastTerm = 0] = last;
        const expected = granted
          ? [persist(1, { term: 3, votedFor: 'm2', commit: 0 }), send('m2', vote(3, true), 1)]
          : [send('m2', vote(3, false), 0)];
        expect(member.receive('m2', voteRequest(3, lastIndex, lastTerm))).to.deep.equal(expected);
      },
      ...(granted ? [] : (['vote-for-shorter-log'] as const)),
    );
  }
});

describe('raft: paper, figure 2, rules for all servers', () => {
  rule('if commitIndex > lastApplied, apply log[lastApplied], in order and once', (rules) => {
    const member = new LoneCore({ term: 1, log: logOf(1, 1, 1) }, rules);
    const heard = member.receive('m2', append(1, [3, 1], [], 2));
    expect(heard.at(-1)).to.deep.equal(apply(entry(1, 1), entry(2, 1)));
    expect(member.receive('m2', append(1, [3, 1], [], 3)).at(-1)).to.deep.equal(apply(entry(3, 1)));
    expect(member.receive('m2', append(1, [3, 1], [], 3))).to.deep.equal([send('m2', took(1, 3))]);
  });

  for (const [what, message] of [
    ['AppendEntries', append(4, [0, 0])],
    ['a vote request', voteRequest(4, 9, 3)],
    ['an answer to AppendEntries', took(4, 1)],
    ['an answer to a vote request', vote(4, false)],
    ['an answer to a heartbeat', { kind: 'heartbeat-response', term: 4, readSequence: 1 }],
  ] as [string, Message][]) {
    rule(`if ${what} contains term T > currentTerm, set currentTerm = T and convert to follower`, (rules) => {
      const member = new LoneCore({ term: 1 }, rules);
      member.becomeCandidate();
      const commands = member.receive('m2', message);
      const leads = message.kind === 'append-request';
      expect(commands.slice(0, 2)).to.deep.equal([
        persist(2, { term: 4, commit: 0 }),
        role('follower', 4, ...(leads ? ['m2'] : [])),
      ]);
      expect(member.state).to.deep.equal({ role: 'follower', term: 4, commit: 0, log: '' });
    });
  }
});

describe('raft: paper, figure 2, rules for followers', () => {
  rule('respond to RPCs from candidates and leaders, whoever they are', (rules) => {
    // The member may be the last to hear that the sender has joined.
    const member = new LoneCore({ term: 1 }, rules);
    expect(member.receive('m9', voteRequest(2, 0, 0)).at(-1)).to.deep.equal(send('m9', vote(2, true), 2));
    expect(member.receive('m9', append(2, [0, 0])).at(-1)).to.deep.equal(send('m9', took(2, 0), 2));
  });

  rule(
    'if the election timeout elapses without AppendEntries or a vote granted, begin an election',
    (rules) => {
      const member = new LoneCore({ term: 1, log: logOf(1) }, rules);
      expect(member.tick(9)).to.deep.equal([]);
      member.receive('m2', append(1, [1, 1]));
      expect(member.tick(9)).to.deep.equal([]);
      const asks: Message = { kind: 'pre-vote-request', term: 2, lastIndex: 1, lastTerm: 1 };
      expect(member.tick()).to.deep.equal([role('pre-candidate', 1), send('m2', asks), send('m3', asks)]);
      const voter = new LoneCore({ term: 1 }, rules);
      voter.tick(9);
      voter.receive('m2', voteRequest(1, 0, 0));
      expect(voter.tick(9)).to.deep.equal([]);
      expect(voter.tick()[0]).to.deep.equal(role('pre-candidate', 1));
    },
  );
});

describe('raft: paper, figure 2, rules for candidates', () => {
  rule(
    'on conversion increment currentTerm, vote for self, reset the timer, send RequestVote to all others',
    (rules) => {
      const member = new LoneCore({ term: 1, log: logOf(1) }, rules);
      member.tick(10);
      const asks: Message = { kind: 'vote-request', force: false, term: 2, lastIndex: 1, lastTerm: 1 };
      // Its own vote is on disk before anybody is asked to count on it.
      expect(member.receive('m2', { kind: 'pre-vote-response', term: 2, granted: true })).to.deep.equal([
        persist(1, { term: 2, votedFor: 'm1', commit: 0 }),
        role('candidate', 2),
        send('m2', asks, 1),
        send('m3', asks, 1),
      ]);
      expect(member.tick(9)).to.deep.equal([]);
    },
    'forget-vote',
    'ack-before-sync',
  );

  rule(
    'if votes are received from a majority of servers, become leader',
    (rules) => {
      const member = new LoneCore({ term: 1, membership: { voters: ['m1', 'm2', 'm3', 'm4', 'm5'] } }, rules);
      member.becomeCandidate();
      expect(member.receive('m2', vote(2, true))).to.deep.equal([]);
      // Twice the same vote is one vote, and a vote of an earlier term is none.
      expect(member.receive('m2', vote(2, true))).to.deep.equal([]);
      expect(member.receive('m3', vote(1, true))).to.deep.equal([]);
      expect(member.core.status().role).to.equal('candidate');
      expect(member.receive('m3', vote(2, true))[0]).to.deep.equal(role('leader', 2, 'm1'));
    },
    'count-votes-twice',
  );

  rule('its own vote counts only once it is on its disk', (rules) => {
    const member = new LoneCore({ term: 1 }, rules);
    member.tick(10);
    member.receive('m2', { kind: 'pre-vote-response', term: 2, granted: true });
    expect(member.receive('m2', vote(2, true))).to.deep.equal([]);
    expect(member.sync()[0]).to.deep.equal(role('leader', 2, 'm1'));
  });

  rule('if AppendEntries is received from a new leader, convert to follower', (rules) => {
    const member = new LoneCore({ term: 1 }, rules);
    member.becomeCandidate();
    expect(member.receive('m2', append(2, [0, 0]))).to.deep.equal([
      role('follower', 2, 'm2'),
      send('m2', took(2, 0), 1),
    ]);
  });

  rule('if the election timeout elapses, start a new election', (rules) => {
    const member = new LoneCore({ term: 1 }, rules);
    member.becomeCandidate();
    expect(member.tick(10)[0]).to.deep.equal(role('pre-candidate', 2));
    member.receive('m3', { kind: 'pre-vote-response', term: 3, granted: true });
    expect(member.state).to.deep.include({ role: 'candidate', term: 3 });
  });
});

describe('raft: paper, figure 2, rules for leaders', () => {
  rule('upon election send AppendEntries to each server, and repeat during idle periods', (rules) => {
    const member = new LoneCore({ term: 1, log: logOf(1) }, rules);
    const first = append(2, [1, 1], [noop(2, 2)]);
    expect(member.becomeLeader()).to.deep.equal([
      role('leader', 2, 'm1'),
      persist(2, { term: 2, votedFor: 'm1', commit: 0 }, [noop(2, 2)]),
      send('m2', first),
      send('m3', first),
    ]);
    const heartbeat: Message = { kind: 'heartbeat', term: 2, commit: 0, readSequence: 1 };
    expect(member.tick()).to.deep.equal([send('m2', heartbeat), send('m3', heartbeat)]);
  });

  rule('append a command from a client to the local log; respond after it was applied', (rules) => {
    const member = new LoneCore({ term: 1 }, rules);
    member.becomeLeader();
    member.ack('m2');
    const command = entry(2, 2, 'x');
    expect(member.propose('x')).to.deep.equal([
      { kind: 'proposed', ref: 1, index: 2, term: 2, afterPersist: 0 },
      persist(3, { term: 2, votedFor: 'm1', commit: 1 }, [command]),
      send('m2', append(2, [1, 2], [command], 1)),
    ]);
    // On m2's disk and the leader's, two of three.
    expect(member.ack('m2')).to.deep.equal([]);
    expect(member.sync()).to.deep.equal([send('m2', append(2, [2, 2], [], 2)), apply(command)]);
  });

  rule(
    'if last log index ≥ nextIndex, send AppendEntries from nextIndex; on success go on from there',
    (rules) => {
      const member = new LoneCore({ term: 1, log: logOf(1, 1) }, rules);
      member.becomeLeader();
      expect(member.ack('m2', 3)).to.deep.include(send('m2', append(2, [3, 2], [], 3)));
      expect(member.core.peers()[0]).to.deep.include({ id: 'm2', state: 'replicate', match: 3, next: 4 });
      expect(member.propose('x')).to.deep.include(send('m2', append(2, [3, 2], [entry(4, 2, 'x')], 3)));
      expect(member.core.peers()[0]).to.deep.include({ match: 3, next: 5 });
    },
  );

  rule('if AppendEntries fails because of inconsistency, decrement nextIndex and retry', (rules) => {
    const log = logOf(1, 1, 1, 2, 2);
    const member = new LoneCore({ term: 2, log }, rules);
    member.becomeLeader();
    // m2 ends at 5 with entries of term 1: nothing of term 2 can agree, so one step goes back over all of it.
    const rejection: Message = {
      kind: 'append-response',
      term: 3,
      result: { accepted: false, rejectedPrev: 5, hintIndex: 5, hintTerm: 1 },
    };
    const retry = append(3, [3, 1], [...log.slice(3), noop(6, 3)]);
    expect(member.receive('m2', rejection)).to.deep.equal([send('m2', retry)]);
    expect(member.receive('m2', rejection)).to.deep.equal([]);
  });

  rule(
    'if N > commitIndex, a majority of matchIndex ≥ N and log[N].term == currentTerm: set commitIndex = N',
    (rules) => {
      const voters = ['m1', 'm2', 'm3', 'm4', 'm5'];
      const log = logOf(1, 2);
      const member = new LoneCore({ term: 2, log, membership: { voters } }, rules);
      member.becomeLeader();
      member.ack('m2', 2);
      member.ack('m3', 2);
      // Entry 2 is on a majority, but of an earlier term.
      expect(member.core.status().commit).to.equal(0);
      member.ack('m2', 3);
      expect(member.core.status().commit).to.equal(0);
      expect(member.ack('m3', 3).at(-1)).to.deep.equal(apply(...log, noop(3, 3)));
      expect(member.core.status().commit).to.equal(3);
    },
    'commit-old-term-by-counting',
    'commit-without-majority',
  );

  rule("the leader's own disk is one of the majority, and not before it is done", (rules) => {
    const voters = ['m1', 'm2', 'm3', 'm4', 'm5'];
    const member = new LoneCore({ term: 1, membership: { voters } }, rules);
    member.becomeLeader();
    member.propose('x');
    member.ack('m2');
    member.ack('m3');
    expect(member.core.status().commit).to.equal(1);
    expect(member.sync().at(-1)).to.deep.equal(apply(entry(2, 2, 'x')));
  });
});
