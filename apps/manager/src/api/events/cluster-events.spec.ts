import type { AppliedChange, Service } from '#libs/model';
import { expect } from 'chai';
import { eventsOf } from './cluster-events.js';

const service = (image: string, Replicas: number): Readonly<Service> =>
  ({
    id: 's1',
    spec: {
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: image } },
      Mode: { Replicated: { Replicas } },
    },
  }) as never;

function told(change: object): unknown {
  return eventsOf({ index: 7, atMs: 1_700_000_000_123, changes: [change as AppliedChange] }).map(
    ({ Type, Action, Actor, scope, time }) => [Type, Action, Actor.ID, Actor.Attributes, scope, time],
  );
}

describe('events of cluster objects', () => {
  it('tells of a service from its creation to its removal', () => {
    const before = service('demo:1', 2);
    expect(told({ table: 'services', id: 's1', after: before })).to.deep.equal([
      ['service', 'create', 's1', { name: 'web' }, 'swarm', 1_700_000_000],
    ]);
    expect(told({ table: 'services', id: 's1', before, after: service('demo:2', 3) })).to.deep.equal([
      [
        'service',
        'update',
        's1',
        {
          name: 'web',
          'image.old': 'demo:1',
          'image.new': 'demo:2',
          'replicas.old': '2',
          'replicas.new': '3',
        },
        'swarm',
        1_700_000_000,
      ],
    ]);
    expect(told({ table: 'services', id: 's1', before })).to.deep.equal([
      ['service', 'remove', 's1', { name: 'web' }, 'swarm', 1_700_000_000],
    ]);
  });

  it('tells the states of a rollout', () => {
    const before = service('demo:1', 2);
    const after = { ...before, updateStatus: { state: 'updating', startedAtMs: 0, message: '' } };
    expect(told({ table: 'services', id: 's1', before, after })).to.have.nested.property(
      '[0][3].updatestate\\.new',
      'updating',
    );
  });

  it('tells of a node that comes and goes', () => {
    const node = (state: string): object => ({
      spec: { Role: 'worker', Availability: 'active' },
      description: { hostname: 'node-2' },
      status: { state },
    });
    expect(told({ table: 'nodes', id: 'n2', before: node('ready'), after: node('down') })).to.deep.equal([
      [
        'node',
        'update',
        'n2',
        { name: 'node-2', 'state.old': 'ready', 'state.new': 'down' },
        'swarm',
        1_700_000_000,
      ],
    ]);
  });

  it('is silent about what the leader notes for itself', () => {
    const before = service('demo:1', 2);
    const after = { ...before, endpoint: { mode: 'vip', virtualIps: [], ports: [] } };
    expect(told({ table: 'services', id: 's1', before, after })).to.deep.equal([]);
  });

  it('is silent about tasks', () => {
    expect(told({ table: 'tasks', id: 't1' })).to.deep.equal([]);
  });
});
