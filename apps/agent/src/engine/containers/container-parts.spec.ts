import { expect } from 'chai';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { DetachKeys, parseDetachKeys } from './detach-keys.js';
import { frameLines, linePrefix } from './log-frames.js';
import { hostLineOf } from './request/container-config.js';
import { sizeOf } from './request/size.js';
import { parseSystemNanoseconds } from './stats-route.js';
import { bridge } from './stream-bridge.js';
import { selectProcesses } from './top-route.js';
import { durationWords } from './view/duration-words.js';

describe('durations in words', () => {
  const second = 1_000;
  const hour = 3_600 * second;
  for (const [ms, words] of [
    [0, 'Less than a second'],
    [second, '1 second'],
    [59 * second, '59 seconds'],
    [60 * second, 'About a minute'],
    [59 * 60 * second, '59 minutes'],
    [hour, 'About an hour'],
    [1.6 * hour, '2 hours'],
    [47 * hour, '47 hours'],
    [72 * hour, '3 days'],
    [24 * 15 * hour, '2 weeks'],
    [24 * 90 * hour, '3 months'],
    [24 * 800 * hour, '2 years'],
  ] as const) {
    it(words, () => expect(durationWords(ms)).to.equal(words));
  }
});

describe('detach keys', () => {
  it('are ctrl-p ctrl-q, or what is asked for', () => {
    expect([...parseDetachKeys('')]).to.deep.equal([16, 17]);
    expect([...parseDetachKeys('ctrl-a,ctrl-\\,x')]).to.deep.equal([1, 28, 120]);
    expect(() => parseDetachKeys('ctrl-')).to.throw('Invalid detach keys');
    expect(() => parseDetachKeys('ab')).to.throw('Invalid detach keys');
  });
  it('are held back until they are known to be none', () => {
    const keys = new DetachKeys('');
    expect(keys.filter(Buffer.from('a\x10')).data.toString()).to.equal('a');
    expect(keys.filter(Buffer.from('b\x10')).data.toString()).to.equal('\x10b');
    expect(keys.filter(Buffer.from('\x10'))).to.deep.equal({ data: Buffer.from('\x10'), detach: false });
    expect(keys.filter(Buffer.from('\x11rest')).detach).to.equal(true);
  });
});

describe('small readings', () => {
  it('turns hosts, sizes, times and counters into what is wanted', () => {
    expect(hostLineOf('db:10.0.0.1', '10.9.0.1')).to.equal('10.0.0.1 db');
    expect(hostLineOf('db=[fe80::1]', '')).to.equal('fe80::1 db');
    expect(() => hostLineOf('db', '')).to.throw('bad format');
    expect(hostLineOf('db:host-gateway', '10.9.0.1')).to.equal('10.9.0.1 db');
    expect(['64', '64k', '2m', '1g'].map((text) => sizeOf(text, ''))).to.deep.equal([
      64,
      65_536,
      2 << 20,
      1 << 30,
    ]);
    expect(() => sizeOf('big', 'size=big')).to.throw("invalid size: 'size=big'");
    expect(parseSystemNanoseconds('cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n')).to.equal(360_000_000);
  });
  it('frames the lines of a log, with what was asked for before each', () => {
    const time = '2026-01-01T00:00:00.000000007Z';
    const lines = [
      { stream: 'stdout', time, data: Buffer.from('a\n') },
      { stream: 'stderr', time, data: Buffer.from('bee') },
    ] as const;
    const none = { timestamps: false, details: false, attributes: {} };
    const show = (tty: boolean, options: typeof none & { attributes: Record<string, string> }): string =>
      frameLines(lines, tty, linePrefix(options)).toString('latin1');
    expect(show(true, none)).to.equal('a\nbee');
    expect(show(false, none)).to.equal('\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x03bee');
    expect(show(true, { ...none, timestamps: true, details: true })).to.equal(`${time}  a\n${time}  bee`);
    expect(show(false, { ...none, details: true })).to.equal(
      '\x01\0\0\0\0\0\0\x03 a\n\x02\0\0\0\0\0\0\x04 bee',
    );
    expect(show(true, { ...none, details: true, attributes: { b: 'x y', c: '1' } })).to.equal(
      'b=x+y,c=1 a\nb=x+y,c=1 bee',
    );
  });
  it('keeps the processes of a container', () => {
    const output = 'UID PID CMD\nroot 1 init\nroot 22 sh -c  x y\n';
    expect(selectProcesses(output, new Set([22]))).to.deep.equal({
      Titles: ['UID', 'PID', 'CMD'],
      Processes: [['root', '22', 'sh -c x y']],
    });
    expect(() => selectProcesses('A B\n', new Set())).to.throw('PID');
  });
});

describe('a bridge between a connection and a process', () => {
  it('ends when the client hangs up, and leaves the process alone', async () => {
    const connection = new PassThrough();
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const outcome = bridge({
      connection,
      process: { stdin, stdout, stderr, ended: new Promise(() => undefined) },
      framed: false,
      detachable: true,
      stdin: true,
      stdout: true,
      stderr: true,
      detachKeys: '',
    });
    connection.destroy();
    expect(await outcome).to.equal('left');
    expect(stdout.destroyed).to.equal(false);
  });

  it('ends the input of a client that had ended its side before the process ran', async () => {
    const connection = new PassThrough();
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    connection.end();
    connection.resume();
    await once(connection, 'end');
    const outcome = bridge({
      connection,
      process: { stdin, stdout, stderr, ended: once(stdin, 'finish') },
      framed: true,
      detachable: false,
      stdin: true,
      stdout: false,
      stderr: false,
      detachKeys: '',
    });
    stdout.end();
    stderr.end();
    expect(await outcome).to.equal('ended');
  });
});
