import type { NodeId } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { itemsForNode, keyOf } from './assignment-items.js';
import { exampleObjects, ingress, plainTask, web } from './example-cluster.js';

describe('assignment items', () => {
  it('tells a node its own tasks and everybody the same about the rest', () => {
    const view = viewOf(
      exampleObjects([
        plainTask('t3', 'a', 'running', 'running'),
        plainTask('t1', 'a', 'running', 'running'),
        plainTask('t2', 'a', 'running', 'shutdown'),
        plainTask('t4', 'b', 'running', 'running'),
        plainTask('t5', 'a', 'starting', 'running'),
        plainTask('t6', 'a', 'pending', 'running'),
        plainTask('t7', undefined, 'pending', 'running'),
      ]),
    );
    const items = itemsForNode(view, 'a' as NodeId, (task) => task.desiredState);
    expect(items.map(keyOf)).to.deep.equal([
      'settings:settings',
      'network:net1',
      'peer:a',
      'peer:b',
      'balance:svc1',
      'task:t1',
      'revision:rev1',
      'task:t2',
      'task:t3',
      'task:t5',
    ]);
    expect(items.find((item) => item.kind === 'balance')).to.deep.equal({
      kind: 'balance',
      id: web,
      name: 'web',
      endpoint: { mode: 'vip', virtualIps: [{ networkId: ingress, address: '10.1.0.2' }], ports: [] },
      aliases: { [ingress]: ['app', 'www'] },
      // Not t2, which is to stop; not t4, whose node is down; not t5, which has not started.
      endpoints: ['t1', 't3'].map((taskId) => ({
        taskId,
        nodeId: 'a',
        slot: 1,
        networks: [{ networkId: ingress, address: '10.1.1.1' }],
      })),
    });
    const shared = ['settings', 'network', 'peer', 'balance'];
    const other = itemsForNode(view, 'b' as NodeId, (task) => task.desiredState);
    expect(other.filter(({ kind }) => shared.includes(kind))).to.deep.equal(
      items.filter(({ kind }) => shared.includes(kind)),
    );
    expect(other.filter(({ kind }) => kind === 'task').map(keyOf)).to.deep.equal(['task:t4']);
  });

  it('withholds a stop that the gate has not opened for', () => {
    const view = viewOf(exampleObjects([plainTask('t1', 'a', 'running', 'shutdown')]));
    const items = itemsForNode(view, 'a' as NodeId, () => 'running');
    expect(items.find((item) => item.kind === 'task')).to.have.property('desiredState', 'running');
  });
});
