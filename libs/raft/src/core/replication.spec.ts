/** How entries travel: batches, windows, losses, snapshots, and writes that are under way. */
import { expect } from 'chai';
import { votersOnly } from './membership/membership.js';
import type { Rules } from './rules.js';
import { apply, entry, LoneCore, logOf, noop, persist, send } from './testing/lone-core.js';
import { seededRandom } from './testing/random.js';
import { rule } from './testing/rule.js';
import type { Command, CoreConfig, Entry, Message, SnapshotMeta } from './types.js';

type AppendRequest = Extract<Message, { kind: 'append-request' }>;

/** Leads term 2; m2 has everything and is replicated to, m3 has not answered. */
function leader(config: Partial<CoreConfig> = {}, rules?: Rules): LoneCore {
  const member = new LoneCore({ term: 1, config }, rules);
  member.becomeLeader();
  member.ack('m2');
  return member;
}

/** The append requests to a member, as `prev: entries`. */
function appends(commands: readonly Command[], to = 'm2'): string[] {
  return commands.flatMap((each) => {
    if (each.kind !== 'send' || each.to !== to || each.message.kind !== 'append-request') return [];
    const { prevIndex, entries } = each.message;
    return [`${prevIndex}: ${entries.map(({ index }) => index).join(' ')}`];
  });
}

function peer(member: LoneCore, id = 'm2') {
  return member.core.peers().find((each) => each.id === id);
}

function rejection(rejectedPrev: number, hintIndex: number, hintTerm: number, term = 2): Message {
  return { kind: 'append-response', term, result: { accepted: false, rejectedPrev, hintIndex, hintTerm } };
}

describe('raft: batches', () => {
  it('put the proposals of one step in one write and one request', () => {
    const member = leader();
    const texts = Array.from({ length: 50 }, (_, at) => `p${at}`);
    const commands = member.propose(...texts);
    const entries = texts.map((text, at) => entry(at + 2, 2, text));
    expect(commands.filter((each) => each.kind !== 'proposed')).to.deep.equal([
      persist(3, { term: 2, votedFor: 'm1', commit: 1 }, entries),
      send('m2', { kind: 'append-request', term: 2, prevIndex: 1, prevTerm: 2, entries, commit: 1 }),
    ]);
  });

  it('are cut by entries and by bytes, and hold one entry of any size', () => {
    const member = leader({ appendEntriesMax: 3, appendBytesMax: 10 });
    member.propose('aaaa', 'bbbb', 'cccc', 'd', 'e', 'f', 'x'.repeat(50), 'g');
    const requests = [...appends(member.ack('m2', 3)), ...appends(member.ack('m2', 9))];
    expect(requests).to.deep.equal(['3: 4 5 6', '6: 7', '7: 8', '8: 9']);
  });

  it('reach the state machine in one piece', () => {
    const member = leader();
    member.propose('a', 'b', 'c');
    member.ack('m2');
    expect(member.sync().at(-1)).to.deep.equal(apply(entry(2, 2, 'a'), entry(3, 2, 'b'), entry(4, 2, 'c')));
  });
});

describe('raft: windows', () => {
  it('let requests go without answers up to a count, and one more for each answer', () => {
    const member = leader({ inflightAppendsMax: 2 });
    expect(['a', 'b', 'c', 'd'].flatMap((text) => appends(member.propose(text)))).to.deep.equal([
      '1: 2',
      '2: 3',
    ]);
    expect(peer(member)).to.deep.include({ state: 'replicate', next: 4, isPaused: true, inflightAppends: 2 });
    // What waited goes together.
    expect(appends(member.ack('m2', 2))).to.deep.equal(['3: 4 5']);
    expect(peer(member)).to.deep.include({ match: 2, next: 6, inflightAppends: 2 });
  });

  it('let requests go up to a number of bytes', () => {
    const member = leader({ inflightBytesMax: 10 });
    const sent = ['aaaa', 'bbbb', 'cccc', 'dddd'].flatMap((text) => appends(member.propose(text)));
    expect(sent).to.deep.equal(['1: 2', '2: 3', '3: 4']);
    expect(peer(member)).to.deep.include({ inflightAppends: 3, inflightBytes: 12 });
    expect(appends(member.ack('m2', 3))).to.deep.equal(['4: 5']);
  });

  it('are freed by an answer that overtook others, and not twice', () => {
    const member = leader({ inflightAppendsMax: 3 });
    for (const text of ['a', 'b', 'c']) member.propose(text);
    member.ack('m2', 4);
    expect(peer(member)).to.deep.include({ match: 4, inflightAppends: 0 });
    member.ack('m2', 2);
    member.ack('m2', 3);
    expect(peer(member)).to.deep.include({ match: 4, next: 5, inflightAppends: 0 });
  });

  it('keep the news of a commit back only while they are full', () => {
    const member = leader({ inflightAppendsMax: 1 });
    member.propose('a');
    member.propose('b');
    member.sync();
    const commits = member
      .ack('m2', 2)
      .flatMap((each) =>
        each.kind === 'send' && each.message.kind === 'append-request' ? [each.message.commit] : [],
      );
    expect(commits).to.deep.equal([2]);
  });
});

