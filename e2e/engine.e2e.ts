/** A node's containers and volumes through the stock docker CLI: every command in its ordinary use and its failures. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'chai';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { busyboxArchive } from './harness/busybox-image.js';
import { eventually, run, TestCluster } from './harness/cluster.js';

const image = 'busybox:latest';

interface Inspected {
  State: { Status: string; Running: boolean; ExitCode: number; Pid: number; OOMKilled: boolean };
  HostConfig: Record<string, unknown>;
  RestartCount: number;
}

describe('a node through the docker CLI', function () {
  this.timeout(60_000);
  const cluster = new TestCluster('e2e-engine', 0);
  const folder = mkdtempSync(join(tmpdir(), 'enxame-engine-'));

  before(async () => {
    await cluster.up();
    const archive = join(folder, 'busybox.tar');
    writeFileSync(archive, await busyboxArchive(image));
    await cluster.docker(['load', '-q', '-i', archive]);
  });
  afterEach(async () => {
    const left = (await cluster.docker(['ps', '-aq'])).split('\n').filter((id) => id !== '');
    if (left.length > 0) await cluster.docker(['rm', '-f', '-v', ...left]);
  });
  after(async () => {
    await cluster.end();
    rmSync(folder, { recursive: true, force: true });
  });

  const docker = (...args: string[]): Promise<string> => cluster.docker(args);
  const inspect = async (name: string): Promise<Inspected> =>
    (JSON.parse(await docker('inspect', name)) as Inspected[])[0]!;
  const background = (name: string, ...options: string[]): Promise<string> =>
    docker('run', '-d', '--name', name, ...options, image, 'sleep', '300');
  /** On a terminal of its own: what the user of one would see. */
  const onTerminal = (command: string, input?: string): ReturnType<typeof run> =>
    run('script', ['-qec', command, '/dev/null'], {
      env: cluster.dockerEnvironment(),
      timeoutMs: 30_000,
      ...(input === undefined ? {} : { input }),
    });

  it('gives the exit codes of programs that end, cannot be run, are not there, or are killed', async () => {
    const codes: [string[], number, RegExp][] = [
      [['run', '--rm', image, 'sh', '-c', 'exit 7'], 7, /^$/],
      [['run', '--rm', image, '/etc/passwd'], 126, /permission denied/],
      [['run', '--rm', image, 'no-such-program'], 127, /executable file not found in \$PATH/],
      [['run', '--rm', image, '/no/such'], 127, /no such file or directory/],
      [['run', '--rm', '--init', image, 'sh', '-c', 'kill -9 $$'], 137, /^$/],
      [['run', '--no-such-flag', image], 125, /unknown flag/],
      [['run', '--memory', '1m', image, 'true'], 125, /Minimum memory limit allowed is 6MB/],
      [['run', '--restart', 'always', '--rm', image, 'true'], 125, /conflicting options/i],
      [['run', '--pull', 'never', 'no-such-image', 'true'], 125, /No such image: no-such-image:latest/],
      [['exec', 'nobody', 'true'], 1, /No such container: nobody/],
    ];
    for (const [args, code, words] of codes) {
      const result = await cluster.tryDocker(args);
      expect(result.code, `${args.join(' ')}: ${result.stderr}`).to.equal(code);
      expect(result.stderr).to.match(words);
    }
  });

  it('leaves a container that could not be started as created', async () => {
    await cluster.tryDocker(['run', '--name', 'bad', image, 'nope']);
    expect((await inspect('bad')).State).to.deep.include({ Status: 'created', ExitCode: 127 });
  });

  it('pauses, renames, restarts, updates and prunes', async () => {
    await background('one');
    await docker('pause', 'one');
    expect(await docker('ps', '--format', '{{.Status}}')).to.contain('(Paused)');
    const exec = await cluster.tryDocker(['exec', 'one', 'true']);
    expect(exec.stderr).to.contain('is paused, unpause the container before exec');
    await docker('unpause', 'one');
    await docker('rename', 'one', 'two');
    const { State: before } = await inspect('two');
    await docker('restart', '-t', '0', 'two');
    const { State: restarted } = await inspect('two');
    expect(restarted.Running && restarted.Pid !== before.Pid).to.equal(true);
    await docker('update', '--memory', '64m', '--restart', 'on-failure:3', 'two');
    expect((await inspect('two')).HostConfig).to.deep.include({
      Memory: 64 << 20,
      RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
    });
    expect(await docker('exec', 'two', 'cat', '/sys/fs/cgroup/memory/memory.limit_in_bytes')).to.equal(
      String(64 << 20),
    );
    const refused = await cluster.tryDocker(['rm', 'two']);
    expect(refused.stderr).to.contain('stop the container before removing or force remove');
    await docker('stop', '-t', '0', 'two');
    expect(await docker('container', 'prune', '-f')).to.contain('Deleted Containers');
    expect(await docker('ps', '-aq')).to.equal('');
  });

  it('runs again what its policy says, and keeps down what was stopped', async () => {
    await docker('run', '-d', '--name', 'fails', '--restart', 'on-failure:2', image, 'sh', '-c', 'exit 5');
    await eventually('its last end', 20_000, async () => {
      const { State, RestartCount } = await inspect('fails');
      return State.Status === 'exited' && RestartCount === 2 && State.ExitCode === 5;
    });
    await background('stays', '--restart', 'always');
    const { State } = await inspect('stays');
    process.kill(State.Pid, 'SIGKILL');
    await eventually('another run', 20_000, async () => {
      const again = (await inspect('stays')).State;
      return again.Running && again.Pid !== 0 && again.Pid !== State.Pid;
    });
    await docker('kill', 'stays');
    expect((await inspect('stays')).State).to.deep.include({ Status: 'exited', ExitCode: 137 });
  });

  it('copies files and folders both ways, from running and stopped containers, and through no link', async () => {
    await background('files', '-v', 'kept:/vol');
    const local = join(folder, 'local');
    mkdirSync(join(local, 'inner'), { recursive: true });
    writeFileSync(join(local, 'inner/file'), 'from the node');
    symlinkSync('/etc/passwd', join(local, 'link'));
    await docker('cp', local, 'files:/tmp');
    expect(await docker('exec', 'files', 'cat', '/tmp/local/inner/file')).to.equal('from the node');
    expect(await docker('exec', 'files', 'readlink', '/tmp/local/link')).to.equal('/etc/passwd');
    await docker('cp', join(local, 'inner/file'), 'files:/vol/renamed');
    await docker('exec', 'files', 'ln', '-s', folder, '/way-out');
    await docker('cp', 'files:/', join(folder, 'all'));
    expect(readFileSync(join(folder, 'all/vol/renamed'), 'utf8')).to.equal('from the node');
    expect(readdirSync(join(folder, 'all/proc'))).to.deep.equal([]);
    await docker('stop', '-t', '0', 'files');
    await docker('cp', 'files:/vol/renamed', join(folder, 'back'));
    expect(readFileSync(join(folder, 'back'), 'utf8')).to.equal('from the node');
    const escape = await cluster.tryDocker(['cp', 'files:/way-out/back', join(folder, 'stolen')]);
    expect(escape.stderr).to.match(/Could not find the file \/way-out\/back in container files/);
    const missing = await cluster.tryDocker(['cp', 'files:/nope', folder]);
    expect(missing.stderr).to.contain('Could not find the file /nope in container files');
    await docker('cp', 'files:/tmp/local/.', join(folder, 'contents'));
    mkdirSync(join(folder, 'existing'));
    await docker('cp', 'files:/tmp/local/.', join(folder, 'existing'));
    for (const place of ['contents', 'existing'])
      expect(readFileSync(join(folder, place, 'inner/file'), 'utf8')).to.equal('from the node');
    await docker('cp', '-a', join(local, 'inner'), 'files:/srv');
    const piped = await cluster.docker(['cp', 'files:/etc', '-']);
    expect(piped).to.contain('etc/passwd');
  });

  it('tells changes, and exports them', async () => {
    await docker(
      'run',
      '--name',
      'changed',
      image,
      'sh',
      '-c',
      'echo x > /new; rm /srv/of-the-image; echo y >> /etc/group',
    );
    expect((await docker('diff', 'changed')).split('\n')).to.have.members([
      'A /new',
      'C /etc',
      'C /etc/group',
      'C /srv',
      'D /srv/of-the-image',
    ]);
    const archive = join(folder, 'export.tar');
    await docker('export', '-o', archive, 'changed');
    const listing = (await run('tar', ['-tf', archive])).stdout;
    expect(listing).to.contain('new').and.not.contain('of-the-image');
  });

  it('shares and hides what is asked for', async () => {
    const out = async (...args: string[]): Promise<string> => docker('run', '--rm', ...args);
    expect(await out('--privileged', image, 'sh', '-c', 'ls /dev | wc -l')).to.satisfy(
      (n: string) => Number(n) > 20,
    );
    expect(await out('--pid', 'host', image, 'sh', '-c', 'ps | wc -l')).to.satisfy(
      (n: string) => Number(n) > 10,
    );
    expect(await out('--device', '/dev/fuse:/dev/mine:r', image, 'ls', '/dev/mine')).to.equal('/dev/mine');
    expect(
      await out('--hostname', 'box', '--domainname', 'lan', image, 'cat', '/proc/sys/kernel/domainname'),
    ).to.equal('lan');
    expect(await out('--cap-drop', 'all', image, 'grep', 'CapEff', '/proc/self/status')).to.match(
      /0000000000000000$/,
    );
    expect(
      await out('--read-only', '--tmpfs', '/run', image, 'sh', '-c', 'touch /run/x && echo yes'),
    ).to.equal('yes');
    expect(
      await out(
        '--security-opt',
        'systempaths=unconfined',
        image,
        'sh',
        '-c',
        'test -s /proc/timer_list && echo seen; true',
      ),
    ).to.be.oneOf(['seen', '']);
    await background('owner', '--ipc', 'shareable');
    await docker('exec', 'owner', 'sh', '-c', 'echo shared > /dev/shm/note');
    expect(await out('--ipc', 'container:owner', image, 'cat', '/dev/shm/note')).to.equal('shared');
    expect(await out('--pid', 'container:owner', image, 'ps')).to.contain('sleep 300');
    const addresses = (name: string): string[] => [
      '--network',
      name,
      image,
      'ip',
      '-4',
      'addr',
      'show',
      'eth0',
    ];
    const own = await docker('exec', 'owner', 'ip', '-4', 'addr', 'show', 'eth0');
    expect(await out(...addresses('container:owner'))).to.equal(own);
    await docker('stop', '-t', '0', 'owner');
    const late = await cluster.tryDocker(['run', '--rm', '--network', 'container:owner', image, 'true']);
    expect(late.stderr).to.contain('cannot join network of a non running container');
  });

  it('keeps volumes, and what they were made of', async () => {
    await docker('volume', 'prune', '-a', '-f');
    expect(await docker('volume', 'create', '--label', 'a=b', 'plain')).to.equal('plain');
    await docker(
      'volume',
      'create',
      '--opt',
      'type=tmpfs',
      '--opt',
      'device=tmpfs',
      '--opt',
      'o=size=64k',
      'small',
    );
    expect(await docker('run', '--rm', '-v', 'small:/s', image, 'sh', '-c', 'df /s | tail -1')).to.match(
      /^tmpfs\s+64 /,
    );
    await background('user', '-v', 'plain:/data', '-v', '/anonymous');
    const used = await cluster.tryDocker(['volume', 'rm', 'plain']);
    expect(used.stderr).to.match(/remove plain: volume is in use - \[[0-9a-f]{64}\]/);
    expect(await docker('volume', 'ls', '-q', '--filter', 'label=a=b')).to.equal('plain');
    expect(await docker('volume', 'ls', '-q', '--filter', 'dangling=true')).to.equal('small');
    await docker('rm', '-f', 'user');
    expect(await docker('volume', 'prune', '-f')).to.match(/Deleted Volumes:\n[0-9a-f]{64}\n/);
    expect(await docker('volume', 'prune', '-a', '-f'))
      .to.contain('plain')
      .and.contain('small');
    expect((await cluster.tryDocker(['volume', 'inspect', 'plain'])).stderr).to.contain('no such volume');
  });

  it('tells disk use, events and itself', async () => {
    await background('told', '-v', '/anonymous');
    expect(await docker('system', 'df'))
      .to.match(/Images\s+1\s/)
      .and.match(/Containers\s+1\s+1\s/);
    expect(await docker('system', 'df', '-v')).to.contain('told');
    await docker('rename', 'told', 'renamed');
    await docker('stop', '-t', '0', 'renamed');
    await docker('rm', '-v', 'renamed');
    const now = String(Math.floor(Date.now() / 1_000) + 1);
    const events = await docker(
      'events',
      '--since',
      '10m',
      '--until',
      now,
      '--format',
      '{{.Type}} {{.Action}}',
    );
    const seen = events.split('\n');
    for (const event of [
      'container create',
      'volume mount',
      'container start',
      'container rename',
      'container kill',
      'container die',
      'volume unmount',
      'container stop',
      'container destroy',
    ])
      expect(seen, events).to.include(event);
    expect(await docker('info', '--format', '{{.Driver}} {{.CgroupVersion}}')).to.match(/^overlay2 [12]$/);
    expect(await docker('version', '--format', '{{.Server.APIVersion}}')).to.match(/^1\.\d+$/);
  });

  it('is left by the detach keys of the CLI, and goes on', async () => {
    const cases: [name: string, keys: string, options: string][] = [
      ['usual', '\x10\x11', ''],
      ['own', '\x01x', '--detach-keys ctrl-a,x '],
    ];
    for (const [name, keys, options] of cases) {
      const command = `docker run -it ${options}--name ${name} ${image} cat`;
      const terminal = spawn('script', ['-qec', command, '/dev/null'], {
        env: { ...process.env, ...cluster.dockerEnvironment() },
      });
      const ended = once(terminal, 'exit');
      terminal.stdout.resume();
      await eventually('the container', 20_000, async () =>
        (await cluster.tryDocker(['inspect', name])).stdout.includes('"Running": true'),
      );
      terminal.stdin.write(`typed${keys}`);
      expect(await ended).to.deep.equal([0, null]);
      expect((await inspect(name)).State.Running, name).to.equal(true);
    }
  });

  /** A connection that the node has taken over: what came on it, and whether the node has ended it. */
  async function takenOver(
    head: string[],
  ): Promise<{ socket: Socket; seen: () => Buffer; ended: Promise<unknown> }> {
    const socket = connect(cluster.socket);
    let all = Buffer.alloc(0);
    socket.on('data', (chunk) => (all = Buffer.concat([all, chunk])));
    const ended = once(socket, 'end');
    socket.write([...head, 'Host: node', '', ''].join('\r\n'));
    await eventually('the answer', 20_000, async () => all.includes('\r\n\r\n'));
    expect(all.toString('latin1')).to.match(/^HTTP\/1\.1 101 /);
    return { socket, seen: () => all.subarray(all.indexOf('\r\n\r\n') + 4), ended };
  }

  it('is left by the detach keys that its API is told, and goes on', async () => {
    await docker('run', '-dit', '--name', 'typed', image, 'cat');
    const { socket, seen, ended } = await takenOver([
      'POST /containers/typed/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x HTTP/1.1',
      'Upgrade: tcp',
      'Connection: Upgrade',
    ]);
    // The first of the keys alone is the program's, which the terminal shows in its own way.
    socket.write('one\x01two\r');
    await eventually('the echo', 20_000, async () => seen().includes('one^Atwo'));
    socket.write('\x01x');
    await ended;
    socket.destroy();
    expect((await inspect('typed')).State.Running).to.equal(true);
  });

  it('is attached to over a web socket', async () => {
    await docker(
      'run',
      '-di',
      '--name',
      'web',
      image,
      'sh',
      '-c',
      'while read line; do echo "got $line"; done',
    );
    const { socket, seen, ended } = await takenOver([
      'GET /containers/web/attach/ws?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]);
    // Masked by zeros, a frame shows what is in it.
    const frame = (opcode: number, data: string): Buffer =>
      Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | data.length, 0, 0, 0, 0]), Buffer.from(data)]);
    socket.write(frame(1, 'one\n'));
    const answer = Buffer.concat([Buffer.from([0x82, 8]), Buffer.from('got one\n')]);
    await eventually('the answer', 20_000, async () => seen().equals(answer));
    socket.write(frame(8, ''));
    await ended;
    socket.destroy();
    expect((await inspect('web')).State.Running).to.equal(true);
    const last = await takenOver([
      'GET /containers/web/attach/ws?stream=1&stdout=1 HTTP/1.1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]);
    await docker('kill', 'web');
    await last.ended;
    last.socket.destroy();
  });

  for (const runtime of ['crun', 'runc']) {
    it(`runs, joins, logs, stops and restarts what ${runtime} has made`, async function () {
      const { Runtimes } = JSON.parse(await docker('info', '--format', '{{json .}}')) as {
        Runtimes: Record<string, { path: string }>;
      };
      const program = Runtimes[runtime]?.path;
      // One whose libraries are elsewhere is as good as none.
      if (program === undefined || (await run(program, ['--version'])).code !== 0) this.skip();
      const others = ['--runtime', runtime];
      const ended = await cluster.tryDocker([
        'run',
        '--rm',
        ...others,
        image,
        'sh',
        '-c',
        'echo out; exit 7',
      ]);
      expect([ended.code, ended.stdout]).to.deep.equal([7, 'out\n']);
      const script = 'mkdir /www; echo hello > /www/f; echo up; httpd -f -p 8000 -h /www';
      await docker('run', '-d', '--name', 'far', ...others, '--memory', '64m', image, 'sh', '-c', script);
      expect(JSON.parse(await docker('inspect', '--format', '{{json .HostConfig.Runtime}}', 'far'))).to.equal(
        runtime,
      );
      const address = (await docker('inspect', '--format', '{{.NetworkSettings.IPAddress}}', 'far')).trim();
      const fetched = await eventually('it answers over its network', 20_000, async () => {
        const answer = await cluster.tryDocker([
          'run',
          '--rm',
          image,
          'wget',
          '-qO-',
          `http://${address}:8000/f`,
        ]);
        return answer.code === 0 ? answer.stdout : undefined;
      });
      expect(fetched).to.equal('hello\n');
      expect(await docker('exec', '-w', '/www', 'far', 'cat', 'f')).to.equal('hello');
      expect(await onTerminal('docker exec -it far tty').then(({ stdout }) => stdout)).to.include(
        '/dev/pts/',
      );
      expect(await docker('logs', 'far')).to.equal('up');
      await docker('restart', '-t', '0', 'far');
      expect((await inspect('far')).State.Running).to.equal(true);
      await docker('rm', '-f', 'far');
    });
  }

  it('has a terminal with its size, and passes signals on', async () => {
    expect((await onTerminal(`docker run --rm -it ${image} sh -c 'tty; echo $TERM'`)).stdout).to.match(
      /\/dev\/(pts\/0|console)\r?\nxterm/,
    );
    const sized = await onTerminal(
      `stty rows 33 cols 77; docker run --rm -it ${image} sh -c 'sleep 0.5; stty size'`,
    );
    expect(sized.stdout).to.contain('33 77');
    const proxied = cluster.spawnDocker([
      'run',
      '--name',
      'traps',
      image,
      'sh',
      '-c',
      'trap "exit 9" TERM; while true; do sleep 0.05; done',
    ]);
    const ended = new Promise<number | null>((resolve) => proxied.on('exit', resolve));
    await eventually('the container', 20_000, async () =>
      (await cluster.tryDocker(['inspect', 'traps'])).stdout.includes('"Running": true'),
    );
    await eventually('its end by the proxied signal', 20_000, async () => {
      proxied.kill('SIGTERM');
      return (await inspect('traps')).State.Status === 'exited';
    });
    expect(await ended).to.equal(9);
  });
});
