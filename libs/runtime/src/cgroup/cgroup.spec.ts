import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { killAll, prepareParent, readPids, readUsage, removeCgroups } from './cgroup-files.js';
import { cpuQuota, cpuWeight, planCgroup, type CgroupRequest } from './cgroup-plan.js';
import { allowedDevices } from '../sandbox/default-sandbox.js';
import { detectCgroups, type CgroupLayout } from './detect.js';
import { compileDeviceRules } from './device-program.js';

const hybrid = `
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/my\\040pids rw - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
`;
const v2: CgroupLayout = { version: 2, root: '/sys/fs/cgroup' };
const v1: CgroupLayout = {
  version: 1,
  mounts: {
    cpu: '/cg/cpu',
    cpuacct: '/cg/cpu',
    cpuset: '/cg/cpuset',
    memory: '/cg/memory',
    pids: '/cg/pids',
    devices: '/cg/devices',
  },
};

function plan(layout: CgroupLayout, change: Partial<CgroupRequest> = {}): ReturnType<typeof planCgroup> {
  return planCgroup({
    layout,
    parent: '/enxame/c/n',
    id: 'ID',
    resources: {},
    privileged: true,
    ...change,
  });
}

function writes(layout: CgroupLayout, resources: CgroupRequest['resources']): string[] {
  return plan(layout, { resources }).writes.map(
    ({ path, value, optional }) => `${path.split('/ID/')[1]} ${value}${optional ? ' ?' : ''}`,
  );
}

describe('cgroup detection', () => {
  it('takes v1 where it has controllers, whatever is beside it', () => {
    expect(detectCgroups(hybrid)).to.deep.equal({
      version: 1,
      mounts: {
        cpu: '/sys/fs/cgroup/cpu,cpuacct',
        cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
        memory: '/sys/fs/cgroup/memory',
        pids: '/sys/fs/cgroup/my pids',
      },
    });
  });
  it('takes v2 where there is nothing else', () => {
    expect(
      detectCgroups('31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n'),
    ).to.deep.equal(v2);
  });
  it('says so when there is neither', () => {
    expect(() => detectCgroups('1 1 0:1 / / rw - ext4 /dev/vda rw\n')).to.throw('no cgroups');
  });
});

