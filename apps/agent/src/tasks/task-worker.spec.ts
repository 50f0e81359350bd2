import type { Image } from '#libs/images';
import {
  EnxameError,
  type NetworkId,
  type NodeId,
  type RevisionId,
  type RevisionItem,
  type ServiceId,
  type TaskId,
  type TaskItem,
  type TaskStatusReport,
} from '#libs/model';
import type { ContainerRuntime } from '#libs/runtime';
import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryRuntime } from './memory-runtime.js';
import { containerIdOf } from './task-controller.js';
import { TaskRecords } from './task-records.js';
import { TaskWorker } from './task-worker.js';

const deadlineMs = 5_000;
const revision: RevisionItem = {
  kind: 'revision',
  id: 'rev1' as RevisionId,
  serviceId: 'svc1' as ServiceId,
  serviceName: 'web',
  serviceLabels: {},
  taskTemplate: { ContainerSpec: { Image: 'demo:1', StopGracePeriod: 600e6 } },
};
const image = { id: 'sha256:1', config: { Cmd: ['/serve'] } } as unknown as Image;

function taskOf(desiredState: TaskItem['desiredState'], id = 't1'): TaskItem {
  return {
    kind: 'task',
    id: id as TaskId,
    serviceId: revision.serviceId,
    revisionId: revision.id,
    slot: 1,
    networks: [{ networkId: 'net1' as NetworkId, address: '10.1.1.5' }],
    desiredState,
  };
}

