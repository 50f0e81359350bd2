/** The same sentences about the port, with the containers made by other runtimes. */
import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { foreignRuntimes } from './foreign-runtimes.js';
import { RuntimeFixture } from './runtime-fixture.js';

const trap = 'trap "exit 3" TERM; echo up; while :; do sleep 0.05; done';

for (const runtime of ['crun', 'runc']) {
  describe(`containers of ${runtime}`, function () {
    this.timeout(60_000);
    let fixture: RuntimeFixture;

    before(async function () {
      const program = foreignRuntimes().get(runtime);
      // One whose libraries are elsewhere is as good as none.
      if (program === undefined || spawnSync(program, ['--version']).status !== 0) {
        console.log(`      skipped: ${runtime} is not on this machine`);
        this.skip();
      }
      fixture = await RuntimeFixture.make();
    });
    after(() => fixture?.end());

    const running = async (change: Parameters<RuntimeFixture['config']>[0]) => {
      const config = fixture.config({ runtime, ...change });
      await fixture.runtime.create(config);
      await fixture.runtime.run(config.id);
      return config.id;
    };

    it('run a program: output in the log, exit code, and nothing left', async () => {
      const id = await running({
        argv: ['sh', '-c', 'echo out; echo err >&2; exit 7'],
        env: ['A=b'],
        user: 'ana',
      });
      const exit = await fixture.runtime.wait(id);
      expect(exit.exitCode).to.equal(7);
      expect(await fixture.output(id, { stderr: false })).to.equal('out\n');
      expect(await fixture.output(id, { stdout: false })).to.equal('err\n');
      await fixture.runtime.remove(id);
      expect(existsSync(join(fixture.folder, 'run/oci', id))).to.equal(false);
    });

    it('say what a program that is not there would have ended with', async () => {
      const config = fixture.config({ runtime, argv: ['nothing-of-this-name'] });
      await fixture.runtime.create(config);
      const failure = await fixture.runtime.run(config.id).catch((error: unknown) => error);
      expect(failure).to.be.an('error').with.property('message').that.includes('not found in $PATH');
      expect((await fixture.runtime.wait(config.id)).exitCode).to.equal(127);
      await fixture.runtime.remove(config.id);
    });

    it('have their limits, rights and names, and processes that join them', async () => {
      const id = await running({
        argv: ['sh', '-c', trap],
        hostname: 'far',
        resources: { pids: 33, memoryBytes: 64 << 20 },
        readOnlyRootfs: true,
      });
      const script =
        'hostname; id -u; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; touch /x 2>/dev/null || echo ro; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; exit 5';
      const said = await fixture.exec(id, ['sh', '-c', script], { user: '1000' });
      expect(said.split('\n')).to.deep.equal([
        'far',
        '1000',
        'CapEff:\t0000000000000000',
        'Seccomp:\t2',
        'ro',
        '33',
        '[5]',
      ]);
      expect((await fixture.runtime.stop(id)).exitCode).to.equal(3);
      await fixture.runtime.remove(id);
    });

    it('pause, outlive the agent and the launcher, and are stopped by the next one', async () => {
      const id = await running({ argv: ['sh', '-c', trap], restart: { name: 'always', retriesMax: 0 } });
      await fixture.runtime.pause(id);
      expect(fixture.runtime.get(id)?.paused).to.equal(true);
      await fixture.runtime.unpause(id);
      const { pid } = fixture.runtime.get(id)!;
      await fixture.restart();
      expect(fixture.runtime.get(id)).to.deep.include({ phase: 'running', pid });
      await fixture.runtime.kill(id, 'KILL');
      await fixture.runtime.resume();
      while (fixture.runtime.get(id)?.phase !== 'running' || fixture.runtime.get(id)?.pid === pid)
        await delay(20);
      await fixture.runtime.stop(id);
      await fixture.runtime.remove(id);
    });

    it('have a terminal', async () => {
      const id = await running({ argv: ['sh', '-c', 'tty; exit 4'], tty: true });
      expect((await fixture.runtime.wait(id)).exitCode).to.equal(4);
      expect(await fixture.output(id)).to.include('/dev/pts/0');
      await fixture.runtime.remove(id);
    });
  });
}
