import type { Node, NodeId } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { itemsForNode, keyOf, peerItem } from './assignment-items.js';
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

  it('tells of a secret only the nodes whose tasks need it', () => {
    const objects = exampleObjects([plainTask('t1', 'a', 'running', 'running')]);
    const [revision] = objects.revisions ?? [];
    const taskTemplate = {
      ContainerSpec: {
        Image: 'x',
        Secrets: [
          { SecretID: 'sec1', SecretName: 'pass' },
          { SecretID: 'gone', SecretName: 'gone' },
        ],
        Configs: [{ ConfigID: 'con1', ConfigName: 'file' }],
      },
    };
    const view = viewOf({
      ...objects,
      revisions: [{ ...revision!, taskTemplate }],
      secrets: [
        { id: 'sec1' as never, spec: { Name: 'pass', Data: 'eA==' } },
        { id: 'sec2' as never, spec: { Name: 'other', Data: 'eQ==' } },
      ],
      configs: [
        { id: 'con1' as never, spec: { Name: 'file', Data: 'eg==', Templating: { Name: 'golang' } } },
      ],
    });
    const told = (node: string): unknown[] =>
      itemsForNode(view, node as NodeId, (task) => task.desiredState).filter(
        ({ kind }) => kind === 'secret' || kind === 'config',
      );
    expect(told('a')).to.deep.equal([
      { kind: 'secret', id: 'sec1', name: 'pass', data: 'eA==', isTemplate: false },
      { kind: 'config', id: 'con1', name: 'file', data: 'eg==', isTemplate: true },
    ]);
    expect(told('b')).to.deep.equal([]);
  });

  it('withholds a stop that the gate has not opened for', () => {
    const view = viewOf(exampleObjects([plainTask('t1', 'a', 'running', 'shutdown')]));
    const items = itemsForNode(view, 'a' as NodeId, () => 'running');
    expect(items.find((item) => item.kind === 'task')).to.have.property('desiredState', 'running');
  });

  it('tells the others where overlay traffic to a node goes, and where else it is reached', () => {
    const node = { ...exampleObjects([]).nodes![0]!, version: 1, createdAtMs: 0, updatedAtMs: 0 } as Node;
    const { id, index, description } = node;
    const common = { kind: 'peer', id, index, hostname: description.hostname };
    const at = (status: Partial<Node['status']>) =>
      peerItem({ ...node, status: { ...node.status, ...status } });
    expect(at({ address: '10.0.0.1' })).to.deep.equal({ ...common, address: '10.0.0.1' });
    expect(at({ address: '10.0.0.1', dataPathAddress: '10.9.0.1' })).to.deep.equal({
      ...common,
      address: '10.9.0.1',
      advertisedAddress: '10.0.0.1',
    });
  });
});
