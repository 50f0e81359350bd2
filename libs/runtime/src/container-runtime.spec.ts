import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isEnxameError } from '#libs/model';
import { createShimClient } from './launcher/shim-client.js';
import { eventually, RuntimeFixture, systemClock } from './runtime-fixture.js';
import { createVolumeStore } from './volumes/volume-store.js';

const run = promisify(execFile);

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return isEnxameError(error) ? error.code : String(error);
  }
  return 'no error';
}

describe('container runtime on the real kernel', function () {
  this.timeout(30_000);
  let fixture: RuntimeFixture;

  before(async () => {
    fixture = await RuntimeFixture.make();
  });
  afterEach(async () => {
    await fixture.removeAll();
    expect(fixture.errors.splice(0)).to.deep.equal([]);
  });
  after(() => fixture.end());

  it('runs a program to its end, with its output, exit code and events', async () => {
    const config = fixture.shell('echo out; echo err >&2; exit 7');
    expect(await fixture.result(config)).to.deep.equal({ exitCode: 7, output: 'out\nerr\n' });
    const events = fixture.events.filter(({ id }) => id === config.id).map(({ type }) => type);
    expect(events).to.deep.equal(['create', 'start', 'die']);
    expect(fixture.runtime.get(config.id)).to.deep.include({ phase: 'exited', pid: 0 });
  });

  it('gives the default sandbox', async () => {
    const { output } = await fixture.result(
      fixture.shell(`
        hostname; cat /etc/hostname; id; echo $HOME $PATH; pwd
        grep Cap /proc/self/status; grep Seccomp: /proc/self/status
        ls /dev | tr '\\n' ' '; echo
        touch /sys/x 2>&1; touch /proc/sys/x 2>&1; cat /proc/kcore | wc -c; ls /proc/scsi /sys/firmware | wc -l
        mount -t tmpfs x /tmp 2>&1; unshare -U true 2>&1; mknod /tmp/sda b 8 0 && head -c1 /tmp/sda 2>&1
        ls /sys/fs/cgroup | head -1 >/dev/null && touch /sys/fs/cgroup/x 2>&1
      `),
    );
    const lines = output.split('\n');
    expect(lines.slice(0, 5)).to.deep.equal([
      'box',
      'box',
      'uid=0(root) gid=0(root) groups=0(root)',
      '/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      '/',
    ]);
    expect(output)
      .to.match(/CapEff:\s+00000000a80425fb/)
      .and.match(/CapBnd:\s+00000000a80425fb/);
    expect(output)
      .to.match(/CapInh:\s+0000000000000000/)
      .and.match(/Seccomp:\s+2/);
    expect(output).to.match(
      /core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero/,
    );
    expect(output).to.contain('/sys/x: Read-only').and.contain('/proc/sys/x: ');
    expect(output).to.contain('mount: permission denied').and.contain('unshare');
    expect(output).to.contain('/tmp/sda: Operation not permitted');
  });

  it('runs as users of the image, by name, number and group', async () => {
    const id = (user: string): Promise<{ output: string }> =>
      fixture.result(fixture.shell('id; echo $HOME', { user }));
    expect((await id('ana')).output).to.equal(
      'uid=1000(ana) gid=1000(ana) groups=44(video),1000(ana)\n/home/ana\n',
    );
    expect((await id('1234:video')).output).to.equal('uid=1234 gid=44(video) groups=44(video)\n/\n');
    const config = fixture.shell('true', { user: 'nobody-there' });
    await fixture.runtime.create(config);
    expect(await codeOf(fixture.runtime.run(config.id))).to.equal('failed-precondition');
    expect(fixture.runtime.get(config.id)?.exit?.error).to.contain('unable to find user nobody-there');
  });

  it('says what could not be executed, with a shell exit code', async () => {
    const config = fixture.config({ argv: ['/no/such/program'] });
    await fixture.runtime.create(config);
    expect(await codeOf(fixture.runtime.run(config.id))).to.equal('failed-precondition');
    expect(fixture.runtime.get(config.id)).to.deep.include({ phase: 'exited' });
    expect(fixture.runtime.get(config.id)?.exit?.exitCode).to.equal(127);
  });

  it('keeps to limits of memory, processes and cpu, and reports being killed for memory', async () => {
    const config = fixture.shell('head -c 60m /dev/zero | tail | wc -c; echo alive', {
      resources: { memoryBytes: 16 << 20, pids: 20, nanoCpus: 500_000_000 },
    });
    const greedy = fixture.config({
      argv: ['/bin/sh', '-c', 'x=a; while true; do x=$x$x; done'],
      resources: { memoryBytes: 8 << 20, memorySwapBytes: 8 << 20 },
    });
    const id = await fixture.start(greedy);
    const exit = await fixture.runtime.wait(id);
    expect(exit).to.deep.include({ oomKilled: true, exitCode: 137 });
    expect(fixture.events.filter((event) => event.id === id).map(({ type }) => type)).to.include('oom');
    const sleeper = await fixture.start({ ...config, argv: ['/bin/sleep', '60'] });
    const stats = await fixture.runtime.stats(sleeper);
    expect(stats).to.deep.include({ memoryLimitBytes: 16 << 20, pids: 1 });
    const sample = fixture.runtime.sample(sleeper);
    expect(sample.cpuNanoseconds).to.be.at.least(stats.cpuNanoseconds);
    expect(sample).to.deep.include({ pids: 1, network: stats.network });
    expect(sample.memoryBytes)
      .to.be.greaterThan(0)
      .and.at.most(16 << 20);
    expect(await fixture.runtime.pids(sleeper)).to.deep.equal([fixture.runtime.get(sleeper)?.pid]);
  });

  it('stops with the signal, then with force, and removes without a trace', async () => {
    const polite = await fixture.start(
      fixture.shell('trap "exit 3" TERM; echo up; while true; do sleep 0.01; done'),
    );
    await eventually('output', async () => (await fixture.output(polite)) === 'up\n');
    expect(await codeOf(fixture.runtime.remove(polite))).to.equal('conflict');
    expect(await fixture.runtime.stop(polite)).to.deep.include({ exitCode: 3 });
    const stubborn = await fixture.start(
      fixture.shell('trap "" TERM; echo up; while true; do sleep 0.01; done'),
    );
    await eventually('output', async () => (await fixture.output(stubborn)) === 'up\n');
    expect(await fixture.runtime.stop(stubborn, { graceMs: 20 })).to.deep.include({
      exitCode: 137,
      signal: 9,
    });
    await fixture.runtime.remove(stubborn);
    expect(existsSync(join(fixture.folder, 'state/containers', stubborn))).to.equal(false);
    expect(await codeOf(fixture.runtime.kill(polite, 'KILL'))).to.equal('conflict');
  });

  it('executes more processes, with and without a terminal', async () => {
    const id = await fixture.start(fixture.shell('sleep 60', { env: ['A=1'] }));
    expect(await fixture.exec(id, ['/bin/sh', '-c', 'echo $A $B; exit 4'], { env: ['B=2'] })).to.equal(
      '1 2\n[4]',
    );
    expect(await fixture.exec(id, ['/bin/id', '-u'], { user: 'ana' })).to.equal('1000\n[0]');
    expect(
      await fixture.exec(id, ['/bin/sh', '-c', 'tty; stty size'], {
        tty: true,
        size: { rows: 5, columns: 9 },
      }),
    ).to.equal('/dev/pts/0\r\n5 9\r\n[0]');
    const session = await fixture.runtime.exec(id, {
      argv: ['/bin/cat'],
      env: [],
      workdir: '/tmp',
      user: '',
      tty: false,
      attachStdin: true,
      privileged: false,
    });
    session.stdin.end('through and through');
    const chunks: Buffer[] = [];
    session.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    expect(await session.exited).to.deep.equal({ exitCode: 0 });
    expect(Buffer.concat(chunks).toString()).to.equal('through and through');
    expect(await codeOf(fixture.exec(id, ['/nope']))).to.equal('failed-precondition');
  });

  it('shows whoever attached before the start the first byte', async () => {
    const config = fixture.shell('echo first; cat', {
      openStdin: true,
      inspect: { config: { StdinOnce: true } },
    });
    await fixture.runtime.create(config);
    const attaching = fixture.runtime.attach(config.id, { stdin: true });
    await fixture.runtime.run(config.id);
    const attached = await attaching;
    const chunks: Buffer[] = [];
    attached.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    attached.stdin.end('second\n');
    await attached.ended;
    expect(Buffer.concat(chunks).toString()).to.equal('first\nsecond\n');
  });

  it('mounts binds, volumes filled from the image, and memory', async () => {
    const source = join(fixture.folder, 'bound');
    await mkdir(source);
    await writeFile(join(source, 'here'), 'bound\n');
    const volumes = createVolumeStore({
      stateDir: join(fixture.folder, 'state'),
      nowMs: () => systemClock.nowMs(),
      usedBy: () => [],
    });
    await volumes.start();
    const volume = await volumes.create({ name: 'data' });
    const { output } = await fixture.result(
      fixture.shell(
        'cat /bound/here /data/file /data/inner/deep; touch /bound/x 2>&1; echo v > /data/new; touch /mem/x; df -m /mem | tail -1 | tr -s " " | cut -d" " -f2',
        {
          mounts: [
            { type: 'bind', source, target: '/bound', readOnly: true, recursive: true },
            {
              type: 'volume',
              name: 'data',
              source: volume.source,
              target: '/data',
              readOnly: false,
              copyUp: true,
            },
            { type: 'tmpfs', target: '/mem', bytesMax: 2 << 20, readOnly: false },
          ],
        },
      ),
    );
    expect(output).to.equal('bound\nfrom the image\ndeep\ntouch: /bound/x: Read-only file system\n2\n');
    expect((await readdir(volume.source)).sort()).to.deep.equal(['file', 'inner', 'new']);
    await volumes.remove('data');
    expect(existsSync(volume.source)).to.equal(false);
  });

  it('checks health and says when it changes', async () => {
    const id = await fixture.start(
      fixture.shell('touch /ok; sleep 60', {
        health: {
          test: ['CMD-SHELL', 'test -e /ok && echo fine'],
          intervalMs: 30,
          timeoutMs: 2_000,
          startPeriodMs: 0,
          startIntervalMs: 30,
          retries: 2,
        },
      }),
    );
    const status = (): string | undefined => fixture.runtime.get(id)?.health.status;
    await eventually('healthy', async () => status() === 'healthy');
    expect(fixture.runtime.get(id)?.health.log[0]).to.deep.include({ exitCode: 0, output: 'fine\n' });
    await fixture.exec(id, ['/bin/rm', '/ok']);
    await eventually('unhealthy', async () => status() === 'unhealthy');
    expect(fixture.events.filter((event) => event.id === id && event.type === 'health')).to.have.length(2);
  });

  it('takes over running containers after its agent was killed, and tells of those that ended', async () => {
    const running = await fixture.start(fixture.shell('echo before; sleep 60'));
    const ending = await fixture.start(fixture.shell('echo x; read line', { openStdin: true }));
    const idle = fixture.shell('true');
    await fixture.runtime.create(idle);
    const { pid, startedAtMs } = fixture.runtime.get(running) ?? {};
    const endingPid = fixture.runtime.get(ending)?.pid ?? 0;
    await fixture.runtime.close();
    process.kill(endingPid, 'SIGKILL');
    await eventually('the record of the exit', async () =>
      existsSync(join(fixture.folder, 'state/containers', ending, 'exit.json')),
    );
    fixture.events.length = 0;
    await fixture.restart();
    expect(fixture.runtime.get(running)).to.deep.include({ phase: 'running', pid, startedAtMs });
    expect(fixture.runtime.get(ending)?.exit).to.deep.include({ exitCode: 137 });
    expect(fixture.runtime.get(idle.id)).to.deep.include({ phase: 'created' });
    expect(fixture.events.map(({ type, id }) => [type, id])).to.deep.equal([['die', ending]]);
    expect(await fixture.output(running)).to.equal('before\n');
    expect(await fixture.exec(running, ['/bin/echo', 'still here'])).to.equal('still here\n[0]');
    expect(await codeOf(fixture.runtime.create({ ...fixture.shell('true'), name: idle.name }))).to.equal(
      'conflict',
    );
  });

  it('knows a container whose keeper was killed to be dead', async () => {
    const id = await fixture.start(fixture.shell('sleep 60'));
    const pid = fixture.runtime.get(id)?.pid ?? 0;
    const parent = Number(/^PPid:\s+(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
    process.kill(parent, 'SIGKILL');
    expect(await fixture.runtime.wait(id)).to.deep.include({ exitCode: 137 });
  });

  it('runs again after an end, with what it wrote', async () => {
    const id = await fixture.start(fixture.shell('echo run >> /count; cat /count'));
    await fixture.runtime.wait(id);
    await fixture.runtime.run(id);
    await eventually('the second end', async () => fixture.runtime.get(id)?.phase === 'exited');
    expect(await fixture.output(id)).to.equal('run\nrun\nrun\n');
  });

  it('gives a terminal that can be resized', async () => {
    const config = fixture.shell('trap "stty size" WINCH; echo ready; while true; do sleep 0.01; done', {
      tty: true,
    });
    await fixture.runtime.create(config);
    const attaching = fixture.runtime.attach(config.id, { stdin: true });
    await fixture.runtime.run(config.id);
    const attached = await attaching;
    await once(attached.stdout, 'data');
    await fixture.runtime.resize(config.id, { rows: 11, columns: 22 });
    const [size] = (await once(attached.stdout, 'data')) as [Buffer];
    expect(size.toString()).to.contain('11 22');
    attached.close();
  });

  it('makes everything ready meanwhile, and begins the program when it may', async () => {
    let begin: () => void = () => undefined;
    const until = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const config = fixture.shell('sleep 60');
    await fixture.runtime.create(config);
    const running = fixture.runtime.run(config.id, { until });
    const shim = createShimClient({
      socketPath: join(fixture.folder, 'run/shim', `${config.id.slice(0, 32)}.sock`),
      exitPath: join(fixture.folder, 'state/containers', config.id, 'exit.json'),
    });
    await eventually('a process that waits', async () => (await shim.status()).phase === 'held');
    expect(fixture.runtime.get(config.id)).to.deep.include({ phase: 'created' });
    begin();
    expect(await running).to.deep.include({ phase: 'running' });
    expect(await shim.status()).to.deep.include({ phase: 'running' });
  });

  it('starts many at once', async () => {
    const configs = Array.from({ length: 20 }, () => fixture.shell('echo hello; sleep 60'));
    await Promise.all(configs.map((config) => fixture.start(config)));
    expect(fixture.runtime.list().filter(({ phase }) => phase === 'running')).to.have.length(20);
    await Promise.all(configs.map(({ id }) => fixture.runtime.stop(id, { graceMs: 0 })));
    await Promise.all(configs.map(({ id }) => fixture.runtime.remove(id)));
    expect(fixture.runtime.list()).to.have.length(0);
  });

  it('tells of an end also when the disk is full, and refuses what it cannot write down', async () => {
    const state = join(fixture.folder, 'state/containers');
    const id = await fixture.start(fixture.shell('sleep 60'));
    const idle = fixture.shell('true');
    await fixture.runtime.create(idle);
    // A mount of their own for the two containers, as small as they are.
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', join(state, idle.id)]);
    try {
      await writeFile(join(state, idle.id, 'filler'), Buffer.alloc(64 << 10)).catch(() => undefined);
      expect(await codeOf(fixture.runtime.run(idle.id))).to.equal('resource-exhausted');
    } finally {
      await run('umount', [join(state, idle.id)]);
    }
    expect(fixture.runtime.get(idle.id)).to.deep.include({ phase: 'created' });
    await fixture.runtime.kill(id, 'KILL');
    expect(await fixture.runtime.wait(id)).to.deep.include({ exitCode: 137 });
    await fixture.runtime.run(idle.id);
    expect(await fixture.runtime.wait(idle.id)).to.deep.include({ exitCode: 0 });
  });

  it('knows an exit record that cannot be read for an end', async () => {
    const id = await fixture.start(fixture.shell('sleep 60'));
    const pid = fixture.runtime.get(id)?.pid ?? 0;
    const file = join(fixture.folder, 'state/containers', id, 'exit.json');
    await fixture.runtime.close();
    process.kill(pid, 'SIGKILL');
    await eventually('the record of the exit', async () => existsSync(file));
    await writeFile(file, 'not JSON');
    await fixture.restart();
    expect(fixture.runtime.get(id)).to.deep.include({ phase: 'exited' });
    expect(fixture.runtime.get(id)?.exit?.error).to.contain('exit record');
  });
});