describe('cgroup plans', () => {
  const all = {
    nanoCpus: 1_500_000_000,
    cpuShares: 512,
    memoryBytes: 64 << 20,
    pids: 50,
    cpusetCpus: '0-1',
  };
  it('limits by v1 files', () => {
    expect(writes(v1, all)).to.deep.equal([
      'cpuset.cpus 0-1',
      'cpuset.mems 0',
      'cpu.shares 512',
      'cpu.cfs_period_us 100000',
      'cpu.cfs_quota_us 150000',
      'memory.limit_in_bytes 67108864',
      'memory.memsw.limit_in_bytes 134217728 ?',
      'pids.max 50',
    ]);
    expect(plan(v1)).to.deep.include({
      directories: ['/cg/cpu', '/cg/memory', '/cg/devices', '/cg/pids'].map(
        (mount) => `${mount}/enxame/c/n/ID`,
      ),
      oomFile: '/cg/memory/enxame/c/n/ID/memory.oom_control',
    });
    expect(plan(v1).mounts.map(({ option }) => option)).to.deep.equal(['cpu', 'memory', 'devices', 'pids']);
  });
  it('limits by v2 files', () => {
    expect(writes(v2, all)).to.deep.equal([
      'cpuset.cpus 0-1',
      'cpu.weight 20',
      'cpu.max 150000 100000',
      'memory.max 67108864',
      'memory.swap.max 67108864 ?',
      'pids.max 50',
    ]);
    expect(plan(v2)).to.deep.include({
      directories: ['/sys/fs/cgroup/enxame/c/n/ID'],
      joins: [{ path: '/sys/fs/cgroup/enxame/c/n/ID', version: 2 }],
      oomFile: '/sys/fs/cgroup/enxame/c/n/ID/memory.events',
    });
  });
  it('knows swap without limit, and swap that is counted with memory', () => {
    expect(writes(v2, { memoryBytes: 100, memorySwapBytes: -1 })[1]).to.equal('memory.swap.max max ?');
    expect(writes(v1, { memoryBytes: 100, memorySwapBytes: 150 })[1]).to.equal(
      'memory.memsw.limit_in_bytes 150 ?',
    );
    expect(() => writes(v1, { memoryBytes: 100, memorySwapBytes: 50 })).to.throw('MemorySwap');
  });
  it('denies devices but the default ones', () => {
    const lines = plan(v1, { privileged: false })
      .writes.filter(({ path }) => path.startsWith('/cg/devices'))
      .map(({ path, value }) => `${path.split('.').at(-1)} ${value}`);
    expect(lines.slice(0, 3)).to.deep.equal(['deny a', 'allow c *:* m', 'allow b *:* m']);
    expect(lines).to.include('allow c 1:3 rwm').and.not.include('allow c 10:229 rwm');
    expect(plan(v2, { privileged: false }).devicePrograms).to.deep.equal([
      { path: '/sys/fs/cgroup/enxame/c/n/ID', program: compileDeviceRules(allowedDevices) },
    ]);
    expect(plan(v2, { privileged: true }).devicePrograms).to.deep.equal([]);
  });
  it('says which controller is missing for a limit', () => {
    const bare: CgroupLayout = { version: 1, mounts: { memory: '/cg/memory' } };
    expect(() => writes(bare, { pids: 5 })).to.throw('no cgroup controller pids');
  });
  it('turns shares and fractions of a processor into what the kernel takes', () => {
    expect([2, 1024, 262_144, 1].map(cpuWeight)).to.deep.equal([1, 39, 10_000, 1]);
    expect(cpuQuota(1_000_000)).to.deep.equal({ periodUs: 1_000_000, quotaUs: 1_000 });
    expect(cpuQuota(10_000_000)).to.deep.equal({ periodUs: 100_000, quotaUs: 1_000 });
  });
});

describe('cgroups of the kernel', function () {
  this.timeout(10_000);
  const parent = `/enxame-cgroup-test-${process.pid}/node`;
  const id = 'c'.repeat(64);
  const wait = (delayMs: number): Promise<void> => delay(delayMs);

  async function story(layout: CgroupLayout, roots: string[]): Promise<void> {
    await prepareParent(layout, parent);
    // A new cpuset has no processors, and takes nobody in.
    const joined = roots.filter((root) => layout.version === 2 || root !== layout.mounts.cpuset);
    const folders = joined.map((root) => join(root, parent, id));
    for (const folder of folders) await mkdir(folder);
    const child = spawn('sleep', ['60']);
    try {
      for (const folder of folders) await writeFile(join(folder, 'cgroup.procs'), String(child.pid));
      expect(await readPids(layout, parent, id)).to.deep.equal([child.pid]);
      expect(await readUsage(layout, parent, id)).to.include.keys('cpuNanoseconds', 'memoryBytes', 'pids');
      const exited = once(child, 'exit');
      await killAll(layout, parent, id);
      expect((await exited)[1]).to.equal('SIGKILL');
    } finally {
      child.kill('SIGKILL');
      await removeCgroups(layout, parent, id, wait);
      for (const root of roots) {
        await rmdir(join(root, parent));
        await rmdir(join(root, parent, '..'));
      }
    }
    for (const folder of folders) expect(existsSync(folder)).to.equal(false);
    // Again, when there is nothing: as after a kill in the middle.
    await killAll(layout, parent, id);
    await removeCgroups(layout, parent, id, wait);
  }

  it('takes v1 processes in, counts, kills and lets go', async function () {
    const layout = detectCgroups(await readFile('/proc/self/mountinfo', 'utf8'));
    if (layout.version !== 1) this.skip();
    await story(layout, [...new Set(Object.values(layout.mounts))]);
  });

  it('takes v2 processes in, counts, kills and lets go', async function () {
    const root = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
      existsSync(join(path, 'cgroup.controllers')),
    );
    if (root === undefined) return this.skip();
    await story({ version: 2, root }, [root]);
  });
});