describe('raft: losses', () => {
  it('are found by the answer to a heartbeat, and sent again from what is known to match', () => {
    const member = leader();
    member.propose('lost');
    member.propose('lost, too');
    // Nothing new to send: an empty request finds out.
    expect(appends(member.beat('m2'))).to.deep.equal(['3: ']);
    expect(appends(member.receive('m2', rejection(3, 1, 2)))).to.deep.equal(['1: 2 3']);
    expect(peer(member)).to.deep.include({ state: 'probe', match: 1, next: 2, isPaused: true });
    member.ack('m2');
    expect(peer(member)).to.deep.include({ state: 'replicate', match: 3, next: 4, isPaused: false });
  });

  it('are looked for once for each heartbeat of the clock, however many rounds of reads there are', () => {
    const member = leader();
    member.propose('on its way');
    expect(appends(member.beat('m2'))).to.deep.equal(['2: ']);
    for (const ref of [1, 2, 3]) {
      member.step({ kind: 'read', refs: [ref] });
      const answer: Message = { kind: 'heartbeat-response', term: 2, readSequence: ref + 1 };
      expect(appends(member.receive('m2', answer))).to.deep.equal([]);
    }
    expect(appends(member.beat('m2'))).to.deep.equal(['2: ']);
  });

  it('while probing cost one request for each heartbeat', () => {
    const member = leader();
    expect(peer(member, 'm3')).to.deep.include({ state: 'probe', isPaused: true });
    expect(
      [...member.propose('a'), ...member.propose('b')].flatMap((each) => appends([each], 'm3')),
    ).to.deep.equal([]);
    expect(appends(member.beat('m3'), 'm3')).to.deep.equal(['0: 1 2 3']);
    expect(appends(member.propose('c'), 'm3')).to.deep.equal([]);
  });

  it('that the driver knows of end the sending without answers', () => {
    const member = leader();
    member.propose('a');
    member.step({ kind: 'unreachable', peer: 'm2' });
    expect(peer(member)).to.deep.include({ state: 'probe', match: 1, next: 2, inflightAppends: 0 });
    expect(appends(member.propose('b'))).to.deep.equal(['1: 2 3']);
  });

  it('of rejections and their doubles change nothing that newer answers have settled', () => {
    const member = leader();
    member.propose('a');
    member.ack('m2');
    expect(member.receive('m2', rejection(1, 0, 0))).to.deep.equal([]);
    expect(peer(member)).to.deep.include({ state: 'replicate', match: 2, next: 3 });
  });
});

