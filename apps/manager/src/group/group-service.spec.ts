import { EnxameError, type ClusterId, type NodeId } from '#libs/model';
import type { CertifiedIdentity } from '#libs/pki';
import { expect } from 'chai';
import { MemoryStore } from '../sessions/memory-store.js';
import { takeIn, type GroupServiceOptions } from './group-service.js';

describe('a manager asks to be taken in', () => {
  const store = new MemoryStore(() => 0);
  const id = (name: string): NodeId => name as NodeId;
  const options: GroupServiceOptions = {
    store,
    membership: {
      admit: ({ nodeId }) => {
        const node = store.view().nodes.get(nodeId);
        if (!node) throw new EnxameError('forbidden', `node ${nodeId} is not part of this cluster`);
        return node;
      },
    },
    current: () => Promise.resolve(),
  };
  const caller = (nodeId: string, role: 'manager' | 'worker' = 'manager'): CertifiedIdentity => ({
    nodeId: id(nodeId),
    clusterId: 'c' as ClusterId,
    role,
  });
  const ask = (nodeId: string, raftId: string, address: string, role?: 'worker'): Promise<unknown> =>
    takeIn(options, caller(nodeId, role), { raftId, address }).catch((error: EnxameError) => error.code);
  const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(16)) as [string, string, string];

  before(async () => {
    for (const [index, [name, Role]] of (
      [
        ['a', 'manager'],
        ['b', 'manager'],
        ['w', 'worker'],
      ] as const
    ).entries()) {
      await store.propose([
        {
          op: 'put',
          table: 'nodes',
          object: {
            id: id(name),
            index: index + 1,
            spec: { Role, Availability: 'active' },
            description: {
              hostname: name,
              platform: { os: '', architecture: '' },
              resources: { nanoCpus: 0, memoryBytes: 0 },
              engine: { version: '', labels: {} },
            },
            status: { state: 'ready', message: '', address: '10.0.0.1' },
            ...(name === 'a' ? { manager: { raftId: one, address: 'a:1' } } : {}),
          },
        },
      ]);
    }
  });

  it('writes down who it is and tells it of the others; a second time changes nothing', async () => {
    const peers = [
      { raftId: one, address: 'a:1', nodeId: 'a' },
      { raftId: two, address: 'b:1', nodeId: 'b' },
    ];
    expect(await ask('b', two, 'b:1')).to.deep.equal({ peers });
    const { proposals } = store;
    expect(await ask('b', two, 'b:1')).to.deep.equal({ peers });
    expect(store.proposals).to.equal(proposals);
  });

  it('notes a new address, and a new id of one that lost its folder', async () => {
    await ask('b', two, 'b:2');
    expect(store.view().nodes.get('b')?.manager).to.deep.equal({ raftId: two, address: 'b:2' });
    await ask('b', three, 'b:2');
    expect(store.view().nodes.get('b')?.manager?.raftId).to.equal(three);
  });

  const refusals: [what: string, nodeId: string, raftId: string, address: string, code: string][] = [
    ['one that is to be a worker', 'w', two, 'w:1', 'failed-precondition'],
    ['the address of another manager', 'b', three, 'a:1', 'conflict'],
    ['the Raft id of another manager', 'b', one, 'b:1', 'conflict'],
    ['a node of no cluster', 'x', two, 'x:1', 'forbidden'],
    ['an id that is none', 'b', 'b', 'b:1', 'invalid-argument'],
    ['an address that is none', 'b', three, 'b', 'invalid-argument'],
  ];
  for (const [what, nodeId, raftId, address, code] of refusals) {
    it(`refuses ${what}`, async () => expect(await ask(nodeId, raftId, address)).to.equal(code));
  }

  it("refuses a worker's certificate, and none", async () => {
    expect(await ask('b', three, 'b:2', 'worker')).to.equal('forbidden');
    const refused = await takeIn(options, undefined, { raftId: two, address: 'b:1' }).catch(
      (error: EnxameError) => error.code,
    );
    expect(refused).to.equal('forbidden');
  });
});
