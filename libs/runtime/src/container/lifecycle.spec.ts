import { expect } from 'chai';
import { readFile } from 'node:fs/promises';
import { isEnxameError } from '#libs/model';
import { eventually, RuntimeFixture } from '../runtime-fixture.js';

async function wordsOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return isEnxameError(error) ? `${error.code}: ${error.message}` : String(error);
  }
  return 'no error';
}

const always = { name: 'always', retriesMax: 0 } as const;

describe('the life of a container on the real kernel', function () {
  this.timeout(30_000);
  let fixture: RuntimeFixture;

  before(async () => {
    fixture = await RuntimeFixture.make();
    await fixture.runtime.resume();
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(() => fixture.end());

  it('pauses without a signal, across an agent, and stops what is paused', async () => {
    const id = await fixture.start(fixture.shell('while true; do echo x; sleep 0.01; done'));
    await eventually('output', async () => (await fixture.output(id)) !== '');
    await fixture.runtime.pause(id);
    expect(await wordsOf(fixture.runtime.pause(id))).to.equal(`conflict: Container ${id} is already paused`);
    expect(await wordsOf(fixture.exec(id, ['true'])))
      .to.contain('conflict')
      .and.contain('is paused');
    expect(await wordsOf(fixture.runtime.remove(id))).to.contain('must be unpaused first');
    // What it wrote last may still be on its way into the log.
    let before = '';
    await eventually('no more output', async () => {
      const last = before;
      before = await fixture.output(id);
      return before === last;
    });
    await fixture.restart();
    await fixture.runtime.resume();
    expect(fixture.runtime.get(id)).to.deep.include({ phase: 'running', paused: true });
    expect(await fixture.output(id)).to.equal(before);
    await fixture.runtime.unpause(id);
    await eventually('more output', async () => (await fixture.output(id)).length > before.length);
    expect(await wordsOf(fixture.runtime.unpause(id))).to.contain('is not paused');
    await fixture.runtime.pause(id);
    expect(await fixture.runtime.stop(id, { graceMs: 0 })).to.deep.include({ exitCode: 137 });
    expect(fixture.runtime.get(id)).to.deep.include({ phase: 'exited', paused: false });
  });

  it('runs a failing container again, up to its limit', async () => {
    const id = await fixture.start(
      fixture.shell('echo run; exit 3', { restart: { name: 'on-failure', retriesMax: 2 } }),
    );
    await eventually('the last end', async () => {
      const state = fixture.runtime.get(id);
      return state?.phase === 'exited' && state.restarting === false && state.restartCount === 2;
    });
    expect(await fixture.output(id)).to.equal('run\nrun\nrun\n');
    expect(fixture.runtime.get(id)?.exit).to.deep.include({ exitCode: 3 });
  });

  it('keeps down what the user stopped, also over agents; `always` comes back with its node', async () => {
    const unless = await fixture.start(
      fixture.shell('sleep 60', { restart: { name: 'unless-stopped', retriesMax: 0 } }),
    );
    const forever = await fixture.start(fixture.shell('sleep 60', { restart: always }));
    for (const id of [unless, forever]) await fixture.runtime.stop(id, { graceMs: 0 });
    await fixture.restart();
    await fixture.runtime.resume();
    await eventually('always', async () => fixture.runtime.get(forever)?.phase === 'running');
    expect(fixture.runtime.get(unless)).to.deep.include({ phase: 'exited', restarting: false });
  });

  it('brings back what went down with its node', async () => {
    const id = await fixture.start(
      fixture.shell('sleep 60', { restart: { name: 'unless-stopped', retriesMax: 0 } }),
    );
    await fixture.runtime.stop(id, { graceMs: 0, nodeGoesDown: true });
    expect(fixture.runtime.get(id)).to.deep.include({ phase: 'exited', restarting: false });
    await fixture.restart();
    await fixture.runtime.resume();
    await eventually('the container', async () => fixture.runtime.get(id)?.phase === 'running');
  });

  it('runs again what was killed from outside, and ends a wait for the next run', async () => {
    const id = await fixture.start(fixture.shell('echo up; exit 1', { restart: always }));
    await eventually('three runs', async () => (await fixture.output(id)).split('\n').length > 3);
    await fixture.runtime.stop(id, { graceMs: 0 });
    const { phase, restarting } = fixture.runtime.get(id) ?? {};
    expect({ phase, restarting }).to.deep.equal({ phase: 'exited', restarting: false });
  });

  it('renames, frees the old name, and says who has a name', async () => {
    const a = fixture.shell('true');
    const b = fixture.shell('true');
    await fixture.runtime.create(a);
    await fixture.runtime.create(b);
    expect(await wordsOf(fixture.runtime.rename(a.id, b.name))).to.equal(
      `conflict: Conflict. The container name "/${b.name}" is already in use by container "${b.id}". You have to remove (or rename) that container to be able to reuse that name.`,
    );
    const old = a.name;
    await fixture.runtime.rename(a.id, 'another');
    await fixture.runtime.rename(b.id, old);
    await fixture.restart();
    expect(fixture.runtime.get(a.id)?.config.name).to.equal('another');
    expect(fixture.runtime.get(b.id)?.config.name).to.equal(old);
  });

  it('changes the limits of a container that runs, upwards and downwards', async () => {
    const id = await fixture.start(fixture.shell('sleep 60', { resources: { memoryBytes: 32 << 20 } }));
    const limit = async (): Promise<number> => (await fixture.runtime.stats(id)).memoryLimitBytes;
    expect(await limit()).to.equal(32 << 20);
    await fixture.runtime.update(id, { resources: { memoryBytes: 128 << 20, pids: 7 } });
    expect(await limit()).to.equal(128 << 20);
    await fixture.runtime.update(id, { resources: { memoryBytes: 16 << 20 } });
    expect(await limit()).to.equal(16 << 20);
    await fixture.runtime.update(id, { resources: { cpusetCpus: '0' } });
    const pid = fixture.runtime.get(id)?.pid ?? 0;
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).to.match(/^Cpus_allowed_list:\s+0$/m);
  });
});
