import { EnxameError } from '#libs/model';
import type { Leadership } from '#libs/raft';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { Leaders } from './leaders.js';

/** A Raft node that does as it is told. */
class TestRaft {
  leader: string | undefined;
  reads: (() => Promise<number>)[] = [];
  listener: ((leadership: Leadership) => void) | undefined;

  status(): { id: string; leader?: string } {
    return { id: 'r1', ...(this.leader === undefined ? {} : { leader: this.leader }) };
  }

  readIndex(): Promise<number> {
    const read = this.reads.shift();
    return read ? read() : Promise.resolve(1);
  }

  watchLeadership(listener: (leadership: Leadership) => void): () => void {
    this.listener = listener;
    return () => undefined;
  }

  elect(leader: string): void {
    this.leader = leader;
    this.listener?.({ role: 'follower', term: 1, leader, isLeader: leader === 'r1' });
  }
}

describe('leaders', () => {
  const node = (id: string, raftId: string) => ({
    id: id as never,
    index: Number(raftId.slice(1)),
    spec: { Role: 'manager' as const, Availability: 'active' as const },
    manager: { raftId, address: `${id}:2377` },
  });
  const view = viewOf({ nodes: [node('n1', 'r1'), node('n2', 'r2')] as never });
  const make = (): { raft: TestRaft; leaders: Leaders } => {
    const raft = new TestRaft();
    return { raft, leaders: new Leaders({ raft, store: { view: () => view } }) };
  };
  const signal = new AbortController().signal;

  it('asks again until a leader confirms', async () => {
    const { raft, leaders } = make();
    raft.reads = [
      () => Promise.reject(new EnxameError('unavailable', 'no leader')),
      () => Promise.resolve(5),
    ];
    await leaders.current(2_000);
    expect(raft.reads).to.have.length(0);
  });

  it('gives up in time and says in Swarm`s words that there is no leader', async () => {
    const { raft, leaders } = make();
    raft.reads = [() => new Promise(() => undefined)];
    const error = await leaders.current(20).catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(EnxameError).with.property('code', 'not-manager');
    expect((error as EnxameError).httpStatus).to.equal(503);
    expect((error as EnxameError).message).to.contain('The swarm does not have a leader');
  });

  it('waits for another leader, and for itself until it is at work', async () => {
    const { raft, leaders } = make();
    expect(await leaders.whenKnown({ waitMs: 0, signal })).to.equal(undefined);
    const other = leaders.whenKnown({ waitMs: 5_000, signal });
    raft.elect('r2');
    expect(await other).to.equal('n2:2377');
    raft.elect('r1');
    expect(leaders.leaderNode()?.id).to.equal('n1');
    expect(await leaders.whenKnown({ waitMs: 0, signal })).to.equal(undefined);
    const self = leaders.whenKnown({ waitMs: 5_000, signal });
    leaders.leading = true;
    expect(await self).to.equal('n1:2377');
  });
});
