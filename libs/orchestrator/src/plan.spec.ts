import type {
  Change,
  NodeId,
  RevisionId,
  ServiceId,
  ServiceSpec,
  Task,
  TaskId,
  TaskSpec,
  TaskStatus,
} from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { planOrchestration } from './plan.js';

const nowMs = 1_000_000;
const second = 1_000_000_000;

interface Given {
  template?: TaskSpec;
  spec?: Partial<ServiceSpec>;
  historyLimit?: number;
  tasks?: (Omit<Partial<Task>, 'id'> & { id: string; state?: TaskStatus['state'] })[];
  nodes?: Record<string, 'ready' | 'down' | 'disconnected' | 'unknown'>;
  withoutService?: boolean;
}

/** Plans for one service `s` with its revision `r` on the given nodes; `n1` is there and ready unless said. */
function planOf(given: Given) {
  const { template = {}, historyLimit = 5, nodes = { n1: 'ready' } } = given;
  let ids = 0;
  const view = viewOf({
    cluster: {
      id: 'c' as never,
      spec: { Orchestration: { TaskHistoryRetentionLimit: historyLimit } },
      joinTokens: { worker: '', manager: '' },
      rootCa: { certificatePem: '', keyPem: '' },
      addressPools: [],
      subnetSize: 24,
      dataPathPort: 4789,
    },
    nodes: Object.entries(nodes).map(([id, state], index) => ({
      id: id as NodeId,
      index: index + 1,
      spec: { Role: 'worker', Availability: 'active' },
      description: {
        hostname: id,
        platform: { os: 'linux', architecture: 'x86_64' },
        resources: { nanoCpus: 0, memoryBytes: 0 },
        engine: { version: '', labels: {} },
      },
      status: { state, message: '', address: '' },
    })),
    services: given.withoutService
      ? []
      : [
          {
            id: 's' as ServiceId,
            revisionId: 'r' as RevisionId,
            spec: { Name: 's', TaskTemplate: template, Mode: { Replicated: { Replicas: 1 } }, ...given.spec },
          },
        ],
    revisions: [
      {
        id: 'r' as RevisionId,
        serviceId: 's' as ServiceId,
        serviceName: 's',
        serviceLabels: {},
        taskTemplate: template,
      },
    ],
    tasks: (given.tasks ?? []).map(({ state = 'running', ...task }) => ({
      serviceId: 's' as ServiceId,
      revisionId: 'r' as RevisionId,
      slot: 1,
      nodeId: 'n1' as NodeId,
      networks: [],
      desiredState: 'running',
      cause: 'create',
      createdAtMs: nowMs - 60_000,
      updatedAtMs: nowMs,
      status: { state, atMs: nowMs, message: '' },
      ...task,
      id: task.id as TaskId,
    })),
  });
  return planOrchestration({
    view,
    nowMs,
    newId: <Id>() => `new-${++ids}` as Id,
    fitsInPlaceOf: () => false,
  });
}

/** One line for each change: what a reader wants to know of it. */
function linesOf(changes: readonly Change[]): string[] {
  return changes.map((change) => {
    if (change.op === 'delete') return `delete ${change.table} ${change.id}`;
    if (change.op === 'patch') return `patch ${change.table} ${change.id} ${JSON.stringify(change.fields)}`;
    if (change.table !== 'tasks') return `put ${change.table} ${change.object.id}`;
    const { id, slot, cause, desiredState, startGate } = change.object;
    return `put tasks ${id} slot ${slot} ${cause} ${desiredState} ${JSON.stringify(startGate ?? {})}`;
  });
}

const noDelay: TaskSpec = { RestartPolicy: { Delay: 0 } };

