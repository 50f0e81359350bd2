import type { NodeId, TaskId, TaskState } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { exampleObjects, plainTask } from './example-cluster.js';
import { acceptReports, StatusWriter } from './status-writer.js';
import { MemoryStore } from './memory-store.js';
import { decodeReport } from './wire.js';

const report = (taskId: string, nodeId: string, state: TaskState) => ({
  taskId: taskId as TaskId,
  nodeId: nodeId as NodeId,
  status: { state, atMs: 5, message: state },
});

describe('task statuses', () => {
  const view = viewOf(exampleObjects([plainTask('t1', 'a', 'preparing', 'running')]));
  const table: [what: string, ReturnType<typeof report>, 'written' | 'ignored' | 'unknown'][] = [
    ['a step forward', report('t1', 'a', 'ready'), 'written'],
    ['several steps forward', report('t1', 'a', 'failed'), 'written'],
    ['the same state again', report('t1', 'a', 'preparing'), 'ignored'],
    ['a step back', report('t1', 'a', 'accepted'), 'ignored'],
    ['a task the cluster does not know', report('t9', 'a', 'ready'), 'unknown'],
    ["another node's task", report('t1', 'b', 'ready'), 'unknown'],
  ];
  for (const [what, reported, expected] of table) {
    it(`${what} is ${expected}`, () => {
      const { changes, unknown } = acceptReports(view, [reported]);
      expect({ changes: changes.length, unknown: unknown.length }).to.deep.equal({
        changes: expected === 'written' ? 1 : 0,
        unknown: expected === 'unknown' ? 1 : 0,
      });
    });
  }

  it('takes only states that agents own', () => {
    for (const state of ['assigned', 'orphaned', 'nonsense']) {
      const bytes = Buffer.from(JSON.stringify({ taskId: 't1', status: { state, atMs: 1, message: '' } }));
      expect(() => decodeReport(bytes), state).to.throw('task status');
    }
    expect(() => decodeReport(Buffer.from('{'))).to.throw('not JSON');
  });

  it('writes what comes together as one proposal, the newest of each task', async () => {
    const store = new MemoryStore(() => 1);
    const objects = exampleObjects([
      plainTask('t1', 'a', 'assigned', 'running'),
      plainTask('t2', 'a', 'assigned', 'running'),
    ]);
    const meta = { version: 0, createdAtMs: 0, updatedAtMs: 0 };
    await store.propose(
      (objects.tasks ?? []).map((task) => ({ op: 'put', table: 'tasks', object: { ...meta, ...task } })),
    );
    const before = store.proposals;
    const writer = new StatusWriter({ store, log: () => undefined, onUnknown: () => undefined });
    for (const state of ['accepted', 'preparing', 'ready'] as const) {
      writer.add(report('t1', 'a', state));
      writer.add(report('t2', 'a', state));
    }
    writer.add(report('t2', 'a', 'accepted'));
    await new Promise<void>((resolve) => {
      const stop = store.watch(() => {
        stop();
        resolve();
      });
    });
    expect(store.proposals - before).to.equal(1);
    expect([...store.view().tasks.all()].map((task) => task.status.state)).to.deep.equal(['ready', 'ready']);
  });
});
