/**
 * The lifecycle of the OCI runtime specification, rule by rule, as programs that drive runtimes meet it. Every case
 * runs on enxame-runtime and, where it is there, on crun: what both do is what the specification says.
 */
import { expect } from 'chai';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bench, runtimes, type State } from './conformance-fixture.js';

const namespaceNames = { pid: 'pid', ipc: 'ipc', uts: 'uts', network: 'net', mount: 'mnt' } as const;

for (const runtime of runtimes) {
  describe(`OCI runtime ${runtime.name}`, function () {
    this.timeout(60_000);
    let bench: Bench;

    before(async () => {
      bench = await Bench.make(runtime);
    });
    after(() => bench.close());

    it('create makes the container and runs nothing; start runs its program; the state says so', async () => {
      const bundle = await bench.bundle({
        process: { args: ['sh', '-c', 'echo ran; sleep 100'] },
        annotations: { 'org.example.key': 'a "value"' },
      });
      const pidFile = join(bundle, 'pid');
      const { id, outcome } = await bench.create(bundle, ['--pid-file', pidFile]);
      expect(outcome).to.deep.equal({ code: 0, stdout: '', stderr: '' });
      const pid = Number(await readFile(pidFile, 'utf8'));
      const created = await bench.stateOf(id);
      expect(created.status).to.equal('created');
      expect(created.pid).to.equal(pid);
      expect(created.id).to.equal(id);
      expect(created.bundle).to.equal(bundle);
      expect(created.ociVersion).to.match(/^1\.\d+\.\d+/);
      expect(created.annotations?.['org.example.key']).to.equal('a "value"');
      expect(await bench.output(bundle)).to.equal('');
      expect((await bench.call('start', id)).code).to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('running');
      await bench.call('kill', id, 'KILL');
      await bench.until(id, 'stopped');
      expect(await bench.output(bundle)).to.equal('ran\n');
      expect((await bench.call('delete', id)).code).to.equal(0);
      expect((await bench.call('state', id)).code).not.to.equal(0);
    });

    it('refuses an id that is in use, and leaves its container alone', async () => {
      const { id, bundle } = await bench.running();
      expect((await bench.call('create', '--bundle', bundle, id)).code).not.to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('running');
    });

    it('refuses a start that is not of a created container', async () => {
      const { id } = await bench.running();
      expect((await bench.call('start', id)).code).not.to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('running');
      await bench.call('kill', id, 'KILL');
      await bench.until(id, 'stopped');
      expect((await bench.call('start', id)).code).not.to.equal(0);
    });

    it('kills the created and the running, never the stopped', async () => {
      const { id } = await bench.create(await bench.bundle());
      expect((await bench.call('kill', id, 'SIGKILL')).code).to.equal(0);
      await bench.until(id, 'stopped');
      expect((await bench.call('kill', id, 'KILL')).code).not.to.equal(0);
      expect((await bench.call('kill', 'nobody', 'KILL')).code).not.to.equal(0);
    });

    it('sends the signal that is asked for', async () => {
      const script = 'trap "echo usr1; exit 0" USR1; echo ready; while :; do sleep 0.05; done';
      const { id, bundle } = await bench.running({ process: { args: ['sh', '-c', script] } });
      while (!(await bench.output(bundle)).includes('ready')) await bench.stateOf(id);
      await bench.call('kill', id, '10');
      await bench.until(id, 'stopped');
      expect(await bench.output(bundle)).to.equal('ready\nusr1\n');
    });

    it('deletes what has stopped; what has not only by force', async () => {
      const { id } = await bench.running();
      expect((await bench.call('delete', id)).code).not.to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('running');
      const { pid } = await bench.stateOf(id);
      expect((await bench.call('delete', '--force', id)).code).to.equal(0);
      expect(existsSync(`/proc/${pid}/root/bin`)).to.equal(false);
      expect((await bench.call('delete', id)).code).not.to.equal(0);
    });

    it('leaves no cgroup behind', async () => {
      const { id, bundle } = await bench.running();
      const { linux } = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as {
        linux: { cgroupsPath: string };
      };
      const folder = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'].find((path) =>
        existsSync(join(path, 'cgroup.procs')),
      );
      expect(existsSync(`${folder}${linux.cgroupsPath}`)).to.equal(true);
      await bench.call('delete', '--force', id);
      expect(existsSync(`${folder}${linux.cgroupsPath}`)).to.equal(false);
    });

    it('runs hooks in order, each where it belongs, and tells them the state', async () => {
      const bundle = await bench.bundle();
      const log = join(bundle, 'log');
      const hook = (name: string) => [
        {
          path: '/bin/sh',
          args: ['sh', '-c', `echo "$NAME $(cat) $(readlink /proc/self/ns/net)" >> ${log}`],
          env: [`NAME=${name}`, 'PATH=/bin:/usr/bin'],
        },
      ];
      const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8'));
      config.hooks = {
        ...Object.fromEntries(
          ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'].map((name) => [
            name,
            hook(name),
          ]),
        ),
        startContainer: [{ path: '/bin/sh', args: ['sh', '-c', 'cat > /dev/hook'], env: ['PATH=/bin'] }],
      };
      await writeFile(join(bundle, 'config.json'), JSON.stringify(config));
      const { id, outcome } = await bench.create(bundle);
      expect(outcome.code, outcome.stderr).to.equal(0);
      const { pid } = await bench.stateOf(id);
      const theirs = readlinkSync(`/proc/${pid}/ns/net`);
      const ours = readlinkSync('/proc/self/ns/net');
      await bench.call('start', id);
      const inside = await bench.call('exec', id, 'cat', '/dev/hook');
      // crun has a word of its own for it, as the specification lets it.
      expect((JSON.parse(inside.stdout) as State).status).to.be.oneOf(['created', 'starting']);
      await bench.call('delete', '--force', id);
      const lines = readFileSync(log, 'utf8').trim().split('\n');
      const seen = lines.map((line) => {
        const [, name = '', state = '{}', place = ''] = /^(\w+) (\{.*\}) (\S+)$/s.exec(line) ?? [];
        const told = JSON.parse(state) as State;
        expect(told.id).to.equal(id);
        if (/Runtime|pre|poststart/.test(name)) expect(told.pid, name).to.equal(pid);
        return `${name} ${place === theirs ? 'container' : place === ours ? 'runtime' : place}`;
      });
      expect(seen).to.deep.equal([
        'prestart runtime',
        'createRuntime runtime',
        'createContainer container',
        'poststart runtime',
        'poststop runtime',
      ]);
    });

    it('gives a container up whose hook fails before it is created', async () => {
      const hooks = { createRuntime: [{ path: '/bin/false' }] };
      const { id, outcome } = await bench.create(await bench.bundle({ hooks }));
      expect(outcome.code).not.to.equal(0);
      expect((await bench.call('state', id)).code).not.to.equal(0);
    });

    it('kills a hook that takes longer than it may', async () => {
      const hooks = { prestart: [{ path: '/bin/sleep', args: ['sleep', '100'], timeout: 1 }] };
      const { outcome } = await bench.create(await bench.bundle({ hooks }));
      expect(outcome.code).not.to.equal(0);
    });

    it('makes new namespaces, joins those with a path, and keeps the others', async () => {
      const { id } = await bench.running({
        hostname: '',
        linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }, { type: 'ipc' }, { type: 'network' }] },
      });
      const { pid } = await bench.stateOf(id);
      const namespaceOf = (process: number | string, name: string): string =>
        readlinkSync(`/proc/${process}/ns/${name}`);
      for (const name of ['mnt', 'pid', 'ipc', 'net'])
        expect(namespaceOf(pid, name)).not.to.equal(namespaceOf('self', name));
      expect(namespaceOf(pid, 'uts')).to.equal(namespaceOf('self', 'uts'));
      const joining = await bench.running({
        linux: {
          namespaces: [
            { type: 'mount' },
            { type: 'uts' },
            ...(['pid', 'ipc', 'network'] as const).map((type) => ({
              type,
              path: `/proc/${pid}/ns/${namespaceNames[type]}`,
            })),
          ],
        },
      });
      const other = await bench.stateOf(joining.id);
      for (const name of ['pid', 'ipc', 'net'])
        expect(namespaceOf(other.pid, name)).to.equal(namespaceOf(pid, name));
      expect(namespaceOf(other.pid, 'mnt')).not.to.equal(namespaceOf(pid, 'mnt'));
      await bench.call('delete', '--force', joining.id);
    });

    it('gives the program its user, groups, umask, limits, rights, environment and folder', async () => {
      const script =
        'id -u; id -g; id -G; umask; ulimit -n; grep -E "^(CapBnd|CapEff|CapAmb|NoNewPrivs)" /proc/self/status; echo $A; pwd; cat /proc/self/oom_score_adj; hostname';
      const text = await bench.print(script, {
        process: {
          args: ['sh', '-c', script],
          user: { uid: 10, gid: 11, umask: 0o27, additionalGids: [12, 13] },
          rlimits: [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 200 }],
          capabilities: {
            bounding: ['CAP_KILL', 'CAP_CHOWN'],
            permitted: ['CAP_KILL'],
            effective: ['CAP_KILL'],
            inheritable: ['CAP_KILL'],
            ambient: ['CAP_KILL'],
          },
          noNewPrivileges: true,
          env: ['PATH=/bin', 'A=b c'],
          cwd: '/made/here',
          oomScoreAdj: 500,
        },
      });
      expect(text.split('\n')).to.deep.equal([
        '10',
        '11',
        '11 12 13',
        '0027',
        '100',
        'CapEff:\t0000000000000020',
        'CapBnd:\t0000000000000021',
        'CapAmb:\t0000000000000020',
        'NoNewPrivs:\t1',
        'b c',
        '/made/here',
        '500',
        'conformance',
      ]);
    });

    it('has the default devices, those asked for, and the links every program counts on', async () => {
      const script =
        'for d in null zero full random urandom tty fuse; do stat -c "%n %t:%T %a" /dev/$d; done; readlink /dev/fd; readlink /dev/stdout; test -e /dev/ptmx && echo ptmx';
      const text = await bench.print(script, {
        linux: {
          namespaces: [{ type: 'mount' }, { type: 'uts' }],
          devices: [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 0o640, uid: 0, gid: 0 }],
        },
      });
      expect(text.split('\n')).to.deep.equal([
        '/dev/null 1:3 666',
        '/dev/zero 1:5 666',
        '/dev/full 1:7 666',
        '/dev/random 1:8 666',
        '/dev/urandom 1:9 666',
        '/dev/tty 5:0 666',
        '/dev/fuse a:e5 640',
        '/proc/self/fd',
        '/proc/self/fd/1',
        'ptmx',
      ]);
    });

    it('mounts in order with the options asked for, below a root that may be read-only', async () => {
      const source = join(bench.folder, `source-${runtime.name}`);
      await mkdir(source);
      await writeFile(join(source, 'file'), 'outside\n');
      const config = JSON.parse(await readFile(join(await bench.bundle(), 'config.json'), 'utf8')) as {
        mounts: unknown[];
      };
      const script =
        'cat /data/file; echo x 2>/dev/null > /data/file || echo ro; touch /x 2>/dev/null || echo root-ro; cat /data/inner/only; grep -E " /(data|data/inner) " /proc/self/mountinfo | cut -d" " -f6; cat /proc/keys | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/msgmax || echo sys-ro';
      const text = await bench.print(`echo inner > /data/inner/only; ${script}`, {
        root: { readonly: true },
        mounts: [
          ...config.mounts,
          { destination: '/data', type: 'none', source, options: ['bind', 'ro', 'nosuid', 'nodev'] },
          { destination: '/proc/tty', type: 'tmpfs', source: 'tmpfs', options: ['noexec', 'size=64k'] },
        ],
        linux: {
          namespaces: Object.keys(namespaceNames).map((type) => ({ type })),
          maskedPaths: ['/proc/keys'],
          readonlyPaths: ['/proc/sys'],
        },
      });
      expect(text).to.include('outside');
      for (const word of ['\nro\n', 'root-ro', 'ro,nosuid,nodev', '\n0\n', 'sys-ro'])
        expect(text).to.include(word);
    });

    it('sets sysctls of its namespaces and of no other', async () => {
      const text = await bench.print('cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward', {
        linux: {
          namespaces: Object.keys(namespaceNames).map((type) => ({ type })),
          sysctl: { 'kernel.msgmax': '4711', 'net.ipv4.ip_forward': '1' },
        },
      });
      expect(text).to.equal('4711\n1');
      const { outcome } = await bench.create(
        await bench.bundle({
          linux: { namespaces: [{ type: 'mount' }, { type: 'uts' }], sysctl: { 'kernel.msgmax': '1' } },
        }),
      );
      expect(outcome.code).not.to.equal(0);
    });

    it('filters system calls', async () => {
      const text = await bench.print('mkdir /tmp/x 2>&1; echo $?; mount 2>&1 >/dev/null; echo done', {
        linux: {
          namespaces: [{ type: 'mount' }, { type: 'uts' }],
          seccomp: {
            defaultAction: 'SCMP_ACT_ALLOW',
            architectures: ['SCMP_ARCH_X86_64'],
            syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 }],
          },
        },
      });
      expect(text).to.include('Permission denied').and.include('done');
    });

    it('keeps limits, freezes, thaws and lists its processes', async () => {
      const { id, bundle } = await bench.running({
        linux: {
          namespaces: Object.keys(namespaceNames).map((type) => ({ type })),
          cgroupsPath: `/${bench.cgroup}/${runtime.name}-limits`,
          resources: { pids: { limit: 20 }, memory: { limit: 64 << 20 }, cpu: { shares: 512 } },
        },
      });
      expect(bundle).not.to.equal('');
      const path = `${bench.cgroup}/${runtime.name}-limits`;
      const read = (v1: string, v2: string): string => {
        const file = existsSync('/sys/fs/cgroup/pids')
          ? `/sys/fs/cgroup/${v1.replace('PATH', path)}`
          : `/sys/fs/cgroup/${path}/${v2}`;
        return readFileSync(file, 'utf8').trim();
      };
      expect(read('pids/PATH/pids.max', 'pids.max')).to.equal('20');
      expect(read('memory/PATH/memory.limit_in_bytes', 'memory.max')).to.equal(String(64 << 20));
      const { pid } = await bench.stateOf(id);
      const listed = await bench.call('ps', '--format', 'json', id);
      expect(JSON.parse(listed.stdout)).to.deep.equal([pid]);
      expect((await bench.call('pause', id)).code).to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('paused');
      expect((await bench.call('resume', id)).code).to.equal(0);
      expect((await bench.stateOf(id)).status).to.equal('running');
      const file = join(bundle, 'resources.json');
      await writeFile(file, JSON.stringify({ pids: { limit: 30 }, memory: { limit: 32 << 20 } }));
      const updated = await bench.call('update', '--resources', file, id);
      expect(updated.code, updated.stderr).to.equal(0);
      expect(read('pids/PATH/pids.max', 'pids.max')).to.equal('30');
      expect(read('memory/PATH/memory.limit_in_bytes', 'memory.max')).to.equal(String(32 << 20));
      await bench.call('delete', '--force', id);
    });

    it('execs in a running container: by arguments, by a process file, left alone', async () => {
      const { id, bundle } = await bench.running();
      const script = 'echo $X; pwd; hostname; exit 7';
      const plain = await bench.call('exec', '--env', 'X=y', '--cwd', '/bin', id, '/bin/sh', '-c', script);
      expect([plain.code, plain.stdout], plain.stderr).to.deep.equal([7, 'y\n/bin\nconformance\n']);
      const file = join(bundle, 'process.json');
      const process = (args: string[]): string =>
        JSON.stringify({ user: { uid: 5, gid: 6 }, args, env: ['PATH=/bin'], cwd: '/' });
      await writeFile(file, process(['id', '-u']));
      expect((await bench.call('exec', '--process', file, id)).stdout).to.equal('5\n');
      await writeFile(file, process(['sleep', '100']));
      const pidFile = join(bundle, 'exec-pid');
      expect(
        await bench.spawn(join(bundle, 'exec'), [
          'exec',
          '--detach',
          '--pid-file',
          pidFile,
          '--process',
          file,
          id,
        ]),
      ).to.equal(0);
      const pid = Number(await readFile(pidFile, 'utf8'));
      expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).to.equal('sleep\x00100\x00');
      expect((await bench.call('exec', id, 'nothing-of-this-name')).code).not.to.equal(0);
      await bench.call('delete', '--force', id);
      expect(existsSync(`/proc/${pid}/cwd/bin`)).to.equal(false);
      expect((await bench.call('exec', id, 'true')).code).not.to.equal(0);
    });

    it('hears at creation of a program that is not there, and in JSON if asked', async () => {
      const bundle = await bench.bundle({ process: { args: ['nothing-of-this-name'] } });
      const log = join(bundle, 'log.json');
      const outcome = await bench.call(
        '--log',
        log,
        '--log-format',
        'json',
        'create',
        '--bundle',
        bundle,
        bench.newId(),
      );
      expect(outcome.code).not.to.equal(0);
      const { level, msg } = JSON.parse((await readFile(log, 'utf8')).trim().split('\n').at(-1) ?? '') as {
        level: string;
        msg: string;
      };
      expect(level).to.equal('error');
      expect(msg).to.match(/executable file .*not found in \$PATH/);
    });

    it('ends run with the exit code of the program', async () => {
      const bundle = await bench.bundle({ process: { args: ['sh', '-c', 'echo out; exit 42'] } });
      const { code, stdout } = await bench.call('run', '--bundle', bundle, bench.newId());
      expect([code, stdout]).to.deep.equal([42, 'out\n']);
    });
  });
}
