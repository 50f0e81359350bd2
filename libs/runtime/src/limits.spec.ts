/**
 * What limits do to real containers, in the words of no cgroup version: the same file runs on nodes with version 1
 * and, in a virtual machine, on version 2 alone.
 */
import { expect } from 'chai';
import { existsSync, openSync, closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerId } from '#libs/model';
import { cgroupDirectories } from './cgroup/cgroup-plan.js';
import { detectCgroups, type CgroupLayout } from './cgroup/detect.js';
import { eventually, RuntimeFixture } from './runtime-fixture.js';

const mebibyte = 1 << 20;

describe('limits of the real kernel', function () {
  this.timeout(60_000);
  let fixture: RuntimeFixture;
  let layout: CgroupLayout;

  before(async () => {
    layout = detectCgroups(await readFile('/proc/self/mountinfo', 'utf8'));
    fixture = await RuntimeFixture.make();
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(() => fixture.end());

  /** A control file of the container, from whichever hierarchy has it. */
  async function control(id: ContainerId, ...names: string[]): Promise<string> {
    const files = cgroupDirectories(layout, fixture.cgroupParent, id).flatMap((folder) =>
      names.map((name) => join(folder, name)),
    );
    const file = files.find((name) => existsSync(name));
    if (file === undefined) throw new Error(`none of ${names.join(', ')} in the cgroups of ${id}`);
    return (await readFile(file, 'utf8')).trim();
  }

  const hungry = ['/bin/sh', '-c', 'x=a; while true; do x=$x$x; done'];

  it('memory: whoever outgrows it is killed, which is told, and its neighbour is not', async () => {
    const resources = { memoryBytes: 8 * mebibyte, memorySwapBytes: 8 * mebibyte };
    const neighbour = await fixture.start(fixture.config({ argv: ['/bin/sleep', '100'], resources }));
    const id = await fixture.start(fixture.config({ argv: hungry, resources }));
    expect(await fixture.runtime.wait(id)).to.deep.include({ oomKilled: true, exitCode: 137 });
    expect(fixture.runtime.get(neighbour)?.phase).to.equal('running');
    expect(await control(neighbour, 'memory.limit_in_bytes', 'memory.max')).to.equal(String(8 * mebibyte));
  });

  it('memory: a file system in memory counts, too', async () => {
    const { exitCode } = await fixture.result(
      fixture.shell('dd if=/dev/zero of=/dev/shm/big bs=1M count=40; echo unexpected', {
        resources: { memoryBytes: 16 * mebibyte, memorySwapBytes: 16 * mebibyte },
        shmBytes: 64 * mebibyte,
      }),
    );
    // dd is killed, its shell or both; in no case does the file get its 40 MiB.
    const [container] = fixture.runtime.list();
    expect(container?.exit?.oomKilled === true || exitCode !== 0).to.equal(true);
  });

  it('processes: a fork bomb stays in its container', async () => {
    const { output, exitCode } = await fixture.result(
      fixture.shell('for i in $(seq 40); do sleep 100 & done; echo too many', { resources: { pids: 10 } }),
    );
    expect(output).to.contain("can't fork").and.not.contain('too many');
    expect(exitCode).to.not.equal(0);
  });

  it('processor: quota and shares reach the kernel, and the quota throttles', async () => {
    const id = await fixture.start(
      fixture.shell('while true; do :; done', { resources: { nanoCpus: 100_000_000, cpuShares: 512 } }),
    );
    const shares = await control(id, 'cpu.shares', 'cpu.weight');
    expect(shares).to.be.oneOf(['512', '20']);
    await eventually('throttled periods', async () =>
      /nr_throttled [1-9]/.test(await control(id, 'cpu.stat')),
    );
    expect((await fixture.runtime.stats(id)).cpuNanoseconds).to.be.greaterThan(0);
  });

  it('processor: only the ones that were given', async () => {
    const { output } = await fixture.result(fixture.shell('nproc', { resources: { cpusetCpus: '0' } }));
    expect(output).to.equal('1\n');
  });

  it('devices: the usual ones work, others can be made but not opened', async () => {
    const { output } = await fixture.result(
      fixture.shell(`exec 2>&1
        head -c 4 /dev/zero | wc -c; echo x > /dev/null; head -c 1 /dev/urandom | wc -c
        mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; mknod /tmp/disk b 8 0 && echo x > /tmp/disk
        mknod /tmp/zero c 1 5 && head -c 3 /tmp/zero | wc -c`),
    );
    expect(output).to.equal(
      [
        '4',
        '1',
        'head: /tmp/kmsg: Operation not permitted',
        "/bin/sh: can't create /tmp/disk: Operation not permitted",
        '3',
        '',
      ].join('\n'),
    );
  });

  it('devices: a privileged container may open what the node may', async function () {
    try {
      closeSync(openSync('/dev/kmsg', 'r'));
    } catch {
      this.skip();
    }
    const security = { ...fixture.config({ argv: [] }).security, privileged: true };
    const { output } = await fixture.result(
      fixture.shell('mknod /tmp/kmsg c 1 11 && exec 3< /tmp/kmsg && echo opened', { security }),
    );
    expect(output).to.equal('opened\n');
  });

  it('an end takes every process along, also those that left their parents', async () => {
    const id = await fixture.start(
      fixture.shell('for i in 1 2 3 4 5; do (setsid sleep 1000 &) ; done; exec sleep 1000', { init: true }),
    );
    await eventually('seven processes', async () => (await fixture.runtime.pids(id)).length === 7);
    const pids = await fixture.runtime.pids(id);
    await fixture.runtime.stop(id, { graceMs: 0 });
    await fixture.runtime.remove(id);
    expect(pids.filter((pid) => existsSync(`/proc/${pid}/status`))).to.deep.equal([]);
    expect(
      cgroupDirectories(layout, fixture.cgroupParent, id).filter((folder) => existsSync(folder)),
    ).to.deep.equal([]);
  });
});
