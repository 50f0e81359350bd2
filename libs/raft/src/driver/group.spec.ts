import { expect } from 'chai';
import { EnxameError } from '#libs/model';
import type { PeerMessage } from '../port.js';
import { localStorage } from '../wal/local-storage.js';
import { nodeDisk } from '../wal/node-disk.js';
import { TestGroup, type TestMember } from './testing/test-group.js';

async function refusalOf(promise: Promise<unknown>): Promise<EnxameError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EnxameError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

const propose = ({ node }: TestMember, line: string): Promise<{ index: number; result: unknown }> =>
  node.propose(Buffer.from(line));

describe('raft: nodes of a group', function () {
  this.timeout(60_000);
  let group: TestGroup;

  beforeEach(() => {
    group = new TestGroup();
  });
  afterEach(() => group.stop());

  const same = (what: string, ...ids: string[]): Promise<void> =>
    group.until(() => {
      const all = ids.length === 0 ? [...group.members.keys()] : ids;
      const [first, ...others] = all.map((id) => group.get(id).ledger.lines.join());
      return others.every((lines) => lines === first);
    }, `${what}: the same lines everywhere`);

  describe('proposals', () => {
    it('are taken by any member, which gives each the result that its own state machine gave', async () => {
      await group.bootstrap('a', 'b', 'c');
      await group.leader();
      const results: unknown[] = [];
      for (const id of ['a', 'b', 'c', 'a', 'b', 'c']) {
        results.push((await propose(group.get(id), `by ${id}`)).result);
        expect(group.get(id).ledger.lines.at(-1)).to.equal(`by ${id}`);
      }
      expect(results).to.deep.equal([1, 2, 3, 4, 5, 6]);
      await same('after six proposals');
    });

    it('are applied once though messages are lost and doubled', async () => {
      await group.bootstrap('a', 'b', 'c');
      await group.leader();
      group.network.passes = () => Math.random() > 0.25;
      group.network.copies = () => (Math.random() < 0.3 ? 2 : 1);
      const lines = Array.from({ length: 60 }, (_, i) => `line ${i}`);
      await Promise.all(lines.map((line, i) => propose(group.get('abc'[i % 3] ?? ''), line)));
      group.network.heal();
      await same('after loss');
      expect(group.get('a').ledger.lines.toSorted()).to.deep.equal(lines.toSorted());
    });

    it('of a leader that was cut off are applied once, by its successor', async () => {
      await group.bootstrap('a', 'b', 'c');
      const old = await group.leader();
      await propose(old, 'before');
      group.network.isolate(old.id);
      const stranded = propose(old, 'stranded');
      const rest = ['a', 'b', 'c'].filter((id) => id !== old.id);
      const next = await group.leader(...rest);
      await propose(next, 'meanwhile');
      group.network.heal();
      expect((await stranded).result).to.equal(3);
      await same('after healing');
      expect(old.ledger.lines).to.deep.equal(['before', 'meanwhile', 'stranded']);
    });

    it('survive the change of leader though the first copy was committed and its answer lost', async () => {
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const old = await group.leader();
      // The follower hears nothing of what it proposed until another member leads.
      group.network.passes = (_from, to, message) => to !== follower.id || message.kind !== 'append-request';
      const pending = propose(follower, 'once');
      const third = [...group.members.values()].find((m) => m !== follower && m !== old) as TestMember;
      await group.until(() => third.ledger.lines.length === 1, 'the third member has it');
      group.network.isolate(old.id);
      group.network.passes = () => true;
      expect((await pending).result).to.equal(1);
      group.network.heal();
      await propose(follower, 'next');
      await same('after the change');
      expect(third.ledger.lines).to.deep.equal(['once', 'next']);
    });

    it('without a leader are refused in time, and a late copy of them changes nothing', async () => {
      group.limits = { proposalTimeoutTicks: 30 };
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      group.network.isolate(follower.id);
      const error = await refusalOf(propose(follower, 'alone'));
      expect(error.code).to.equal('unavailable');
      group.network.heal();
      await group.until(() => follower.node.status().leader !== undefined, 'it follows again');
      await propose(follower, 'together');
      await same('after healing');
      expect(follower.ledger.lines).to.deep.equal(['together']);
    });

    it('over the limits are refused by name', async () => {
      group.limits = { proposalBytesMax: 100, pendingProposalsMax: 2 };
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const large = await refusalOf(follower.node.propose(Buffer.alloc(101)));
      expect(large).to.include({ code: 'invalid-argument' });
      expect(large.message).to.equal('raft: a proposal of 101 bytes is over the limit of 100');
      const [first, second, third] = ['1', '2', '3'].map((line) => propose(follower, line));
      expect((await refusalOf(third as Promise<unknown>)).code).to.equal('resource-exhausted');
      await Promise.all([first, second]);
    });
  });

  describe('reads', () => {
    it('on any member show every write that was acknowledged before, by any member', async () => {
      await group.bootstrap('a', 'b', 'c');
      await group.leader();
      group.network.passes = () => Math.random() > 0.2;
      for (let i = 0; i < 30; i++) {
        await propose(group.get('abc'[i % 3] ?? ''), `line ${i}`);
        const reader = group.get('abc'[(i + 1) % 3] ?? '');
        await reader.node.readIndex();
        expect(reader.ledger.lines.at(-1)).to.equal(`line ${i}`);
      }
    });

    it('share rounds: a hundred at once cost the leader a few', async () => {
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      await propose(follower, 'something');
      const kinds: string[] = [];
      group.network.passes = (_from, _to, message) => kinds.push(message.kind) > 0;
      await Promise.all(Array.from({ length: 100 }, () => follower.node.readIndex()));
      expect(kinds.filter((kind) => kind === 'read-request')).to.have.length(1);
    });

    it('of a member that was cut off are refused in time', async () => {
      group.limits = { readTimeoutTicks: 30 };
      await group.bootstrap('a', 'b', 'c');
      const old = await group.leader();
      group.network.isolate(old.id);
      expect((await refusalOf(old.node.readIndex())).code).to.equal('unavailable');
    });
  });

  describe('membership', () => {
    it('begins with one member, grows by learners that are promoted, and shrinks', async () => {
      await group.bootstrap('a');
      const seen: string[] = [];
      group.get('a').node.watchMembership((members) => {
        seen.push(members.map(({ id, kind }) => (kind === 'voter' ? id : `(${id})`)).join(' '));
      });
      await propose(group.get('a'), 'alone');
      for (const id of ['b', 'c']) {
        await group.start(id);
        await group.get('a').node.changeMembership([{ kind: 'add-learner', id }]);
        await same('as a learner');
        await group.get('a').node.changeMembership([{ kind: 'add-voter', id }]);
      }
      await propose(group.get('c'), 'together');
      await same('with three');
      await group.get('c').node.changeMembership([{ kind: 'remove', id: 'b' }]);
      await group.until(() => group.get('b').wasRemoved, 'b knows');
      expect(seen).to.deep.equal(['a (b)', 'a b', 'a b (c)', 'a b c', 'a c']);
      expect((await refusalOf(propose(group.get('b'), 'still here'))).message).to.contain('was removed');
    });

    it('changes several members at once, on the word of a follower', async () => {
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const { id: gone } = [...group.members.values()].find((m) => m !== follower) as TestMember;
      await group.start('d');
      await follower.node.changeMembership([
        { kind: 'remove', id: gone },
        { kind: 'add-voter', id: 'd' },
      ]);
      const ids = ['a', 'b', 'c', 'd'].filter((id) => id !== gone);
      await group.until(
        () =>
          follower.node
            .members()
            .map(({ id }) => id)
            .join() === ids.join(),
        'the follower has it',
      );
      await propose(group.get('d'), 'new');
      await same('the new ones', ...ids);
    });

    it('lets the leader remove itself', async () => {
      await group.bootstrap('a', 'b', 'c');
      const old = await group.leader();
      await old.node.changeMembership([{ kind: 'remove', id: old.id }]);
      await group.until(() => old.wasRemoved, 'it knows');
      const rest = ['a', 'b', 'c'].filter((id) => id !== old.id);
      await propose(await group.leader(...rest), 'without it');
      await same('the others', ...rest);
    });

    it('tells a member of its removal that was away meanwhile', async () => {
      await group.bootstrap('a', 'b', 'c');
      const away = await group.follower();
      group.network.isolate(away.id);
      const leader = await group.leader();
      await leader.node.changeMembership([{ kind: 'remove', id: away.id }]);
      group.network.heal();
      await group.until(() => away.wasRemoved, 'it knows');
    });

    it('brings nobody back under an id that was removed', async () => {
      await group.bootstrap('a', 'b', 'c');
      const leader = await group.leader();
      const { id } = await group.follower();
      await leader.node.changeMembership([{ kind: 'remove', id }]);
      const error = await refusalOf(leader.node.changeMembership([{ kind: 'add-voter', id }]));
      expect(error.code).to.equal('failed-precondition');
      expect(error.message).to.equal(`raft: member ${id} was removed; an id is never used again`);
    });

    it('refuses what makes no sense, with the rule', async () => {
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const all = ['a', 'b', 'c'].map((id) => ({ kind: 'remove' as const, id }));
      const error = await refusalOf(follower.node.changeMembership(all));
      expect(error.code).to.equal('failed-precondition');
      expect(error.message).to.match(/^raft: .*voter/);
      expect((await refusalOf(follower.node.changeMembership([]))).code).to.equal('invalid-argument');
    });

    it('that is there already is done at once', async () => {
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const { lastIndex } = (await group.leader()).node.status();
      await follower.node.changeMembership([{ kind: 'add-voter', id: 'a' }]);
      expect((await group.leader()).node.status().lastIndex).to.equal(lastIndex);
    });
  });

  describe('leadership', () => {
    it('is handed over on the word of any member', async () => {
      await group.bootstrap('a', 'b', 'c');
      for (const to of ['a', 'b', 'c', 'b']) {
        const other = await group.follower();
        await other.node.transferLeadership(to);
        expect((await group.leader()).id).to.equal(to);
      }
      const leader = await group.leader();
      await leader.node.transferLeadership();
      expect(leader.node.status().leader).to.be.oneOf(['a', 'c']);
      const error = await refusalOf(leader.node.transferLeadership('nobody'));
      expect(error.code).to.equal('failed-precondition');
    });

    it('moves once though it was asked for twice', async () => {
      await group.bootstrap('a', 'b', 'c');
      const leader = await group.leader();
      const follower = await group.follower();
      const { term } = leader.node.status();
      await Promise.all([leader.node.transferLeadership(), follower.node.transferLeadership()]);
      expect((await group.leader()).node.status().term).to.equal(term + 1);
    });

    it('is known of every member, with the progress of the others', async () => {
      await group.bootstrap('a', 'b', 'c');
      const leader = await group.leader();
      await propose(leader, 'x');
      await same('everywhere');
      const { lastIndex } = leader.node.status();
      await group.until(
        () => leader.node.status().peers.every((peer) => peer.progress?.match === lastIndex),
        'they have it',
      );
      const [first, second] = leader.node.status().peers;
      expect([first, second]).to.deep.equal(
        ['a', 'b', 'c']
          .filter((id) => id !== leader.id)
          .map((id) => ({
            id,
            kind: 'voter',
            reachable: true,
            progress: { state: 'replicate', match: lastIndex, next: lastIndex + 1 },
          })),
      );
      group.network.isolate(first?.id ?? '');
      await group.until(() => leader.node.status().peers[0]?.reachable === false, 'it is away');
    });
  });

  describe('snapshots', () => {
    const limits = { snapshotEntries: 20, keptEntries: 2, keptBytes: 0 };

    async function far(lines = 100): Promise<void> {
      group.limits = limits;
      await group.bootstrap('a');
      for (let i = 0; i < lines; i++) await propose(group.get('a'), `line ${i}`);
      await group.until(() => group.get('a').node.status().firstIndex > 2, 'the log is cut');
    }

    it('bring a late member to where the log begins, and it goes on from there', async () => {
      await far();
      await group.start('b');
      await group.get('a').node.changeMembership([{ kind: 'add-voter', id: 'b' }]);
      await propose(group.get('b'), 'from b');
      await same('with the late member');
      const again = await group.restart('b');
      await same('after its restart');
      expect(again.ledger.lines).to.have.length(101);
    });

    it('go on where a broken stream ended', async () => {
      await far();
      const sent: number[] = [];
      group.network.beforeChunk = (_to, number) => {
        sent.push(number);
        if (sent.length === 30 || sent.length === 50) throw new Error('broken');
      };
      await group.start('b');
      await group.get('a').node.changeMembership([{ kind: 'add-voter', id: 'b' }]);
      await same('with the late member');
      const breaks = sent.flatMap((number, i) => (number <= (sent[i - 1] ?? -1) ? [i] : []));
      // The chunk that was lost is sent again, and nothing before it.
      expect(breaks).to.deep.equal([30, 50]);
      expect(sent[30]).to.equal(sent[29]);
    });

    it('leave a late member readable until it takes over', async () => {
      group.limits = limits;
      await group.bootstrap('a', 'b', 'c');
      const late = await group.follower();
      await propose(late, 'old');
      group.network.isolate(late.id);
      const leader = await group.leader();
      for (let i = 0; i < 60; i++) await propose(leader, `line ${i}`);
      const during: number[] = [];
      group.network.beforeChunk = () => during.push(late.ledger.lines.length);
      group.network.heal();
      await same('in the end');
      expect(during.length).to.be.greaterThan(0);
      expect(new Set(during)).to.deep.equal(new Set([1]));
    });

    it('carry which proposals were applied, so that an old copy is known', async () => {
      group.limits = limits;
      const copies: PeerMessage[] = [];
      await group.bootstrap('a', 'b', 'c');
      const follower = await group.follower();
      const leader = await group.leader();
      group.network.passes = (_from, _to, message) => {
        if (message.kind === 'forward') copies.push(message);
        return true;
      };
      await propose(follower, 'once');
      for (let i = 0; i < 30; i++) await propose(leader, `line ${i}`);
      await group.until(() => leader.node.status().snapshotIndex >= 20, 'there is a snapshot');
      const again = await group.restart(leader.id);
      const next = await group.leader();
      const transport = group.network.transportOf(follower.id);
      group.network.passes = () => true;
      expect(copies).to.have.length(1);
      for (const copy of copies) transport.send(next.id, copy);
      await propose(next, 'last');
      await same('after the copy');
      expect(again.ledger.lines.filter((line) => line === 'once')).to.have.length(1);
    });

    it('answer a proposal whose entry went by in one', async () => {
      group.limits = { ...limits, proposalRetryTicks: 1_000 };
      await group.bootstrap('a', 'b', 'c');
      const late = await group.follower();
      const leader = await group.leader();
      group.network.passes = (_from, to, message) =>
        to !== late.id || (message.kind !== 'append-request' && message.kind !== 'snapshot');
      const pending = refusalOf(propose(late, 'unseen'));
      await group.until(() => leader.ledger.lines.length === 1, 'it is applied');
      group.network.isolate(late.id);
      for (let i = 0; i < 60; i++) await propose(leader, `line ${i}`);
      group.network.heal();
      expect((await pending).message).to.equal(
        'raft: the proposal was applied, its result went by in a snapshot',
      );
      expect((await pending).code).to.equal('conflict');
    });
  });

  it('one goes on alone after a majority is lost for good, with all that its log holds', async () => {
    await group.bootstrap('a', 'b', 'c');
    await propose(await group.leader(), 'before');
    await same('all', 'a', 'b', 'c');
    for (const id of ['a', 'b', 'c']) await group.get(id).node.stop();
    group.members.delete('b');
    group.members.delete('c');
    group.overrides = { forceNewCluster: true };
    const { node, ledger } = await group.start('a');
    expect(node.members()).to.deep.equal([{ id: 'a', kind: 'voter' }]);
    expect(ledger.lines).to.deep.equal(['before']);
    await propose(group.get('a'), 'after');
    group.overrides = {};
    const again = await group.restart('a');
    expect(again.ledger.lines).to.deep.equal(['before', 'after']);
    expect(again.node.members()).to.deep.equal([{ id: 'a', kind: 'voter' }]);
  });

  it('one of a cluster that has lost its majority for good begins anew alone, with all that it holds', async () => {
    group.limits = { snapshotEntries: 20, keptEntries: 2, keptBytes: 0 };
    await group.bootstrap('a', 'b', 'c');
    const leader = await group.leader();
    for (let i = 0; i < 30; i++) await propose(leader, `line ${i}`);
    const survivor = await group.follower();
    await same('everywhere');
    for (const { id, node } of group.members.values()) {
      await node.stop();
      if (id !== survivor.id) group.members.delete(id);
    }
    group.overrides = { forceNewCluster: true };
    const alone = await group.start(survivor.id);
    group.overrides = {};
    expect(alone.node.status()).to.deep.include({
      role: 'leader',
      members: [{ id: survivor.id, kind: 'voter' }],
    });
    expect(alone.ledger.lines).to.deep.equal(leader.ledger.lines);
    await group.start('d');
    await alone.node.changeMembership([{ kind: 'add-voter', id: 'd' }]);
    await propose(group.get('d'), 'a new beginning');
    await same('the new cluster');
    await group.restart(survivor.id);
    expect(group.get(survivor.id).node.members()).to.have.length(2);
    // One of the old cluster comes back: it belongs to it no more.
    const old = await group.start(leader.id === survivor.id ? 'b' : leader.id);
    await group.until(() => old.wasRemoved, 'the old member knows');
  });

  it('one whose disk stands still hands the leadership over, and comes back when the disk does', async () => {
    const held = new Map<string, (() => void)[]>();
    const stalled = new Set<string>();
    for (const id of ['a', 'b', 'c']) {
      held.set(id, []);
      const schedule = (work: () => void): void => {
        if (stalled.has(id)) held.get(id)?.push(work);
        else setImmediate(work);
      };
      group.overrides = { openStorage: localStorage(nodeDisk, schedule) };
      void group.start(id, { kind: 'bootstrap', members: ['a', 'b', 'c'] });
    }
    const old = await group.leader();
    await propose(old, 'before');
    stalled.add(old.id);
    const pending = propose(old, 'under way');
    const next = await group.leader(...['a', 'b', 'c'].filter((id) => id !== old.id));
    await propose(next, 'meanwhile');
    stalled.clear();
    for (const work of held.get(old.id) ?? []) setImmediate(work);
    await pending;
    await same('in the end');
    expect(old.ledger.lines.toSorted()).to.deep.equal(['before', 'meanwhile', 'under way']);
  });

  it('one whose disk fails stops with the reason, and the others go on', async () => {
    await group.bootstrap('a', 'b');
    const { openStorage } = await failingStorage();
    group.overrides = { openStorage: openStorage.open };
    await group.start('c', { kind: 'join' });
    group.overrides = {};
    const leader = await group.leader();
    await leader.node.changeMembership([{ kind: 'add-voter', id: 'c' }]);
    await propose(leader, 'fine');
    await same('with three');
    openStorage.fails = true;
    await propose(leader, 'the disk of c is full');
    const { node } = group.get('c');
    await group.until(() => group.get('c').failure !== undefined, 'c stops');
    expect(node.status().failure?.message).to.contain('no space left');
    expect((await refusalOf(node.propose(Buffer.from('x')))).message).to.contain('no space left');
    await propose(group.get('b'), 'still there');
    await same('the others', 'a', 'b');
  });
});

/** Real files until told to fail. */
async function failingStorage(): Promise<{
  openStorage: { fails: boolean; open: import('../port.js').RaftNodeOptions['openStorage'] & object };
}> {
  const state = {
    fails: false,
    open: localStorage(
      {
        ...nodeDisk,
        open: (path, mode) => {
          const file = nodeDisk.open(path, mode);
          return {
            size: () => file.size(),
            read: (into, position) => file.read(into, position),
            truncate: (bytes) => file.truncate(bytes),
            sync: () => file.sync(),
            close: () => file.close(),
            write: (bytes, position) => {
              if (state.fails) {
                throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
              }
              file.write(bytes, position);
            },
          };
        },
      },
      setImmediate,
    ),
  };
  return { openStorage: state };
}
