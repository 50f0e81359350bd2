import type { Node, NodeDescription, NodeId, NodeState } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { planNodeStates, type NodeObservation } from './node-states.js';

const description: NodeDescription = {
  hostname: 'n1',
  platform: { os: 'linux', architecture: 'x86_64' },
  resources: { nanoCpus: 2e9, memoryBytes: 1 },
  engine: { version: '1', labels: {} },
};
const id = 'node1' as NodeId;
const times = { nowMs: 10_000, startedAtMs: 9_000, heartbeatPeriodMs: 1000 };

function stored(state: NodeState, more: Partial<Node> = {}): Node {
  return {
    id,
    spec: { Role: 'worker', Availability: 'active' },
    index: 1,
    description,
    status: { state, message: '', address: '10.0.0.1' },
    version: 1,
    createdAtMs: 0,
    updatedAtMs: 0,
    ...more,
  };
}

function seen(connected: boolean, lastHeardMs: number, hungUp = false): NodeObservation {
  return { connected, hungUp, lastHeardMs, registration: { description, address: '10.0.0.1' } };
}

describe('node states', () => {
  const table: [what: string, Node, NodeObservation | undefined, Partial<typeof times>, string][] = [
    ['ready and connected', stored('ready'), seen(true, 9_900), {}, 'nothing'],
    ['down and connected', stored('down'), seen(true, 9_900), {}, 'ready: '],
    [
      'session ended just now',
      stored('ready'),
      seen(false, 9_900),
      {},
      'disconnected: the session of the node ended',
    ],
    ['silent for three periods', stored('ready'), seen(false, 7_000), {}, 'down: heartbeat failure'],
    [
      'silent for nearly three periods',
      stored('ready'),
      seen(false, 7_001),
      {},
      'disconnected: the session of the node ended',
    ],
    [
      'hung up and silent for three periods: its agent is starting again',
      stored('ready'),
      seen(false, 7_000, true),
      {},
      'disconnected: the session of the node ended',
    ],
    ['hung up for good', stored('disconnected'), seen(false, 0, true), {}, 'down: heartbeat failure'],
    [
      'left for good',
      stored('ready'),
      { ...seen(false, 9_999, true), left: true },
      {},
      'down: the node has left the cluster',
    ],
    ['down stays down while silent', stored('down'), seen(false, 7_000), {}, 'nothing'],
    [
      'not seen by a new leader',
      stored('ready'),
      undefined,
      {},
      'unknown: the node has not come to the new leader yet',
    ],
    ['unknown already', stored('unknown'), undefined, {}, 'nothing'],
    [
      'not seen for six short periods, which is less than an agent may take to start',
      stored('unknown'),
      undefined,
      { startedAtMs: 4_000 },
      'nothing',
    ],
    [
      'not seen for six periods',
      stored('unknown'),
      undefined,
      { startedAtMs: 10_000, nowMs: 40_000, heartbeatPeriodMs: 5_000 },
      'down: heartbeat failure',
    ],
    [
      'joined lately, under an old leader',
      stored('unknown', { createdAtMs: 9_500 }),
      undefined,
      { startedAtMs: 0 },
      'nothing',
    ],
  ];
  for (const [what, node, observation, more, expected] of table) {
    it(`${what} -> ${expected}`, () => {
      const observations = new Map(observation ? [[id, observation]] : []);
      const changes = planNodeStates(viewOf({ nodes: [node] }), observations, { ...times, ...more });
      const texts = changes.map((change) => {
        if (change.op !== 'patch' || change.table !== 'nodes') return 'unexpected';
        const { status } = change.fields;
        return `${status?.state}: ${status?.message}`;
      });
      expect(texts).to.deep.equal(expected === 'nothing' ? [] : [expected]);
    });
  }

  it('writes what a node says of itself when it changes', () => {
    const newer = { ...description, resources: { nanoCpus: 4e9, memoryBytes: 2 } };
    const observation: NodeObservation = {
      connected: true,
      hungUp: false,
      lastHeardMs: 10_000,
      registration: { description: newer, address: '10.0.0.9' },
    };
    expect(
      planNodeStates(viewOf({ nodes: [stored('ready')] }), new Map([[id, observation]]), times),
    ).to.deep.equal([
      {
        op: 'patch',
        table: 'nodes',
        id,
        fields: { status: { state: 'ready', message: '', address: '10.0.0.9' }, description: newer },
      },
    ]);
  });
});
