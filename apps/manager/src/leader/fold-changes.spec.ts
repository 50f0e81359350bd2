import type { Change, NetworkId, RevisionId, ServiceId, Task, TaskId } from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { foldChanges } from './fold-changes.js';

const task = (id: string): Omit<Task, 'version' | 'createdAtMs' | 'updatedAtMs'> => ({
  id: id as TaskId,
  serviceId: 's' as ServiceId,
  revisionId: 'r' as RevisionId,
  slot: 1,
  networks: [],
  desiredState: 'running',
  cause: 'create',
  status: { state: 'new', atMs: 0, message: '' },
});

const base = viewOf({
  networks: [{ id: 'net' as NetworkId, version: 7, spec: { Name: 'net' }, blocks: {} }],
});

describe('folding the plans of the leader loops', () => {
  it('makes patches of a new object part of it', () => {
    const status = { state: 'assigned', atMs: 1, message: 'placed' } as const;
    const changes: Change[] = [
      { op: 'put', table: 'tasks', object: { ...task('a'), startGate: { notBeforeMs: 5 } } },
      { op: 'patch', table: 'tasks', id: 'a' as TaskId, fields: { status, startGate: undefined } },
    ];
    expect(foldChanges(base, changes)).to.deep.equal([
      { op: 'put', table: 'tasks', object: { ...task('a'), status } },
    ]);
  });

  it('makes one patch of several, guarded by what the store really holds', () => {
    const id = 'net' as NetworkId;
    const changes: Change[] = [
      { op: 'patch', table: 'networks', id, fields: { subnet: '10.0.0.0/16' }, ifVersion: 7 },
      { op: 'patch', table: 'networks', id, fields: { vni: 4096 }, ifVersion: 8 },
    ];
    expect(foldChanges(base, changes)).to.deep.equal([
      { op: 'patch', table: 'networks', id, fields: { subnet: '10.0.0.0/16', vni: 4096 }, ifVersion: 7 },
    ]);
  });

  it('never makes what is deleted again, and puts guards first and deletions of templates last', () => {
    const network: Change = { op: 'patch', table: 'networks', id: 'net' as NetworkId, fields: { vni: 1 } };
    const revision: Change = { op: 'delete', table: 'revisions', id: 'r' as RevisionId };
    const kept: Change = { op: 'put', table: 'tasks', object: task('b') };
    const changes: Change[] = [
      revision,
      { op: 'put', table: 'tasks', object: task('a') },
      kept,
      { op: 'delete', table: 'tasks', id: 'a' as TaskId },
      network,
    ];
    expect(foldChanges(base, changes)).to.deep.equal([network, kept, revision]);
  });

  it('refuses to write what it has deleted', () => {
    const id = 'a' as TaskId;
    expect(() =>
      foldChanges(base, [
        { op: 'delete', table: 'tasks', id },
        { op: 'patch', table: 'tasks', id, fields: { slot: 2 } },
      ]),
    ).to.throw('a plan changes tasks after it deleted');
  });
});
