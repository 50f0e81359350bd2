import { expect } from 'chai';
import type { Change, NetworkId, NodeId, RevisionId, Service, ServiceId, Task, TaskId } from '#libs/model';
import { EnxameError } from '#libs/model';
import { viewOf, withChanges } from './view.js';

const serviceId = 'service1' as ServiceId;
const revisionId = 'revision1' as RevisionId;

function service(id: string, name: string): Change {
  return {
    op: 'put',
    table: 'services',
    object: { id: id as ServiceId, revisionId, spec: { Name: name, TaskTemplate: {} } },
  };
}

function task(id: string, fields: Partial<Task> = {}): Change {
  return {
    op: 'put',
    table: 'tasks',
    object: {
      id: id as TaskId,
      serviceId,
      revisionId,
      slot: 1,
      networks: [],
      desiredState: 'running',
      cause: 'create',
      status: { state: 'new', atMs: 1, message: 'created' },
      ...fields,
    },
  };
}

const serviceIdOf = (id: string): ServiceId => id as ServiceId;

function refused(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof EnxameError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('was not refused');
}

describe('store: applying a transaction', () => {
  const at = { index: 7, atMs: 1000 };

  it('stamps a new object with the entry that made it', () => {
    const view = withChanges(viewOf({}), [service('s1', 'web')], at);
    expect(view.index).to.equal(7);
    expect(view.serviceByName('web')).to.deep.equal({
      id: 's1',
      revisionId,
      spec: { Name: 'web', TaskTemplate: {} },
      version: 7,
      createdAtMs: 1000,
      updatedAtMs: 1000,
    });
  });

  it('leaves an older view as it was', () => {
    const first = withChanges(viewOf({}), [task('a'), task('b')], at);
    const second = withChanges(first, [{ op: 'delete', table: 'tasks', id: 'a' as TaskId }, task('c')], {
      index: 8,
      atMs: 2,
    });
    expect([...first.tasks.all()].map((each) => each.id)).to.deep.equal(['a', 'b']);
    expect([...second.tasks.all()].map((each) => each.id)).to.deep.equal(['b', 'c']);
    expect(first.tasksOfService(serviceId)).to.have.length(2);
  });

  it('refuses all changes when one is refused', () => {
    const before = withChanges(viewOf({}), [service('s1', 'web')], at);
    expect(refused(() => withChanges(before, [task('t'), service('s2', 'web')], at))).to.deep.equal({
      code: 'conflict',
      message: 'name conflicts with an existing object: service web already exists',
    });
    expect(before.tasks.size).to.equal(0);
  });

  it('holds names unique within one transaction and through a rename', () => {
    const code = (changes: Change[]) => refused(() => withChanges(viewOf({}), changes, at)).code;
    expect(code([service('s1', 'web'), service('s2', 'web')])).to.equal('conflict');
    const rename: Change = {
      op: 'patch',
      table: 'services',
      id: 's2' as ServiceId,
      fields: { spec: { Name: 'web', TaskTemplate: {} } },
    };
    expect(code([service('s1', 'web'), service('s2', 'api'), rename])).to.equal('conflict');
    const freed = withChanges(
      viewOf({}),
      [
        service('s1', 'web'),
        service('s2', 'api'),
        { op: 'delete', table: 'services', id: 's1' as ServiceId },
        rename,
      ],
      at,
    );
    expect(freed.serviceByName('web')?.id).to.equal('s2');
    expect(freed.serviceByName('api')).to.equal(undefined);
  });

  it('refuses a patch that was made from an older version', () => {
    const view = withChanges(viewOf({}), [service('s1', 'web')], at);
    const patch = (ifVersion: number): Change => ({
      op: 'patch',
      table: 'services',
      id: 's1' as ServiceId,
      fields: { previousRevisionId: revisionId },
      ifVersion,
    });
    expect(refused(() => withChanges(view, [patch(6)], at))).to.deep.equal({
      code: 'version-mismatch',
      message: 'update out of sequence',
    });
    const next = withChanges(view, [patch(7)], { index: 9, atMs: 5 });
    expect(next.services.get('s1')).to.include({ version: 9, createdAtMs: 1000, updatedAtMs: 5 });
  });

  it('refuses an id that exists, and one that does not', () => {
    const view = withChanges(viewOf({}), [task('t')], at);
    const gone = 'gone' as TaskId;
    expect(refused(() => withChanges(view, [task('t')], at)).message).to.equal('task t already exists');
    for (const change of [
      { op: 'patch', table: 'tasks', id: gone, fields: {} },
      { op: 'delete', table: 'tasks', id: gone },
    ] as Change[]) {
      expect(refused(() => withChanges(view, [change], at))).to.deep.equal({
        code: 'not-found',
        message: 'task gone not found',
      });
    }
  });

  it('removes a field that a patch sets to undefined', () => {
    const view = withChanges(viewOf({}), [task('t', { startGate: { notBeforeMs: 9 } })], at);
    const patched = withChanges(
      view,
      [{ op: 'patch', table: 'tasks', id: 't' as TaskId, fields: { startGate: undefined } }],
      at,
    );
    expect(patched.tasks.get('t')).to.not.have.property('startGate');
  });

  it('never moves a task backwards, and keeps the rest of such a patch', () => {
    const status = (state: Task['status']['state'], message = '') => ({ state, atMs: 2, message });
    let view = withChanges(
      viewOf({}),
      [task('t', { desiredState: 'shutdown', status: status('running') })],
      at,
    );
    const patch = (fields: (Change & { op: 'patch'; table: 'tasks' })['fields'], index: number) => {
      view = withChanges(view, [{ op: 'patch', table: 'tasks', id: 't' as TaskId, fields }], {
        index,
        atMs: 3,
      });
      return view.tasks.get('t');
    };
    expect(patch({ status: status('starting'), slot: 4 }, 8)).to.deep.include({
      slot: 4,
      status: status('running'),
      version: 8,
    });
    expect(patch({ desiredState: 'running' }, 9)).to.include({ desiredState: 'shutdown', version: 8 });
    expect(patch({ status: status('running', 'more is known') }, 10)?.status.message).to.equal(
      'more is known',
    );
    expect(patch({ status: undefined, desiredState: 'remove' }, 11)).to.deep.include({
      desiredState: 'remove',
      status: status('running', 'more is known'),
    });
  });

  it('finds tasks by service, revision and node, and follows a task that gets its node', () => {
    const nodeId = 'node1' as NodeId;
    const other = task('x', { serviceId: 'service10' as ServiceId });
    let view = withChanges(viewOf({}), [task('b'), task('a'), other], at);
    expect(view.tasksOfService(serviceId).map((each) => each.id)).to.deep.equal(['a', 'b']);
    expect(view.tasksOfNode(nodeId)).to.deep.equal([]);
    view = withChanges(view, [{ op: 'patch', table: 'tasks', id: 'b' as TaskId, fields: { nodeId } }], at);
    expect(view.tasksOfNode(nodeId).map((each) => each.id)).to.deep.equal(['b']);
    expect(view.tasksOfService(serviceId)[1]).to.equal(view.tasks.get('b'));
    expect(view.tasksOfRevision(revisionId)).to.have.length(3);
  });

  it('finds services of a network by its id and by its name', () => {
    const spec = (name: string, target: string) => ({
      Name: name,
      TaskTemplate: { Networks: [{ Target: target }] },
    });
    const meta = { version: 1, createdAtMs: 0, updatedAtMs: 0 };
    const services: Service[] = [
      { ...meta, id: 's2' as ServiceId, revisionId, spec: spec('by-name', 'front') },
      { ...meta, id: 's1' as ServiceId, revisionId, spec: spec('by-id', 'n1') },
      { ...meta, id: 's3' as ServiceId, revisionId, spec: spec('elsewhere', 'back') },
    ];
    const network = { id: 'n1' as NetworkId, spec: { Name: 'front' }, blocks: {} };
    const view = viewOf({ services, networks: [network] });
    expect(view.servicesOfNetwork('n1' as NetworkId).map((each) => each.id)).to.deep.equal(['s1', 's2']);
  });

  it('keeps secrets and configs that a service refers to, and their names unique', () => {
    const payloads = (['secrets', 'configs'] as const).map(
      (table): Change =>
        ({ op: 'put', table, object: { id: 'p1' as never, spec: { Name: 'pass', Data: 'eA==' } } }) as Change,
    );
    const uses = service('s1', 'web');
    if (uses.op === 'put' && uses.table === 'services') {
      uses.object.spec.TaskTemplate.ContainerSpec = {
        Image: 'x',
        Secrets: [{ SecretID: 'p1', SecretName: 'pass' }],
        Configs: [{ ConfigID: 'p1', ConfigName: 'pass' }],
      };
    }
    const view = withChanges(viewOf({}), [...payloads, uses], at);
    expect(view.secretByName('pass')?.id).to.equal('p1');
    expect(view.configByName('pass')?.id).to.equal('p1');
    const remove = (table: 'secrets' | 'configs'): Change => ({ op: 'delete', table, id: 'p1' }) as Change;
    for (const [table, noun] of [
      ['secrets', 'secret'],
      ['configs', 'config'],
    ] as const) {
      expect(refused(() => withChanges(view, [remove(table)], at))).to.deep.equal({
        code: 'invalid-argument',
        message: `rpc error: code = InvalidArgument desc = ${noun} 'pass' is in use by the following service: web`,
      });
      const twin = { op: 'put', table, object: { id: 'p2', spec: { Name: 'pass' } } } as unknown as Change;
      expect(refused(() => withChanges(view, [twin], at)).message).to.contain(`${noun} pass already exists`);
    }
    const without: Change = { op: 'delete', table: 'services', id: serviceIdOf('s1') };
    const after = withChanges(view, [without, remove('secrets'), remove('configs')], at);
    expect([after.secrets.size, after.configs.size, after.secretByName('pass')]).to.deep.equal([
      0,
      0,
      undefined,
    ]);
  });

  it('gives out objects that nobody can write', () => {
    const view = withChanges(viewOf({}), [task('t')], at);
    expect(() => {
      (view.tasks.get('t') as Task).status.message = 'changed';
    }).to.throw(TypeError);
  });
});
