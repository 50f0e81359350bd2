/** Agents and managers die; containers, state and logs do not. */
import { readFileSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, TestCluster } from './harness/cluster.js';
import { LoadClient } from './harness/load.js';

const port = 18_082;

describe('survival of kill -9', function () {
  this.timeout(180_000);
  const cluster = new TestCluster('e2e-survival');

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
    await cluster.docker([
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '6',
      '--publish',
      `${port}:8080`,
      '--restart-delay',
      '0s',
      'enxame/demo:1',
    ]);
  });
  after(() => cluster.end());

  /** Processes of this cluster by the program they run. */
  function processes(program: string, node?: number): number[] {
    const mark = `/var/lib/enxame/e2e-survival/${node ? `node-${node}/` : ''}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
          return line.includes(program) && line.includes(mark);
        } catch {
          return false;
        }
      });
  }

  const agents = (node?: number): number[] => processes('/apps/agent/src/main.js', node);
  const managers = (): number[] => processes('/apps/manager/src/main.js');

  async function containerIds(): Promise<string[]> {
    const tasks = await cluster.allRunning('web', 6, 40_000);
    return tasks.map((task) => `${task.ID} ${task.Status.ContainerStatus!.ContainerID}`).sort();
  }

  async function survives(what: string, kill: () => number[]): Promise<void> {
    const before = await containerIds();
    const load = new LoadClient([{ host: '127.0.0.1', port }], 4).start();
    const killed = kill();
    expect(killed.length).to.be.greaterThan(0);
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    await eventually(`return of what was killed (${what})`, 60_000, async () => {
      const alive = [...agents(), ...managers()];
      if (killed.some((pid) => alive.includes(pid)) || agents().length < 3 || managers().length !== 1)
        return false;
      const nodes = await cluster.api<{ Status: { State: string } }[]>('GET', '/nodes');
      return (
        nodes.status === 200 &&
        nodes.body.length === 3 &&
        nodes.body.every((node) => node.Status.State === 'ready')
      );
    });
    // The cluster must still be able to act: a change of the spec is carried out.
    await cluster.docker(['service', 'scale', 'web=7'], { timeoutMs: 60_000 });
    await cluster.docker(['service', 'scale', 'web=6'], { timeoutMs: 60_000 });
    const result = await load.stop();
    console.log(`      ${what}: ${result.sent} requests, ${result.failed} failed`);
    for (const line of result.failures) console.log(`        ${line}`);
    expect(result.failed).to.equal(0);
    const after = await containerIds();
    const kept = before.filter((id) => after.includes(id));
    // Scaling down may have chosen an old task instead of the new one; nothing else may have changed.
    expect(kept.length).to.be.at.least(5);
    for (const node of [1, 2, 3]) {
      const shown = await cluster.docker(['ps', '-q', '--no-trunc'], { node });
      for (const id of shown.split('\n').filter(Boolean))
        expect(
          after.some((entry) => entry.endsWith(id)),
          `stray container ${id}`,
        ).to.equal(true);
    }
  }

  it('of the agent of a worker', () => survives('agent of a worker', () => agents(2)));
  it('of the agent of the manager node', () => survives('agent of the manager node', () => agents(1)));
  it('of the manager', () => survives('manager', () => managers()));
  it('of agent and manager together', () =>
    survives('agent and manager', () => [...agents(1), ...managers()]));
  it('of every agent', () => survives('every agent', () => agents()));

  it('keeps every acknowledged write when the manager is killed among writes', async () => {
    const acknowledged: string[] = [];
    let stop = false;
    const writer = (async () => {
      for (let i = 0; !stop && i < 2_000; i++) {
        const name = `write-${i}`;
        try {
          const answer = await cluster.api('POST', '/services/create', {
            Name: name,
            TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
            Mode: { Replicated: { Replicas: 0 } },
          });
          if (answer.status === 201) acknowledged.push(name);
        } catch {
          // Not acknowledged: it may be there or not.
        }
      }
    })();
    await eventually('some writes', 20_000, async () => acknowledged.length >= 20);
    for (const pid of managers()) process.kill(pid, 'SIGKILL');
    const sofar = acknowledged.length;
    await eventually('writes after the restart', 40_000, async () => acknowledged.length >= sofar + 20);
    stop = true;
    await writer;
    const names = new Set(
      (await cluster.api<{ Spec: { Name: string } }[]>('GET', '/services')).body.map(
        (service) => service.Spec.Name,
      ),
    );
    const lost = acknowledged.filter((name) => !names.has(name));
    console.log(`      ${acknowledged.length} acknowledged writes, ${lost.length} lost`);
    expect(lost).to.deep.equal([]);
  });
});