async function until(what: string, predicate: () => boolean): Promise<void> {
  const endMs = Date.now() + deadlineMs;
  while (!predicate()) {
    if (Date.now() > endMs) throw new Error(`timed out: ${what}`);
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
}

describe('tasks of a node', () => {
  let folder: string;
  let runtime: MemoryRuntime;
  let reports: TaskStatusReport[];
  let withdrawn: string[];
  let connections: number;
  let counted: number;
  let settled: Promise<void>;
  let steps: string[];
  let local: boolean;
  let pull: (reference: string, signal?: AbortSignal) => Promise<Image>;
  let pulled: { reference: string; peers: number }[];
  let worker: TaskWorker;

  function startWorker(): TaskWorker {
    const made = new TaskWorker({
      node: { id: 'node1' as NodeId, hostname: 'host-1', os: 'linux', architecture: 'x86_64' },
      runtime: runtime as unknown as ContainerRuntime,
      images: {
        find: () => (local ? image : undefined),
        pull: (reference, { peers, signal }) => {
          pulled.push({ reference, peers: peers?.length ?? 0 });
          return pull(reference, signal);
        },
        rootLayers: () => Promise.resolve(['/layer']),
      },
      network: {
        interfacesFor: () => [],
        nameservers: () => [],
        withdraw: async (taskId) => void withdrawn.push(taskId),
        activeConnections: async () => {
          counted++;
          return connections;
        },
      },
      volumes: { ensure: ({ name }) => Promise.resolve(`/volumes/${name}`), remove: () => Promise.resolve() },
      peersFor: () =>
        Promise.resolve([
          { baseUrl: 'https://10.0.0.2:2378', tls: { ca: '', cert: '', key: '', servername: 'n2' } },
        ]),
      networkSettled: () => settled,
      isBalanced: () => true,
      payload: () => undefined,
      records: new TaskRecords({ stateDir: folder, log: () => undefined }),
      report: (report, isStep) => {
        reports.push(report);
        if (isStep) steps.push(report.status.state);
      },
      nowMs: () => Date.now(),
      log: () => undefined,
    });
    made.start();
    return made;
  }

  const assign = (...tasks: TaskItem[]): void =>
    worker.assign({
      tasks: new Map(tasks.map((task) => [task.id, task])),
      revisions: new Map([[revision.id, revision]]),
    });
  const states = (): string[] => reports.map(({ status }) => status.state);
  const last = (): TaskStatusReport['status'] | undefined => reports.at(-1)?.status;
  const container = containerIdOf('t1' as TaskId);
  const running = (): Promise<void> => until('running', () => last()?.state === 'running');

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'enxame-tasks-'));
    runtime = new MemoryRuntime();
    reports = [];
    withdrawn = [];
    connections = 0;
    counted = 0;
    settled = Promise.resolve();
    steps = [];
    local = true;
    pulled = [];
    pull = () => Promise.resolve(image);
    worker = startWorker();
  });

  afterEach(() => {
    worker.close();
    rmSync(folder, { recursive: true });
  });

  it('goes through every state to running', async () => {
    assign(taskOf('running'));
    await running();
    expect(states()).to.deep.equal(['accepted', 'preparing', 'ready', 'starting', 'running']);
    expect(steps).to.deep.equal(['accepted', 'preparing', 'ready', 'starting']);
    expect(last()).to.deep.include({ message: 'started', container: { id: container, pid: 100 } });
    expect(runtime.calls).to.deep.equal(['create', 'run']);
    expect(pulled).to.deep.equal([]);
  });

  it('waits prepared until it is to run', async () => {
    assign(taskOf('ready'));
    await until('ready', () => last()?.state === 'ready');
    // The leader waits for it.
    expect(steps).not.to.include('ready');
    expect(runtime.calls).to.deep.equal(['create']);
    assign(taskOf('running'));
    await running();
    expect(runtime.calls).to.deep.equal(['create', 'run']);
  });

  it('is made ready while the kernel gets its network, and a stop waits for none', async () => {
    settled = new Promise(() => undefined);
    assign(taskOf('running'));
    await until('made ready', () => runtime.calls.includes('run'));
    expect(last()?.state).to.equal('starting');
    assign(taskOf('shutdown'));
    await until('shut down', () => last()?.state === 'shutdown');
    expect(runtime.calls).to.deep.equal(['create', 'run', 'stop']);
  });

  it('runs only when healthy, and fails when it is not any more', async () => {
    const checked = {
      ...revision,
      taskTemplate: { ContainerSpec: { Image: 'demo:1', Healthcheck: { Test: ['CMD', 'x'] } } },
    };
    worker.assign({
      tasks: new Map([['t1', taskOf('running')]]),
      revisions: new Map([[revision.id, checked]]),
    });
    await until('started', () => runtime.get(container)?.phase === 'running');
    expect(last()?.state).to.equal('starting');
    runtime.setHealth(container, 'healthy');
    await running();
    runtime.setHealth(container, 'unhealthy');
    await until('failed', () => last()?.state === 'failed');
    expect(last()?.error).to.equal('task: non-zero exit (143): unhealthy container');
    expect(withdrawn).to.deep.equal(['t1']);
  });

  const exits: [
    what: string,
    exit: Parameters<MemoryRuntime['end']>[1],
    state: string,
    error: string | undefined,
  ][] = [
    ['ends well', { exitCode: 0 }, 'complete', undefined],
    ['is killed', { exitCode: 137, signal: 9 }, 'failed', 'task: non-zero exit (137)'],
    [
      'runs out of memory',
      { exitCode: 137, signal: 9, oomKilled: true },
      'failed',
      'task: non-zero exit (137): killed by the kernel: out of memory',
    ],
  ];
  for (const [what, exit, state, error] of exits) {
    it(`withdraws from the balancer and reports ${state} when its process ${what}`, async () => {
      assign(taskOf('running'));
      await running();
      runtime.end(container, exit);
      await until('ended', () => last()?.state === state);
      expect(last()?.error).to.equal(error);
      expect(last()?.container?.exitCode).to.equal(exit.exitCode);
      expect(withdrawn).to.deep.equal(['t1']);
    });
  }

  it('is rejected in the words of the registry, which is asked after the peers', async () => {
    local = false;
    pull = () => Promise.reject(new EnxameError('not-found', 'manifest unknown: demo:1'));
    assign(taskOf('running'));
    await until('rejected', () => last()?.state === 'rejected');
    expect(last()?.error).to.equal('manifest unknown: demo:1');
    expect(pulled).to.deep.equal([{ reference: 'demo:1', peers: 1 }]);
    expect(runtime.calls).to.deep.equal([]);
  });

  it('fails with the step the kernel refused', async () => {
    runtime.failRun = 'mount /proc: EPERM';
    assign(taskOf('running'));
    await until('failed', () => last()?.state === 'failed');
    expect(last()?.error).to.equal('mount /proc: EPERM');
  });

  it('gives up a pull when it is to stop', async () => {
    local = false;
    pull = (_reference, signal) =>
      new Promise((_resolve, reject) =>
        signal?.addEventListener('abort', () => reject(new Error('aborted'))),
      );
    assign(taskOf('running'));
    await until('pulling', () => pulled.length === 1);
    assign(taskOf('shutdown'));
    await until('shut down', () => last()?.state === 'shutdown');
    expect(states()).to.deep.equal(['accepted', 'preparing', 'shutdown']);
  });

  it('lets open connections end before the stop signal, then keeps the container until the task goes', async () => {
    assign(taskOf('running'));
    await running();
    connections = 2;
    assign(taskOf('shutdown'));
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(runtime.calls).to.not.include('stop');
    connections = 0;
    await until('shut down', () => last()?.state === 'shutdown');
    expect(runtime.get(container)?.phase).to.equal('exited');
    assign();
    await until('removed', () => runtime.list().length === 0);
    expect(worker.reports()).to.deep.equal([]);
  });

  it('waits for a connection that was still on its way when the balancers let go', async () => {
    assign(taskOf('running'));
    await running();
    assign(taskOf('shutdown'));
    await until('the first count', () => counted > 0);
    connections = 1;
    await until('more counts', () => counted >= 6);
    expect(runtime.calls).to.not.include('stop');
    connections = 0;
    await until('shut down', () => last()?.state === 'shutdown');
  });

  it('drains no longer than the grace period', async () => {
    assign(taskOf('running'));
    await running();
    connections = 1;
    assign(taskOf('shutdown'));
    await until('shut down', () => last()?.state === 'shutdown');
  });

  it('stops and removes what a complete assignment does not name', async () => {
    assign(taskOf('running'));
    await running();
    assign();
    await until('removed', () => runtime.list().length === 0);
    expect(runtime.calls).to.deep.equal(['create', 'run', 'stop', 'remove']);
  });

  it('adopts its containers after a restart, and starts nothing twice', async () => {
    assign(taskOf('running'));
    await running();
    worker.close();
    worker = startWorker();
    expect(worker.reports().map(({ status }) => status.state)).to.deep.equal(['running']);
    reports = [];
    assign(taskOf('running'));
    runtime.end(container, { exitCode: 1 });
    await until('failed', () => last()?.state === 'failed');
    expect(states()).to.deep.equal(['failed']);
    expect(runtime.calls).to.deep.equal(['create', 'run']);
  });

  it('tells of a container that ended while the agent was away', async () => {
    assign(taskOf('running'));
    await running();
    worker.close();
    runtime.end(container, { exitCode: 3 });
    worker = startWorker();
    assign(taskOf('running'));
    await until('failed', () => last()?.state === 'failed');
    expect(last()?.error).to.equal('task: non-zero exit (3)');
  });

  it('does not try again after a restart what it had rejected', async () => {
    local = false;
    pull = () => Promise.reject(new EnxameError('not-found', 'manifest unknown'));
    assign(taskOf('running'));
    await until('rejected', () => last()?.state === 'rejected');
    worker.close();
    local = true;
    worker = startWorker();
    assign(taskOf('running'));
    expect(worker.reports().map(({ status }) => status.state)).to.deep.equal(['rejected']);
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(runtime.calls).to.deep.equal([]);
  });

  it('removes containers of tasks that were taken away while the agent was away, and no others', async () => {
    assign(taskOf('running'), taskOf('running', 't2'));
    await until('both', () => runtime.list().filter(({ phase }) => phase === 'running').length === 2);
    worker.close();
    worker = startWorker();
    assign(taskOf('running', 't2'));
    await until('one left', () => runtime.list().length === 1);
    expect(runtime.list()[0]?.config.id).to.equal(containerIdOf('t2' as TaskId));
  });
});
