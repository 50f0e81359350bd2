import type { AssignmentItem, NodeId, SettingsItem, TaskId, TaskItem } from '#libs/model';
import type { NetworkProgram } from '#libs/network';
import { expect } from 'chai';
import { AssignmentSet } from './assignment-set.js';
import { NetworkSync } from './network-sync.js';

const settings: SettingsItem = { kind: 'settings', id: 'settings', dataPathPort: 4789, addressPools: [] };
const peer = (id: string): AssignmentItem => ({
  kind: 'peer',
  id: id as NodeId,
  hostname: id,
  index: 1,
  address: '10.0.0.1',
});
const task = (id: string): AssignmentItem => ({ kind: 'task', id: id as TaskId }) as TaskItem;

describe('assignment set', () => {
  it('takes a complete set and changes to it', () => {
    const set = new AssignmentSet();
    set.apply({ generation: 5, complete: true, put: [settings, peer('a'), task('t1')], remove: [] });
    const changed = set.apply({
      generation: 6,
      complete: false,
      put: [task('t2')],
      remove: [{ kind: 'peer', id: 'a' }],
    });
    expect([...changed].sort()).to.deep.equal(['peer', 'task']);
    expect([...set.tables.task.keys()]).to.deep.equal(['t1', 't2']);
    expect(set.tables.peer.size).to.equal(0);
    set.apply({ generation: 9, complete: true, put: [peer('b')], remove: [] });
    expect(set.tables.task.size).to.equal(0);
    expect([...set.tables.peer.keys()]).to.deep.equal(['b']);
  });

  it('refuses a generation that is not newer', () => {
    const set = new AssignmentSet();
    set.apply({ generation: 5, complete: true, put: [peer('a')], remove: [] });
    for (const generation of [4, 5]) {
      expect(() => set.apply({ generation, complete: true, put: [], remove: [] })).to.throw(
        'after generation 5',
      );
    }
    expect(set.tables.peer.size).to.equal(1);
  });
});

describe('network sync', () => {
  const deliver = (set: AssignmentSet, sync: NetworkSync, generation: number, put: AssignmentItem[]): void =>
    sync.update(set, set.apply({ generation, complete: generation === 1, put, remove: [] }));

  it('acknowledges a generation only when everything up to it is in the kernel', async () => {
    const waiting: { program: NetworkProgram; done: () => void }[] = [];
    const applied: number[] = [];
    const sync = new NetworkSync({
      network: { apply: (program) => new Promise((done) => waiting.push({ program, done })) },
      self: 'a' as NodeId,
      applied: (generation) => applied.push(generation),
      log: () => undefined,
    });
    const set = new AssignmentSet();
    deliver(set, sync, 1, [settings, peer('a')]);
    // Nothing of the network changes: no new program, but the one under way has to be done first.
    deliver(set, sync, 2, [task('t1')]);
    expect(waiting.map(({ program }) => program.generation)).to.deep.equal([1]);
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(applied).to.deep.equal([]);
    waiting[0]?.done();
    await sync.settled();
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(applied).to.deep.equal([1, 2]);
    sync.close();
  });

  it('does not acknowledge what the kernel refused, and puts it into the next program', async () => {
    let refuse = true;
    const applied: number[] = [];
    const programs: number[] = [];
    const sync = new NetworkSync({
      network: {
        apply: async (program) => {
          programs.push(program.generation);
          if (refuse) throw new Error('no');
        },
      },
      self: 'a' as NodeId,
      applied: (generation) => applied.push(generation),
      log: () => undefined,
    });
    const set = new AssignmentSet();
    deliver(set, sync, 1, [settings, peer('a')]);
    await sync.settled();
    expect(applied).to.deep.equal([]);
    refuse = false;
    deliver(set, sync, 2, [task('t1')]);
    await sync.settled();
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(programs).to.deep.equal([1, 2]);
    expect(applied).to.deep.equal([2]);
    sync.close();
  });
});
