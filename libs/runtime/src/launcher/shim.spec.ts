import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { eventually, Fixture } from './container-fixture.js';
import { createShimClient, type ShimClient, type ShimExecSession } from './shim-client.js';

const run = promisify(execFile);
const sigkill = 9;

async function execIn(shim: ShimClient, plan: Parameters<ShimClient['exec']>[0]): Promise<ShimExecSession> {
  const outcome = await shim.exec(plan);
  if (!outcome.ok) throw new Error(outcome.message);
  return outcome.session;
}

describe('shim', () => {
  let fixture: Fixture;

  before(async () => {
    fixture = await Fixture.make();
  });

  after(() => fixture.remove());

  it('runs further processes with their own ends and exit codes', async () => {
    const { shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const session = await execIn(
      shim,
      fixture.execPlan(['sh', '-c', 'hostname; echo bad >&2; cat; exit 4'], { stdin: true }),
    );
    session.stdin.end('typed\n');
    const [out, err, exit] = await Promise.all([text(session.stdout), text(session.stderr), session.exited]);
    expect(out).to.match(/^c\d+\ntyped\n$/);
    expect(err).to.equal('bad\n');
    expect(exit).to.deep.equal({ exitCode: 4 });
    expect(await shim.exec(fixture.execPlan(['nonsense']))).to.deep.include({ ok: false, exitCode: 127 });
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('gives an exec a terminal of the container, resizes it and lets it be signalled', async () => {
    const { shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const session = await execIn(
      shim,
      fixture.execPlan(
        ['sh', '-c', 'tty; stty size; trap "stty size; exit 9" WINCH; while true; do sleep 0.02; done'],
        {
          tty: true,
          stdin: true,
        },
      ),
    );
    let seen = '';
    session.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await eventually('the first size', async () => seen.includes('24 80'));
    await session.resize({ rows: 50, columns: 132 });
    expect(await session.exited).to.deep.equal({ exitCode: 9 });
    expect(seen).to.equal('/dev/pts/0\r\n24 80\r\n50 132\r\n');
    const killed = await execIn(shim, fixture.execPlan(['sleep', '100']));
    await killed.kill(sigkill);
    expect(await killed.exited).to.deep.equal({ exitCode: 137 });
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('gives the container a terminal: what is typed arrives, its console is the same', async () => {
    const { id, shim } = await fixture.launch({
      argv: [
        'sh',
        '-c',
        'test /dev/console -ef /dev/pts/0; tty; stty size; read line; echo got $line; echo end > /dev/console',
      ],
      tty: true,
      stdin: true,
    });
    await shim.resize({ rows: 30, columns: 90 });
    const session = await shim.attach({ stdin: true });
    session.stdout.resume();
    session.stdin.write('hello\n');
    await session.ended;
    expect((await shim.wait()).exitCode).to.equal(0);
    const log = (await fixture.log(id)).map((line) => line.log).join('');
    expect(log).to.include('/dev/pts/0\r\n');
    expect(log).to.include('got hello\r\n');
    expect(log).to.include('end\r\n');
  });

  it('feeds stdin to the end when it is asked to close it once', async () => {
    const { id, shim } = await fixture.launch({ argv: ['wc', '-c'], stdin: true, stdinOnce: true });
    const session = await shim.attach({ stdin: true });
    session.stdout.resume();
    session.stdin.end(Buffer.alloc(1 << 20, 'x'));
    await session.ended;
    expect((await fixture.log(id)).map((line) => line.log.trim())).to.deep.equal(['1048576']);
  });

  it('delivers an output of any size to a reader that takes its time', async () => {
    const { shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const session = await execIn(shim, fixture.execPlan(['sh', '-c', 'head -c 20000000 /dev/zero; exit 3']));
    session.stderr.resume();
    let bytes = 0;
    for await (const chunk of session.stdout) {
      bytes += (chunk as Buffer).length;
      await new Promise(setImmediate);
    }
    expect(bytes).to.equal(20_000_000);
    expect(await session.exited).to.deep.equal({ exitCode: 3 });
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('kills an exec with its connection only when asked to', async () => {
    const { shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const kept = await execIn(shim, fixture.execPlan(['sleep', '100']));
    const probe = await execIn(shim, fixture.execPlan(['sleep', '100'], { killOnDisconnect: true }));
    kept.close();
    probe.close();
    await eventually('the probe is gone', async () =>
      stat(`/proc/${probe.pid}`).then(
        () => false,
        () => true,
      ),
    );
    expect((await stat(`/proc/${kept.pid}`)).isDirectory()).to.equal(true);
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('keeps a container running that nobody reads, and cuts lines as docker does', async () => {
    const { output, id } = await fixture.runToEnd({
      argv: ['sh', '-c', 'head -c 40000 /dev/zero | tr "\\0" x; echo; printf \'\\377"\\\\\\001é\''],
    });
    expect(output).to.equal(`${'x'.repeat(40_000)}\n\ufffd"\\\u0001é`);
    const lengths = (await fixture.log(id)).map((line) => line.log.length);
    expect(lengths).to.deep.equal([16_384, 16_384, 7233, 5]);
    for (const line of await fixture.log(id)) {
      expect(line.time).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    }
  });

  it('rotates the log without losing or halving a line', async () => {
    const { id, shim } = await fixture.launch({
      argv: ['sh', '-c', 'i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done'],
      log: { fileBytesMax: 100_000, filesMax: 4 },
    });
    await shim.wait();
    const files = (await readdir(fixture.path(id, '.'))).filter((name) => name.startsWith('log')).toSorted();
    expect(files).to.deep.equal(['log', 'log.1', 'log.2']);
    let all = '';
    for (const name of ['log.2', 'log.1', 'log']) {
      const content = await readFile(fixture.path(id, name), 'utf8');
      expect(content.length).to.be.at.most(100_000);
      all += content;
    }
    const lines = all
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { log: string }).log);
    expect(lines).to.deep.equal(Array.from({ length: 3000 }, (_, i) => `line ${i}\n`));
  });

  it('removes the oldest of the rotated files', async () => {
    const { id, shim } = await fixture.launch({
      argv: ['sh', '-c', 'i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done'],
      log: { fileBytesMax: 10_000, filesMax: 2 },
    });
    await shim.wait();
    const files = (await readdir(fixture.path(id, '.'))).filter((name) => name.startsWith('log')).toSorted();
    expect(files).to.deep.equal(['log', 'log.1']);
    expect((await fixture.log(id)).at(-1)?.log).to.equal('line 999\n');
  });

  it('outlives launcher and agent: nothing is lost, and it is found again', async () => {
    const { id, pid, shim } = await fixture.launch({
      argv: ['sh', '-c', 'i=0; while [ ! -e /stop ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 6'],
    });
    const attached = await shim.attach({ stdin: false });
    attached.stdout.resume();
    const before = await fixture.client.connect();
    process.kill(before.pid, 'SIGKILL');
    attached.close();
    await eventually('the launcher is gone', async () =>
      stat(`/proc/${before.pid}`).then(
        () => false,
        () => true,
      ),
    );
    const again = await fixture.client.connect();
    expect(again.pid).not.to.equal(before.pid);
    expect(await shim.status()).to.deep.include({ phase: 'running', pid });
    const plan = await fixture.plan({ argv: ['true'] });
    const twice = await fixture.client.launch({
      ...plan,
      shim: { ...plan.shim, socketPath: fixture.path(id, 's') },
    });
    expect(twice).to.deep.include({ ok: false, step: 'the container runs already' });
    const lines = (await fixture.log(id)).length;
    await eventually('more lines', async () => (await fixture.log(id)).length > lines);
    await execIn(shim, fixture.execPlan(['touch', '/stop'])).then((session) => session.exited);
    expect(await shim.wait()).to.deep.include({ exitCode: 6 });
    const numbers = (await fixture.log(id)).map((line) => Number(line.log));
    expect(numbers).to.deep.equal(numbers.map((_, index) => index));
  });

  it('takes its container with it when it is killed, and the loss is told', async () => {
    const { pid, shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const status = await shim.status();
    if (status.phase !== 'running') throw new Error(status.phase);
    const waiting = shim.wait();
    process.kill(status.shimPid, 'SIGKILL');
    expect(await waiting).to.deep.include({ exitCode: 137, signal: 9 });
    await eventually('the container is gone', async () =>
      stat(`/proc/${pid}`).then(
        () => false,
        () => true,
      ),
    );
    expect(await shim.status()).to.deep.equal({ phase: 'gone' });
  });

  it('holds little memory and no descriptor of the launcher', async () => {
    const { shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const status = await shim.status();
    if (status.phase !== 'running') throw new Error(status.phase);
    const rollup = await readFile(`/proc/${status.shimPid}/smaps_rollup`, 'utf8');
    const pss = Number(/^Pss: +(\d+) kB/m.exec(rollup)?.[1]);
    if (process.env.ENXAME_LAUNCHER === undefined) expect(pss, 'Pss in kB').to.be.lessThan(500);
    const comm = await readFile(`/proc/${status.shimPid}/cmdline`, 'utf8');
    expect(comm).to.match(/^enxame-shim c\d+/);
    expect((await readdir(`/proc/${status.shimPid}/fd`)).length).to.be.lessThan(12);
    await shim.signal(sigkill);
    await shim.wait();
  });

  it('loses log lines on a full disk, but never the container, its exit or half a line', async () => {
    const small = join(fixture.folder, 'small-disk');
    await mkdir(small);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
    try {
      const plan = await fixture.plan({
        argv: ['sh', '-c', 'i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 8'],
      });
      const operations = plan.operations.map((operation) =>
        operation.kind === 'log' ? { ...operation, path: join(small, 'log') } : operation,
      );
      expect(await fixture.client.launch({ ...plan, operations })).to.deep.include({ ok: true });
      expect(await fixture.shim(plan.id).wait()).to.deep.include({ exitCode: 8 });
      const content = await readFile(join(small, 'log'), 'utf8');
      // What there is room for is kept, however much was written at once.
      expect(content.length).to.be.greaterThan(60_000);
      for (const line of content.trimEnd().split('\n'))
        expect(JSON.parse(line)).to.include({ stream: 'stdout' });
    } finally {
      await run('umount', [small]);
    }
  });

  it('tells the exit only once it is on disk, however long the disk is full', async () => {
    const small = join(fixture.folder, 'full-disk');
    await mkdir(small);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'tmpfs', small]);
    try {
      const plan = await fixture.plan({ argv: ['sh', '-c', 'exit 2'], held: true });
      const exitPath = join(small, 'exit.json');
      await fixture.client.launch({ ...plan, shim: { ...plan.shim, exitPath } });
      await run('dd', ['if=/dev/zero', `of=${join(small, 'filler')}`, 'bs=4k']).catch(() => undefined);
      const shim = createShimClient({ socketPath: plan.shim.socketPath, exitPath });
      const waiting = shim.wait();
      await shim.start();
      expect((await shim.status()).phase).to.equal('running');
      await run('rm', [join(small, 'filler')]);
      expect(await waiting).to.deep.include({ exitCode: 2 });
      expect(JSON.parse(await readFile(exitPath, 'utf8'))).to.deep.include({ exitCode: 2 });
    } finally {
      await run('umount', [small]);
    }
  });

  it('is not hurt by clients that send nonsense or leave in the middle', async () => {
    const { id, shim } = await fixture.launch({ argv: ['sleep', '100'] });
    const frame = (type: number, payload: string) => {
      const bytes = Buffer.from(payload, 'hex');
      const header = Buffer.alloc(8);
      header.writeUInt32LE(bytes.length);
      header.writeUInt16LE(type, 4);
      return Buffer.concat([header, bytes]);
    };
    const nonsense = [
      Buffer.alloc(100, 0xff),
      frame(99, ''),
      frame(18, ''),
      frame(19, '0000'),
      frame(21, ''),
      frame(22, ''),
      frame(22, '0000000000000000ffffffff'),
      frame(22, '000000000000000001000000ffff'),
      frame(22, '0000000000000000010000000500'),
      frame(22, `00000000000000000100000021${'00'.repeat(3)}ffff`),
      frame(23, 'ff'),
      frame(24, ''),
      Buffer.concat([frame(16, ''), Buffer.from('ff')]),
    ];
    for (const path of [fixture.path(id, 's'), join(fixture.folder, 'launcher.sock')]) {
      for (const bytes of nonsense) {
        const socket = createConnection(path);
        socket.on('error', () => undefined);
        socket.end(bytes);
        socket.resume();
        await once(socket, 'close');
      }
    }
    expect((await shim.status()).phase).to.equal('running');
    expect((await fixture.runToEnd({ argv: ['echo', 'alive'] })).output).to.equal('alive\n');
    await shim.signal(sigkill);
    await shim.wait();
  });
});