describe('planning what tasks should exist', () => {
  const cases: { what: string; given: Given; changes: string[]; wakeAtMs?: number }[] = [
    { what: 'a service that is as it should be needs nothing', given: { tasks: [{ id: 'a' }] }, changes: [] },
    {
      what: 'a failed task gets a successor that starts after the default delay of five seconds',
      given: { tasks: [{ id: 'a', state: 'failed' }] },
      changes: [
        'put tasks new-1 slot 1 restart ready {"notBeforeMs":1005000}',
        'patch tasks a {"desiredState":"shutdown"}',
      ],
      wakeAtMs: 1_005_000,
    },
    {
      what: 'without a delay the successor starts at once',
      given: { template: noDelay, tasks: [{ id: 'a', state: 'failed' }] },
      changes: ['put tasks new-1 slot 1 restart running {}', 'patch tasks a {"desiredState":"shutdown"}'],
    },
    {
      what: 'a task that could not be prepared is tried again when the delay is over, and keeps its slot until then',
      given: { tasks: [{ id: 'a', state: 'rejected' }] },
      changes: [],
      wakeAtMs: 1_005_000,
    },
    {
      what: 'a program that keeps exiting is slowed down even without a delay',
      given: {
        template: noDelay,
        tasks: ['a', 'b', 'c', 'd'].map((id, index) => ({
          id,
          cause: 'restart' as const,
          state: 'failed' as const,
          createdAtMs: nowMs - 5000 + index,
          desiredState: id === 'd' ? ('running' as const) : ('shutdown' as const),
        })),
      },
      changes: [
        'put tasks new-1 slot 1 restart ready {"notBeforeMs":1001000}',
        'patch tasks d {"desiredState":"shutdown"}',
      ],
      wakeAtMs: 1_001_000,
    },
    {
      what: 'condition none leaves the slot finished',
      given: { template: { RestartPolicy: { Condition: 'none' } }, tasks: [{ id: 'a', state: 'failed' }] },
      changes: ['patch tasks a {"desiredState":"shutdown"}'],
    },
    {
      what: 'a finished slot is not filled again, and its last task is kept',
      given: {
        template: { RestartPolicy: { Condition: 'none' } },
        historyLimit: 0,
        tasks: [{ id: 'a', state: 'complete', desiredState: 'shutdown' }],
      },
      changes: [],
    },
    {
      what: 'attempts outside the window do not count',
      given: {
        template: { RestartPolicy: { Delay: 0, MaxAttempts: 1, Window: 10 * second } },
        tasks: [
          {
            id: 'a',
            state: 'failed',
            cause: 'restart',
            desiredState: 'shutdown',
            createdAtMs: nowMs - 30_000,
          },
          { id: 'b', state: 'failed', cause: 'restart', createdAtMs: nowMs - 20_000 },
        ],
      },
      changes: ['put tasks new-1 slot 1 restart running {}', 'patch tasks b {"desiredState":"shutdown"}'],
    },
    {
      what: 'attempts inside it do',
      given: {
        template: { RestartPolicy: { Delay: 0, MaxAttempts: 1, Window: 10 * second } },
        tasks: [{ id: 'b', state: 'failed', cause: 'restart', createdAtMs: nowMs - 5000 }],
      },
      changes: ['patch tasks b {"desiredState":"shutdown"}'],
    },
    {
      what: 'a task on a down node is replaced at once, whatever the delay or the condition',
      given: {
        template: { RestartPolicy: { Condition: 'none' } },
        nodes: { n1: 'down', n2: 'ready' },
        tasks: [{ id: 'a' }],
      },
      changes: ['put tasks new-1 slot 1 drain running {}', 'patch tasks a {"desiredState":"shutdown"}'],
    },
    {
      what: 'a node that has only lost its session keeps its tasks',
      given: { nodes: { n1: 'disconnected' }, tasks: [{ id: 'a' }] },
      changes: [],
    },
    {
      what: 'tasks of a node that left the cluster go with their records',
      given: {
        nodes: { n2: 'ready' },
        tasks: [{ id: 'a' }, { id: 'old', state: 'running', desiredState: 'shutdown' }],
      },
      changes: [
        'put tasks new-1 slot 1 drain running {}',
        'patch tasks a {"desiredState":"remove"}',
        'delete tasks old',
        'delete tasks a',
      ],
    },
    {
      what: 'history beyond the limit goes, oldest first; what still runs is not history',
      given: {
        historyLimit: 2,
        tasks: [
          { id: 'a', state: 'shutdown', desiredState: 'shutdown', createdAtMs: 1 },
          { id: 'b', state: 'running', desiredState: 'shutdown', createdAtMs: 2 },
          { id: 'c', state: 'failed', desiredState: 'shutdown', createdAtMs: 3 },
          { id: 'd', createdAtMs: 4 },
        ],
      },
      changes: ['delete tasks a', 'delete tasks c'],
    },
    {
      what: 'tasks of a deleted service stop, those that have stopped go, and a template nobody needs goes last',
      given: {
        withoutService: true,
        tasks: [
          { id: 'a' },
          { id: 'b', state: 'shutdown' },
          { id: 'c', state: 'pending', nodeId: undefined },
        ],
      },
      changes: ['patch tasks a {"desiredState":"remove"}', 'delete tasks b', 'delete tasks c'],
    },
    {
      what: 'a template without a service or a task goes',
      given: { withoutService: true },
      changes: ['delete revisions r'],
    },
    {
      what: 'a gate opens when its time has come and the awaited task has stopped',
      given: {
        tasks: [
          { id: 'a', state: 'shutdown', desiredState: 'shutdown', createdAtMs: 1 },
          {
            id: 'b',
            state: 'ready',
            desiredState: 'ready',
            startGate: { afterTask: 'a' as TaskId, notBeforeMs: nowMs },
          },
        ],
      },
      changes: ['patch tasks b {"desiredState":"running"}'],
    },
    {
      what: 'a gate stays shut while the awaited task stops, but not for ever',
      given: {
        tasks: [
          { id: 'a', desiredState: 'shutdown', createdAtMs: 1 },
          { id: 'b', state: 'ready', desiredState: 'ready', startGate: { afterTask: 'a' as TaskId } },
        ],
      },
      changes: [],
      wakeAtMs: nowMs + 70_000,
    },
  ];
  for (const { what, given, changes, wakeAtMs } of cases) {
    it(what, () => {
      const plan = planOf(given);
      expect(linesOf(plan.changes)).to.deep.equal(changes);
      expect(plan.wakeAtMs).to.equal(wakeAtMs);
    });
  }

  it('leaves jobs alone', () => {
    expect(
      planOf({ spec: { Mode: { ReplicatedJob: {} } }, tasks: [{ id: 'a', state: 'complete' }] }),
    ).to.deep.equal({
      changes: [],
    });
  });
});
