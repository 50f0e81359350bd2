import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Change, EnxameError, type ServiceId, type StoreEvent } from '#libs/model';
import { createRaftNode, type RaftNode, systemClock } from '#libs/raft';
import { createClusterStore, type ReplicatedStore } from './cluster-store.js';
import { encodeChanges, encodeEntry } from './entry.js';
import { StoreMachine } from './machine.js';
import { decodeSnapshot } from './snapshot.js';

function service(id: string, name: string): Change {
  return {
    op: 'put',
    table: 'services',
    object: {
      id: id as ServiceId,
      revisionId: 'r' as never,
      spec: { Name: name, Labels: { b: '2', a: '1' }, TaskTemplate: {} },
    },
  };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EnxameError) return error.code;
    throw error;
  }
  return 'ok';
}

describe('store: over a real log', () => {
  let dir: string;
  let node: RaftNode;
  let machine: StoreMachine;
  let store: ReplicatedStore;

  async function open(): Promise<void> {
    machine = new StoreMachine();
    node = createRaftNode({
      id: 'm1',
      origin: { kind: 'bootstrap', members: ['m1'] },
      dir,
      stateMachine: machine,
      clock: systemClock,
      random: Math.random,
      limits: { snapshotEntries: 40, keptEntries: 5, segmentBytesMax: 4096 },
    });
    await node.start();
    store = createClusterStore({ raft: node, machine, clock: { nowMs: () => 1234 } });
  }

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-store-'));
    await open();
  });
  afterEach(async () => {
    await node.stop();
    rmSync(dir, { recursive: true });
  });

  it('gives every transaction of a shared entry an outcome of its own', async () => {
    const outcomes = await Promise.all([
      codeOf(store.propose([service('a', 'web')])),
      codeOf(store.propose([service('b', 'web')])),
      codeOf(store.propose([service('c', 'api')])),
      codeOf(store.propose([{ op: 'delete', table: 'services', id: 'nobody' as ServiceId }])),
    ]);
    expect(outcomes).to.deep.equal(['ok', 'conflict', 'ok', 'not-found']);
    expect([...store.view().services.all()].map((each) => each.id)).to.deep.equal(['a', 'c']);
    expect(store.view().services.get('a')?.version).to.equal(store.view().services.get('c')?.version);
  });

  it('tells watchers every change before the proposer learns of it', async () => {
    const events: StoreEvent[] = [];
    const stop = store.watch((event) => events.push(event));
    const { index } = await store.propose([service('a', 'web')]);
    expect(events.map((event) => [event.index, event.atMs, event.changes.length])).to.deep.equal([
      [index, 1234, 1],
    ]);
    stop();
    await store.propose([{ op: 'delete', table: 'services', id: 'a' as ServiceId }]);
    expect(events).to.have.length(1);
  });

  it('is whole again after a restart, from snapshot and log', async () => {
    for (let i = 0; i < 100; i++) await store.propose([service(`s${i}`, `name-${i}`)]);
    const last = await store.propose([{ op: 'delete', table: 'services', id: 's7' as ServiceId }]);
    const before = Buffer.concat([...machine.snapshot()]);
    expect(node.status().snapshotIndex).to.be.greaterThan(0);
    await node.stop();
    await open();
    const view = await store.currentView();
    expect(view.services.size).to.equal(99);
    // All but the header's index, which has moved on by the new term's first entry.
    const after = Buffer.concat([...machine.snapshot()]);
    expect(after.subarray(after.indexOf('\n')).equals(before.subarray(before.indexOf('\n')))).to.equal(true);
    expect(view.index).to.be.greaterThan(last.index);
  });

  it('refuses a transaction over the limit before it costs anything', async () => {
    const small = createClusterStore({
      raft: node,
      machine,
      clock: { nowMs: () => 1 },
      limits: { transactionBytesMax: 100 },
    });
    expect(await codeOf(small.propose([service('a', 'x'.repeat(100))]))).to.equal('invalid-argument');
    expect(store.view().services.size).to.equal(0);
  });
});

describe('store: determinism', () => {
  it('comes to the same bytes from the same entries, with or without a snapshot between', () => {
    const entries = Array.from({ length: 300 }, (_, i) => {
      const id = randomBytes(1).toString('hex');
      const changes: Change[] =
        i % 3 === 0
          ? [{ op: 'delete', table: 'services', id: id as ServiceId }]
          : [service(id, `name-${id}`), service(`${id}-2`, `other-${id}`)];
      return encodeEntry([encodeChanges(changes), encodeChanges([service(`x${i}`, `x-${i % 50}`)])], i);
    });
    const bytesOf = (machine: StoreMachine) => Buffer.concat([...machine.snapshot()]).toString('utf8');
    const straight = new StoreMachine();
    let interrupted = new StoreMachine();
    for (const [position, data] of entries.entries()) {
      const entry = { index: position + 1, term: 1, data };
      expect(interrupted.apply(entry)).to.deep.equal(straight.apply(entry));
      if (position % 37 === 0) {
        const copy = new StoreMachine();
        copy.restore([...interrupted.snapshot()]);
        interrupted = copy;
      }
    }
    expect(bytesOf(interrupted)).to.equal(bytesOf(straight));
  });

  it('takes what a leader decided only in its own term', () => {
    const machine = new StoreMachine();
    const changes = [encodeChanges([service('a', 'old')]), encodeChanges([service('b', 'anyone')])];
    const data = encodeEntry(changes, 5, [7, undefined]);
    expect(machine.apply({ index: 1, term: 8, data })).to.deep.equal([
      { ok: false, code: 'not-manager', message: 'decided by the leader of term 7, which leads no more' },
      { ok: true },
    ]);
    expect([...machine.view().services.all()].map(({ id }) => id)).to.deep.equal(['b']);
    const again = encodeEntry([encodeChanges([service('a', 'new')])], 5, [8]);
    expect(machine.apply({ index: 2, term: 8, data: again })).to.deep.equal([{ ok: true }]);
  });

  it('writes keys in order, whatever order they came in', () => {
    const snapshotOf = (labels: Record<string, string>) => {
      const machine = new StoreMachine();
      const put = service('a', 'web');
      if (put.op === 'put' && put.table === 'services') put.object.spec.Labels = labels;
      machine.apply({ index: 1, term: 1, data: encodeEntry([encodeChanges([put])], 5) });
      return Buffer.concat([...machine.snapshot()]).toString('utf8');
    };
    expect(snapshotOf({ b: '1', a: '2', ['__proto__']: '3' })).to.equal(
      snapshotOf({ ['__proto__']: '3', a: '2', b: '1' }),
    );
  });

  it('refuses a snapshot that it did not write', () => {
    expect(() => decodeSnapshot([])).to.throw(EnxameError, 'empty');
    expect(() => decodeSnapshot([Buffer.from('{"format":99,"index":1}\n')])).to.throw(EnxameError, 'format');
  });
});
