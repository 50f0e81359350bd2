import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { eventually, Fixture, hasV1, unifiedCgroupRoot } from './container-fixture.js';
import type { LaunchOperation } from './launch-plan.js';

const run = promisify(execFile);
const sigterm = 15;
const sigkill = 9;

describe('launcher', () => {
  let fixture: Fixture;

  before(async () => {
    fixture = await Fixture.make();
  });

  after(() => fixture.remove());

  it('runs a program and records how it ended', async () => {
    const { id, shim, pid } = await fixture.launch({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 7'] });
    expect(pid).to.be.greaterThan(1);
    const exit = await shim.wait();
    expect(exit).to.deep.equal({ exitCode: 7, oomKilled: false, finishedAtMs: exit.finishedAtMs });
    const log = (await fixture.log(id)).map(({ log: text, stream }) => `${stream} ${text}`).toSorted();
    expect(log).to.deep.equal(['stderr err\n', 'stdout out\n']);
    expect(await shim.status()).to.deep.equal({ phase: 'exited', exit });
  });

  it('says which step failed, in the words of docker, and records it', async () => {
    const table = [
      { argv: ['nonsense'], message: 'exec: "nonsense": executable file not found in $PATH', exitCode: 127 },
      { argv: ['/no/such'], message: 'exec: "/no/such": stat: no such file or directory', exitCode: 127 },
      { argv: ['/etc'], message: 'exec: "/etc": permission denied', exitCode: 126 },
    ];
    for (const { argv, message, exitCode } of table) {
      const plan = await fixture.plan({ argv });
      const outcome = await fixture.client.launch(plan);
      expect(outcome).to.deep.include({ ok: false, message, exitCode });
      expect(await fixture.shim(plan.id).wait()).to.deep.include({ exitCode, error: message });
    }
    const plan = await fixture.plan({
      argv: ['true'],
      inside: [{ kind: 'mount', type: 'nonsensefs', source: 'x', target: '/mnt', flags: [], options: [] }],
    });
    expect(await fixture.client.launch(plan)).to.deep.equal({
      ok: false,
      step: 'make nonsensefs',
      errno: 19,
      message: 'make nonsensefs: no such device',
      exitCode: 128,
    });
  });

  it('gives the container its own pid, hostname, mounts and processes only', async () => {
    const { output } = await fixture.runToEnd({
      argv: ['sh', '-c', 'echo $$; hostname; ls /; ls /proc/self/fd | wc -l; cat /proc/mounts | head -1'],
    });
    const [pid, hostname, ...rest] = output.trim().split('\n');
    expect(pid).to.equal('1');
    expect(hostname).to.match(/^c\d+$/);
    expect(rest.slice(0, 7)).to.deep.equal(['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'tmp']);
    /* 0, 1, 2 and the one `ls` reads the folder with: nothing leaked. */
    expect(rest[7]?.trim()).to.equal('4');
    expect(rest[8]).to.match(/^overlay \/ overlay /);
  });

  it('leaves no mount of the container on the node', async () => {
    const { id, shim } = await fixture.launch({ argv: ['sleep', '100'] });
    expect(await readFile('/proc/self/mounts', 'utf8')).not.to.include(fixture.path(id, 'root'));
    await shim.signal(sigkill);
    expect(await shim.wait()).to.deep.include({ exitCode: 137, signal: 9 });
  });

  it('gives an interface with its address and routes, and the node a route to it', async () => {
    const { id, shim } = await fixture.launch({
      argv: ['sh', '-c', 'ip -4 addr show eth0; ip route; sleep 100'],
      inside: [
        {
          kind: 'interface',
          hostName: 'vtest0',
          name: 'eth0',
          address: '10.91.0.7',
          mtu: 1400,
          hostAddress: '169.254.1.1',
          defaultGateway: '169.254.1.1',
          routes: [{ destination: '10.92.0.0/16', gateway: '169.254.1.1' }],
        },
        { kind: 'host-sysctl', name: 'net/ipv4/conf/vtest0/rp_filter', value: '2' },
      ],
    });
    const text = await eventually('the log', async () => {
      const lines = (await fixture.log(id)).map((line) => line.log).join('');
      return lines.includes('10.92') && lines.includes('default') && lines;
    });
    expect(text).to.include('inet 10.91.0.7/32');
    expect(text).to.include('mtu 1400');
    expect(text).to.match(/default via 169.254.1.1 dev eth0/);
    expect(text).to.match(/10.92.0.0\/16 via 169.254.1.1 dev eth0/);
    expect(await fixture.ip('route')).to.match(/10.91.0.7 dev vtest0 .*scope link/);
    expect(await fixture.ip('link', 'show', 'vtest0')).to.match(/state UP/);
    const { output } = await fixture.runToEnd({ argv: ['ip', 'link'] });
    expect(output).not.to.include('eth0');
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('replaces a left-over interface of the same name', async () => {
    await fixture.ip('link', 'add', 'vtest1', 'type', 'veth');
    const { exitCode } = await fixture.runToEnd({
      argv: ['ip', 'link', 'show', 'eth0'],
      inside: [
        { kind: 'interface', hostName: 'vtest1', name: 'eth0', address: '10.91.0.8', mtu: 1500, routes: [] },
      ],
    });
    expect(exitCode).to.equal(0);
  });

  it('covers masked paths, keeps read-only paths, and refuses nothing that is absent', async () => {
    const { output } = await fixture.runToEnd({
      argv: [
        'sh',
        '-c',
        'wc -c < /proc/timer_list; ls /sys/firmware | wc -l; touch /sys/firmware/x; ' +
          'echo 0 > /proc/sys/kernel/panic; echo 1 > /dev/null && echo null works',
      ],
      inside: [
        { kind: 'mask', path: '/proc/timer_list' },
        { kind: 'mask', path: '/sys/firmware' },
        { kind: 'mask', path: '/proc/no/such/thing' },
        { kind: 'read-only-path', path: '/proc/sys' },
        { kind: 'read-only-path', path: '/proc/no-such' },
      ],
    });
    expect(output).to.equal('0\n0\nnull works\n');
  });

  it('never leaves the root, whatever links the image holds', async () => {
    const outside = join(fixture.folder, 'outside');
    await mkdir(outside);
    await mkdir(join(fixture.layer, 'trap'), { recursive: true });
    await symlink(outside, join(fixture.layer, 'trap/absolute'));
    await symlink('../../../../../../../../../../../..' + outside, join(fixture.layer, 'trap/relative'));
    const targets = [
      '/trap/absolute/a',
      '/trap/relative/b',
      '/../../../../../../../../../..' + outside + '/c',
      '/proc/1/root' + outside + '/d',
    ];
    for (const target of targets) {
      const plan = await fixture.plan({
        argv: ['sleep', '0'],
        inside: [{ kind: 'mount', type: 'tmpfs', source: 'tmpfs', target, flags: [], options: [] }],
      });
      const outcome = await fixture.client.launch(plan);
      for (const name of ['a', 'b', 'c', 'd']) {
        expect(existsSync(join(outside, name)), `${target}: ${JSON.stringify(outcome)}`).to.equal(false);
      }
      if (outcome.ok) await fixture.shim(plan.id).wait();
    }
    const sneaky: LaunchOperation[] = [
      { kind: 'memory-file', path: '/trap/absolute/a', data: Buffer.from('x'), mode: 0o600, uid: 0, gid: 0 },
      { kind: 'file', path: '/trap/absolute/file', data: Buffer.from('x'), mode: 0o600, uid: 0, gid: 0 },
      { kind: 'symlink', path: '/trap/relative/link', target: '/etc' },
      {
        kind: 'device',
        path: '/trap/absolute/dev',
        type: 'fifo',
        major: 0,
        minor: 0,
        mode: 0o600,
        uid: 0,
        gid: 0,
      },
    ];
    for (const operation of sneaky) {
      const plan = await fixture.plan({ argv: ['true'], inside: [operation] });
      if ((await fixture.client.launch(plan)).ok) await fixture.shim(plan.id).wait();
    }
    for (const name of ['file', 'link', 'dev']) expect(existsSync(join(outside, name))).to.equal(false);
  });

  it('gives files that are in memory alone, and that nobody can write', async () => {
    const file = { kind: 'memory-file', uid: 7, gid: 8 } as const;
    const { id, output } = await fixture.runToEnd({
      argv: [
        'sh',
        '-c',
        'cat /run/secrets/one /etc/two; stat -c "%a %u %g" /etc/two; grep -c " tmpfs " /proc/mounts; (echo x > /etc/two) 2>&1',
      ],
      inside: [
        { ...file, path: '/run/secrets/one', data: Buffer.from('1\n'), mode: 0o444 },
        { ...file, path: '/etc/two', data: Buffer.from('2\n'), mode: 0o640 },
      ],
    });
    const lines = output.split('\n');
    expect(lines.slice(0, 3)).to.deep.equal(['1', '2', '640 7 8']);
    expect(Number(lines[3])).to.be.greaterThan(1);
    expect(output).to.contain('Read-only file system');
    // What stays on the disk is the place that was mounted on.
    expect(await readFile(join(fixture.path(id, 'upper'), 'etc/two'), 'utf8')).to.equal('');
  });

  it('binds folders and files, read-only where asked', async () => {
    const source = join(fixture.folder, 'shared');
    await mkdir(source);
    await writeFile(join(source, 'file'), 'from the node\n');
    const bind = { kind: 'bind', recursive: true, propagation: 'rprivate' } as const;
    const { output } = await fixture.runToEnd({
      argv: [
        'sh',
        '-c',
        'cat /data/file /new/place/file; echo more > /data/written; echo no > /ro/x || echo refused',
      ],
      inside: [
        { ...bind, source, target: '/data', flags: [] },
        { ...bind, source, target: '/ro', flags: ['read-only', 'nosuid'] },
        { ...bind, source: join(source, 'file'), target: '/new/place/file', flags: ['read-only'] },
      ],
    });
    expect(output).to.equal('from the node\nfrom the node\nrefused\n');
    expect(await readFile(join(source, 'written'), 'utf8')).to.equal('more\n');
    const plan = await fixture.plan({
      argv: ['true'],
      inside: [{ ...bind, source: '/no/such/source', target: '/data', flags: [] }],
    });
    expect(await fixture.client.launch(plan)).to.deep.include({
      message: 'bind source path /no/such/source: no such file or directory',
    });
  });

  it('drops ids, capabilities and privileges as the plan says', async () => {
    const kill = 1n << 5n;
    const { output } = await fixture.runToEnd({
      argv: [
        'sh',
        '-c',
        'id; grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; ulimit -n; echo hi > /dev/stdout',
      ],
      after: [
        { kind: 'rlimit', name: 'nofile', soft: 512n, hard: 1024n },
        { kind: 'user', uid: 1000, gid: 1001, groups: [7, 8] },
        { kind: 'capabilities', bounding: kill | 1n, effective: 0n, permitted: 0n, inheritable: 0n },
        { kind: 'no-new-privileges' },
        { kind: 'seccomp', program: Buffer.from('06000000' + '0000ff7f', 'hex') },
      ],
    });
    expect(output.replaceAll('\t', ' ').trim().split('\n')).to.deep.equal([
      'uid=1000 gid=1001 groups=7,8',
      'CapInh: 0000000000000000',
      'CapPrm: 0000000000000000',
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000021',
      'CapAmb: 0000000000000000',
      'NoNewPrivs: 1',
      'Seccomp: 2',
      '512',
      'hi',
    ]);
  });

  it('loads seccomp without no_new_privs and still leaves no right behind', async () => {
    const chown = 1n;
    const { output } = await fixture.runToEnd({
      argv: ['grep', '-E', '^(CapPrm|CapEff|NoNewPrivs|Seccomp:)', '/proc/self/status'],
      after: [
        { kind: 'user', uid: 0, gid: 0, groups: [] },
        { kind: 'capabilities', bounding: chown, effective: chown, permitted: chown, inheritable: 0n },
        { kind: 'seccomp', program: Buffer.from('06000000' + '0000ff7f', 'hex') },
      ],
    });
    expect(output.replaceAll('\t', ' ').trim().split('\n')).to.deep.equal([
      'CapPrm: 0000000000000001',
      'CapEff: 0000000000000001',
      'NoNewPrivs: 0',
      'Seccomp: 2',
    ]);
  });

  it('waits before the exec when it is held, and starts when told', async () => {
    const { id, shim } = await fixture.launch({ argv: ['echo', 'now'], held: true });
    expect(await shim.status()).to.deep.include({ phase: 'held' });
    expect(await fixture.log(id)).to.deep.equal([]);
    const attached = await shim.attach({ stdin: false });
    let seen = '';
    attached.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    expect(await shim.start()).to.deep.include({ ok: true });
    await attached.ended;
    expect(seen).to.equal('now\n');
    expect(await shim.wait()).to.deep.include({ exitCode: 0 });
  });

  it('reports a program that a held container cannot run', async () => {
    const { shim } = await fixture.launch({ argv: ['nonsense'], held: true });
    expect(await shim.start()).to.deep.include({ ok: false, exitCode: 127 });
    expect(await shim.wait()).to.deep.include({ exitCode: 127 });
  });

  it('runs an init that reaps, forwards signals and ends as the program does', async () => {
    const { id, shim } = await fixture.launch({
      argv: ['sh', '-c', 'trap "echo term; exit 5" TERM; echo $$; while true; do sleep 0.05; done'],
      after: [{ kind: 'init' }],
    });
    await eventually('the program runs', async () => (await fixture.log(id)).length > 0);
    await shim.signal(sigterm);
    expect(await shim.wait()).to.deep.include({ exitCode: 5 });
    expect((await fixture.log(id)).map((line) => line.log)).to.deep.equal(['2\n', 'term\n']);
  });

  it('removes what a container has left, whatever that is, and nothing else', async () => {
    const outside = fixture.path('left', 'outside');
    const tree = fixture.path('left', 'tree');
    await mkdir(join(outside, 'kept'), { recursive: true });
    await mkdir(join(tree, 'moved-0/moved-1'), { recursive: true });
    await writeFile(join(tree, 'moved-0/moved-1/moved-2'), 'x');
    await symlink(outside, join(tree, 'moved-0/link'));
    // Deeper than any path may be long, and closed to everybody.
    const name = 'x'.repeat(200);
    await run('sh', ['-c', `for i in $(seq 30); do mkdir -m 0 ${name}; cd -P ${name}; done`], { cwd: tree });
    await fixture.client.remove(tree);
    expect(existsSync(tree)).to.equal(false);
    expect(existsSync(join(outside, 'kept'))).to.equal(true);
    // Again, when there is nothing.
    await fixture.client.remove(tree);
    await fixture.client.remove(outside);
    const file = fixture.path('left', 'a-file');
    await writeFile(file, 'x');
    const message = await fixture.client.remove(file).catch((error: Error) => error.message);
    expect(message).to.equal(`remove ${file}: open ${file}: not a directory`);
  });

  it('launches many at once', async () => {
    const ids = await Promise.all(
      Array.from({ length: 20 }, async (_, index) =>
        fixture.runToEnd({ argv: ['sh', '-c', `echo ${index}`] }),
      ),
    );
    expect(ids.map((result) => result.output)).to.deep.equal(Array.from({ length: 20 }, (_, i) => `${i}\n`));
  });

  (hasV1 ? describe : describe.skip)('with cgroups v1', () => {
    it('keeps joins quick, by a hierarchy of its own', async function () {
      // The kernel's option for that came with Linux 6.0.
      if (Number.parseInt(release(), 10) < 6) this.skip();
      await fixture.client.connect();
      expect(await readFile('/proc/self/cgroup', 'utf8')).to.match(/^\d+:name=enxame:/m);
    });

    it('ends a container that outgrows its memory, and says so', async () => {
      const folder = `/sys/fs/cgroup/memory/${fixture.cgroupName}/oom`;
      const { shim } = await fixture.launch({
        argv: ['sh', '-c', 'cat /dev/zero | head -c 200m | tail -c 150m > /dev/null; sleep 0; exit 3'],
        keeper: [
          { kind: 'cgroup-directory', path: folder },
          {
            kind: 'cgroup-write',
            path: join(folder, 'memory.limit_in_bytes'),
            value: '20971520',
            optional: false,
          },
          { kind: 'cgroup-write', path: join(folder, 'memory.no.such.file'), value: '1', optional: true },
          { kind: 'cgroup-join', path: folder, version: 1 },
          { kind: 'oom-file', path: join(folder, 'memory.oom_control') },
        ],
      });
      expect((await shim.wait()).oomKilled).to.equal(true);
    });

    it('holds the limit of processes, and puts execs into the same cgroup', async () => {
      const folder = `/sys/fs/cgroup/pids/${fixture.cgroupName}/pids`;
      const join1 = { kind: 'cgroup-join', path: folder, version: 1 } as const;
      const { id, shim } = await fixture.launch({
        argv: ['sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo done; sleep 100'],
        keeper: [
          { kind: 'cgroup-directory', path: folder },
          { kind: 'cgroup-write', path: join(folder, 'pids.max'), value: '5', optional: false },
          join1,
        ],
      });
      /* busybox's shell ends when it cannot fork. */
      await shim.wait();
      expect((await fixture.log(id)).map((line) => line.log).join('')).to.include("can't fork");
      const second = await fixture.launch({
        argv: ['sleep', '100'],
        keeper: [{ kind: 'cgroup-directory', path: folder }, join1],
      });
      const outcome = await second.shim.exec(fixture.execPlan(['sleep', '100'], { operations: [join1] }));
      if (!outcome.ok) throw new Error(outcome.message);
      const pids = (await readFile(join(folder, 'cgroup.procs'), 'utf8')).trim().split('\n').map(Number);
      expect(pids).to.have.members([second.pid, outcome.session.pid]);
      await second.shim.signal(sigkill);
      expect(await outcome.session.exited).to.deep.equal({ exitCode: 137 });
    });
  });

  (unifiedCgroupRoot === undefined ? describe.skip : describe)('with cgroup v2', () => {
    it('is born in its cgroup', async () => {
      const folder = join(unifiedCgroupRoot ?? '', fixture.cgroupName, 'born');
      const { pid, shim } = await fixture.launch({
        argv: ['sleep', '100'],
        keeper: [
          { kind: 'cgroup-directory', path: folder },
          { kind: 'cgroup-join', path: folder, version: 2 },
        ],
      });
      expect((await readFile(join(folder, 'cgroup.procs'), 'utf8')).trim()).to.equal(String(pid));
      await writeFile(join(folder, 'cgroup.kill'), '1');
      expect(await shim.wait()).to.deep.include({ exitCode: 137 });
    });
  });
});
