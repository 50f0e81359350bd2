import type { NodeId, NodeState } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { LeaderCall } from './leader-call.js';

const node = (id: string, index: number, state: NodeState, enginePort?: number) => ({
  id: id as NodeId,
  index,
  spec: { Role: 'worker' as const, Availability: 'active' as const },
  status: { state, message: '', address: '10.0.0.1', ...(enginePort === undefined ? {} : { enginePort }) },
});

describe('a new leader', () => {
  it('calls the nodes that live and have not come, until they have', async () => {
    const view = viewOf({
      nodes: [
        node('come', 1, 'ready', 1),
        node('hung', 2, 'ready', 1),
        node('unknown', 3, 'unknown', 1),
        node('dead', 4, 'down', 1),
        node('fresh', 5, 'unknown'),
      ] as never,
    });
    const connected = ['come' as NodeId];
    const called: NodeId[] = [];
    let told: () => void;
    const both = new Promise<void>((resolve) => (told = resolve));
    const call = new LeaderCall({
      store: { view: () => view },
      connected: () => connected,
      call: async (nodeId) => {
        called.push(nodeId);
        connected.push(nodeId);
        if (called.length === 2) told();
        // One that does not answer keeps nobody else waiting.
        if (nodeId === 'hung') throw new Error('no answer');
      },
      log: () => undefined,
    });
    call.start();
    await both;
    call.stop();
    expect(called.sort()).to.deep.equal(['hung', 'unknown']);
  });
});
