import type { NodeId, NodeState, Task, TaskId } from '#libs/model';
import { expect } from 'chai';
import { mustLeaveFirst, RemovalGate, type GateNode } from './removal-gate.js';

const task = 'task1' as TaskId;
const node = (id: string, state: NodeState, acknowledged: number): GateNode => ({
  id: id as NodeId,
  state,
  acknowledged,
});

describe('removal gate', () => {
  const gate = (): RemovalGate => {
    const made = new RemovalGate({ waitMsMax: () => 3000 });
    made.exclude(task, { generation: 7, nowMs: 1000 });
    return made;
  };

  const table: [what: string, nodes: GateNode[], nowMs: number, waitingFor: string[]][] = [
    ['all nodes have acknowledged the generation', [node('a', 'ready', 7), node('b', 'ready', 9)], 1001, []],
    ['no node is there', [], 1001, []],
    ['one node is behind', [node('a', 'ready', 7), node('b', 'ready', 6)], 1001, ['b']],
    [
      'a node has no session but is not down: its kernel still balances',
      [node('a', 'disconnected', 0)],
      1001,
      ['a'],
    ],
    ['a node has not come to the new leader', [node('a', 'unknown', 0)], 1001, ['a']],
    ['a node is down', [node('a', 'ready', 7), node('b', 'down', 0)], 1001, []],
    ['a node came back with a newer set', [node('a', 'ready', 8)], 1001, []],
    ['a node stays silent up to the limit', [node('a', 'ready', 6)], 3999, ['a']],
    ['a node stays silent beyond the limit', [node('a', 'ready', 6)], 4000, []],
  ];
  for (const [what, nodes, nowMs, waitingFor] of table) {
    it(`${waitingFor.length ? 'waits' : 'opens'} when ${what}`, () => {
      const verdict = gate().check(task, nodes, nowMs);
      expect(verdict).to.deep.equal(
        waitingFor.length ? { open: false, waitingFor, untilMs: 4000 } : { open: true },
      );
    });
  }

  it('stays open once opened, whatever nodes come later, until the task is forgotten', () => {
    const opened = gate();
    expect(opened.isOpen(task)).to.equal(false);
    opened.check(task, [node('a', 'ready', 7)], 1001);
    expect(opened.isOpen(task)).to.equal(true);
    expect(opened.check(task, [node('a', 'ready', 7), node('late', 'ready', 0)], 1002)).to.deep.equal({
      open: true,
    });
    opened.exclude(task, { generation: 20, nowMs: 2000 });
    expect(opened.waiting()).to.deep.equal([]);
    opened.forget(task);
    expect(opened.knows(task)).to.equal(false);
  });

  it('keeps the first generation that left a task out', () => {
    const made = gate();
    made.exclude(task, { generation: 12, nowMs: 1500 });
    expect(made.check(task, [node('a', 'ready', 7)], 1600)).to.deep.equal({ open: true });
  });

  it('does not open for a task whose exclusion was never sent', () => {
    const made = new RemovalGate({ waitMsMax: () => 3000 });
    expect(made.check(task, [], 1_000_000).open).to.equal(false);
  });

  const states: [Task['status']['state'], Task['desiredState'], boolean][] = [
    ['running', 'running', false],
    ['running', 'shutdown', true],
    ['running', 'remove', true],
    ['starting', 'shutdown', false],
    ['failed', 'shutdown', false],
    ['ready', 'ready', false],
  ];
  for (const [state, desiredState, expected] of states) {
    it(`${expected ? 'is needed' : 'is not needed'} for a ${state} task that is to be ${desiredState}`, () => {
      expect(mustLeaveFirst({ status: { state }, desiredState } as Task)).to.equal(expected);
    });
  }
});