describe('raft: requests that overtake each other', () => {
  /** How many requests it takes until the member has as many entries, one in each, whatever the order of arrival. */
  function requestsUntilEqual(entries: number, seed: number): number {
    const random = seededRandom(seed);
    const config = { appendEntriesMax: 1, inflightAppendsMax: 32, inflightBytesMax: 100_000 };
    const ahead = new LoneCore({ id: 'm1', term: 1, log: logOf(...Array(entries).fill(1)), config });
    const behind = new LoneCore({ id: 'm2', term: 1, config });
    const underWay: { to: LoneCore; from: string; message: Message }[] = [];
    let requests = 0;
    const post = (from: string, commands: readonly Command[]): void => {
      for (const each of commands) {
        if (each.kind !== 'send' || (each.to !== 'm1' && each.to !== 'm2')) continue;
        const { message } = each;
        if (message.kind !== 'append-request' && message.kind !== 'append-response') continue;
        if (message.kind === 'append-request') requests++;
        underWay.push({ to: each.to === 'm1' ? ahead : behind, from, message });
      }
    };
    post('m1', ahead.becomeLeader());
    while (behind.core.status().lastIndex < ahead.core.status().lastIndex) {
      const [next] = underWay.splice(Math.floor(random() * underWay.length), 1);
      if (next === undefined || requests > 100 * entries)
        throw new Error(`not equal after ${requests} requests`);
      post(next.to === ahead ? 'm1' : 'm2', next.to.receive(next.from, next.message));
    }
    return requests;
  }

  it('do not set off more and more of them', () => {
    for (const seed of [1, 2, 3]) expect(requestsUntilEqual(300, seed)).to.be.lessThan(5 * 300);
  });
});

describe('raft: logs that differ', () => {
  /** Until the logs agree: how many requests the leader sends. Both sides skip what cannot agree. */
  function requestsToAgree(leaderTerms: number[], followerTerms: number[]): number {
    const term = Math.max(...leaderTerms, ...followerTerms);
    const config = { appendEntriesMax: 5000, appendBytesMax: 100_000 };
    const ahead = new LoneCore({ id: 'm1', term, log: logOf(...leaderTerms), config });
    const behind = new LoneCore({ id: 'm2', term, log: logOf(...followerTerms) });
    let commands = ahead.becomeLeader();
    for (let requests = 1; requests < 50; requests++) {
      const sent = commands.find((each) => each.kind === 'send' && each.to === 'm2');
      if (sent?.kind !== 'send') throw new Error('nothing was sent');
      const answers = behind.receive('m1', sent.message);
      const answer = answers.find((each) => each.kind === 'send');
      if (answer?.kind !== 'send' || answer.message.kind !== 'append-response') throw new Error('no answer');
      if (answer.message.result.accepted) {
        expect(behind.log).to.equal(ahead.log);
        return requests;
      }
      commands = ahead.receive('m2', answer.message);
    }
    throw new Error('the logs do not come to agree');
  }

  for (const [ahead, behind, requests] of [
    [[1, 1], [1, 1], 1],
    [[1, 1, 1, 1, 1], [1], 2],
    [[1, 1, 1, 5, 5], [1, 1, 1, 4, 4, 4, 4, 4], 2],
    // The follower's terms are all older: its hint is of a term that the leader has never seen.
    [[1, 1, 6, 6, 6], [1, 1, 2, 2, 3, 3, 4, 4], 2],
    // Terms alternate: each request passes over one of each.
    [[1, 3, 5, 7], [1, 2, 4, 6], 4],
    [[], [1, 1, 1], 1],
  ] as const) {
    it(`agree after ${requests} requests: leader ${ahead.join(' ') || 'nothing'}, member ${behind.join(' ')}`, () => {
      expect(requestsToAgree([...ahead], [...behind])).to.equal(requests);
    });
  }

  it('of a thousand entries in one term agree as fast as of five', () => {
    const long = Array.from({ length: 1000 }, () => 2);
    expect(requestsToAgree([1, ...long], [1, ...long.map(() => 1)])).to.equal(2);
  });
});

describe('raft: uncommitted bytes', () => {
  const refusalsOf = (commands: Command[]) =>
    commands.flatMap((each) => (each.kind === 'refused' ? [each] : []));

  it('are bounded: what does not fit is refused, and fits again after a commit', () => {
    const member = leader({ uncommittedBytesMax: 10 });
    const commands = member.propose('aaaa', 'bbbb', 'cccc', 'dd');
    expect(refusalsOf(commands)).to.deep.equal([
      {
        kind: 'refused',
        ref: 3,
        reason: 'uncommitted-full',
        leader: 'm1',
        detail: '8 bytes are not committed yet',
        afterPersist: 0,
      },
    ]);
    expect(member.log).to.equal('1/2 2/2 3/2 4/2');
    expect(refusalsOf(member.propose('e')).map((each) => each.reason)).to.deep.equal(['uncommitted-full']);
    member.sync();
    member.ack('m2', 3);
    expect(refusalsOf(member.propose('eeeeeeee'))).to.deep.equal([]);
  });

  it('let one proposal of any size through', () => {
    const member = leader({ uncommittedBytesMax: 10 });
    expect(refusalsOf(member.propose('x'.repeat(500)))).to.deep.equal([]);
    expect(refusalsOf(member.propose('y'))).to.have.length(1);
  });

  it('do not hold up a change of membership, which may be what helps', () => {
    const member = leader({ uncommittedBytesMax: 4 });
    member.propose('full');
    const changes = [{ kind: 'remove', id: 'm3' }] as const;
    const commands = member.step({ kind: 'propose-membership', ref: 9, changes, transition: 'auto' });
    expect(refusalsOf(commands)).to.deep.equal([]);
  });
});

describe('raft: writes under way', () => {
  rule(
    'a write of entries that were replaced meanwhile does not vouch for those in their place',
    (rules) => {
      const voters = ['m1', 'm2', 'm3'];
      const member = new LoneCore({ term: 1, membership: { voters } }, rules);
      member.becomeLeader();
      // Its entries 2 and 3 of term 2 are with the disk when another leads and cuts them off.
      member.propose('a', 'b');
      const oldWrite = member.sequence;
      const cut: AppendRequest = {
        kind: 'append-request',
        term: 3,
        prevIndex: 0,
        prevTerm: 0,
        entries: [noop(1, 3)],
        commit: 0,
      };
      member.receive('m2', cut);
      // It leads again and has entries 2 and 3 once more, others.
      const asked = member.sequence;
      member.tick(10);
      member.receive('m2', { kind: 'pre-vote-response', term: 4, granted: true });
      expect(member.sequence).to.equal(asked + 1);
      member.step({ kind: 'persisted', sequence: oldWrite });
      expect(member.core.status().durableIndex).to.equal(0);
      member.step({ kind: 'persisted', sequence: asked });
      expect(member.core.status().durableIndex).to.equal(1);
    },
    'count-overwritten-write',
  );

  rule('a leader commits by the disks of the others while its own is at work', (rules) => {
    const member = leader({}, rules);
    member.ack('m3');
    member.propose('x');
    member.ack('m2');
    member.ack('m3');
    expect(member.core.status()).to.deep.include({ commit: 2, durableIndex: 1 });
    // Its own state machine waits for its own disk.
    expect(member.sync()).to.deep.equal([apply(entry(2, 2, 'x'))]);
  });

  rule('a follower answers each request after the write that it made, and no later one', (rules) => {
    const member = new LoneCore({ term: 1 }, rules);
    const request = (index: number): AppendRequest => ({
      kind: 'append-request',
      term: 1,
      prevIndex: index - 1,
      prevTerm: index > 1 ? 1 : 0,
      entries: [entry(index, 1)],
      commit: 0,
    });
    const answersOf = (commands: Command[]) =>
      commands.flatMap((each) => (each.kind === 'send' ? [each.afterPersist] : []));
    expect([1, 2, 3].flatMap((index) => answersOf(member.receive('m2', request(index))))).to.deep.equal([
      1, 2, 3,
    ]);
  });
});

describe('raft: snapshots', () => {
  const membership = votersOnly(['m1', 'm2', 'm3']);
  const snapshot: SnapshotMeta = { index: 6, term: 2, membership };

  /** Leads term 2 with entries 1 to 8; all through 5 are gone, m3 has none of them. */
  function compacted(): LoneCore {
    const member = leader();
    for (let index = 2; index <= 8; index++) member.propose(`${index}`);
    member.sync();
    member.ack('m2');
    member.step({ kind: 'applied', index: 8 });
    member.step({ kind: 'snapshot-taken', snapshot, compactThrough: 5 });
    return member;
  }

  const sentSnapshot = send('m3', { kind: 'snapshot', term: 2, snapshot });

  function sending(): LoneCore {
    const member = compacted();
    member.beat('m3');
    return member;
  }

  it('go to a member whose entries are gone, which then gets nothing else', () => {
    const member = compacted();
    expect(member.beat('m3')).to.deep.equal([sentSnapshot]);
    expect(peer(member, 'm3')).to.deep.include({ state: 'snapshot', pendingSnapshot: 6, match: 0 });
    expect(appends(member.propose('x'), 'm3')).to.deep.equal([]);
    expect(member.beat('m3')).to.deep.equal([]);
  });

  it('lead back to entries as soon as the member says what it has', () => {
    const member = sending();
    expect(appends(member.ack('m3', 6), 'm3')).to.deep.equal(['6: 7 8']);
    expect(peer(member, 'm3')).to.deep.include({ state: 'replicate', match: 6, next: 9, pendingSnapshot: 0 });
  });

  it('that were delivered lead to a probe after them with the next sign of life', () => {
    const member = sending();
    expect(member.step({ kind: 'snapshot-status', peer: 'm3', outcome: 'delivered' })).to.deep.equal([]);
    expect(appends(member.beat('m3'), 'm3')).to.deep.equal(['6: 7 8']);
  });

  it('that failed are sent again with the next sign of life, not before', () => {
    const member = sending();
    member.step({ kind: 'snapshot-status', peer: 'm3', outcome: 'failed' });
    expect(member.propose('x').some((each) => each.kind === 'send' && each.to === 'm3')).to.equal(false);
    expect(member.beat('m3')).to.deep.equal([sentSnapshot]);
  });

  it('are not needed any more by a member that caught up by another way', () => {
    const member = sending();
    expect(appends(member.ack('m3', 5), 'm3')).to.deep.equal(['5: 6 7 8']);
    member.step({ kind: 'snapshot-status', peer: 'm3', outcome: 'failed' });
    expect(peer(member, 'm3')?.state).to.equal('replicate');
  });

  it('replace the log of the member, its membership and its state machine, after they are on its disk', () => {
    const member = new LoneCore({ id: 'm3', term: 2, log: logOf(1, 1) });
    const offered: SnapshotMeta = { index: 6, term: 2, membership: votersOnly(['m1', 'm3', 'm4']) };
    const commands = member.receive('m1', { kind: 'snapshot', term: 2, snapshot: offered });
    expect(commands.slice(1)).to.deep.equal([
      {
        kind: 'persist',
        sequence: 1,
        hardState: { term: 2, commit: 6 },
        entries: [],
        snapshot: offered,
      },
      { kind: 'install-snapshot', snapshot: offered, afterPersist: 1 },
      { kind: 'membership-changed', index: 6, membership: offered.membership, afterPersist: 1 },
      send('m1', { kind: 'append-response', term: 2, result: { accepted: true, match: 6 } }, 1),
    ]);
    const { commit, firstIndex, lastIndex, snapshotIndex } = member.core.status();
    expect([commit, firstIndex, lastIndex, snapshotIndex]).to.deep.equal([6, 7, 6, 6]);
    expect(member.core.status().membership).to.deep.equal(offered.membership);
  });

  it('that are older than what the member knows to be committed are answered with that', () => {
    const member = new LoneCore({ id: 'm3', term: 2, log: logOf(1, 1, 1, 1, 1, 2, 2), commit: 7 });
    expect(member.receive('m1', { kind: 'snapshot', term: 2, snapshot }).at(-1)).to.deep.equal(
      send('m1', { kind: 'append-response', term: 2, result: { accepted: true, match: 7 } }),
    );
    expect(member.log).to.equal('1/1 2/1 3/1 4/1 5/1 6/2 7/2');
  });

  it('that stand for what the log has leave the entries after it in place', () => {
    const log: Entry[] = logOf(1, 1, 1, 1, 1, 2, 2);
    const member = new LoneCore({ id: 'm3', term: 2, log });
    const commands = member.receive('m1', { kind: 'snapshot', term: 2, snapshot });
    expect(commands.slice(1)).to.deep.equal([
      send('m1', { kind: 'append-response', term: 2, result: { accepted: true, match: 6 } }),
      apply(...log.slice(0, 6)),
    ]);
    expect(member.log).to.equal('1/1 2/1 3/1 4/1 5/1 6/2 7/2');
  });

  it('do not let the log be cut off before what the state machine has', () => {
    const member = leader();
    for (let index = 2; index <= 8; index++) member.propose(`${index}`);
    member.sync();
    member.ack('m2');
    member.step({ kind: 'applied', index: 4 });
    member.step({ kind: 'snapshot-taken', snapshot, compactThrough: 8 });
    expect(member.core.status().firstIndex).to.equal(5);
  });
});
