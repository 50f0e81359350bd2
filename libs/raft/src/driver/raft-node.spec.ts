import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { EnxameError } from '#libs/model';
import type { RaftLimits, RaftNode } from '../port.js';
import { createRaftNode } from './raft-node.js';
import { systemClock } from './system-clock.js';
import { Ledger } from './testing/ledger.js';

async function refusalOf(promise: Promise<unknown>): Promise<EnxameError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EnxameError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

describe('raft: node of one member', function () {
  this.timeout(30_000);
  let dir: string;
  let ledger: Ledger;
  let nodes: RaftNode[] = [];

  async function open(limits: Partial<RaftLimits> = {}, folder = dir): Promise<RaftNode> {
    const machine = new Ledger();
    const node = createRaftNode({
      id: 'm1',
      origin: { kind: 'bootstrap', members: ['m1'] },
      dir: folder,
      stateMachine: machine,
      clock: systemClock,
      random: Math.random,
      keys: [{ id: 'a', key: Buffer.alloc(32, 'key') }],
      limits,
    });
    await node.start();
    nodes.push(node);
    ledger = machine;
    return node;
  }

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-raft-'));
  });
  afterEach(async () => {
    for (const node of nodes) await node.stop();
    nodes = [];
    rmSync(dir, { recursive: true });
  });

  it('leads when it has started and gives each proposal its result', async () => {
    const node = await open();
    expect(node.status()).to.include({ role: 'leader', term: 2, leader: 'm1' });
    const results = await Promise.all(['a', 'b', 'c'].map((line) => node.propose(Buffer.from(line))));
    expect(results.map((each) => each.result)).to.deep.equal([1, 2, 3]);
    expect(results.map((each) => each.index)).to.deep.equal([3, 4, 5]);
    expect(await node.readIndex()).to.equal(5);
  });

  it('holds everything through restarts, each a new term', async () => {
    for (let round = 1; round <= 3; round++) {
      const node = await open();
      expect(ledger.lines).to.have.length((round - 1) * 2);
      expect(node.status().term).to.equal(round + 1);
      await Promise.all([node.propose(Buffer.from('x')), node.propose(Buffer.from('y'))]);
      await node.stop();
    }
  });

  it('makes snapshots, drops the log behind them and starts from both', async () => {
    const limits = { snapshotEntries: 100, keptEntries: 10, segmentBytesMax: 2000 };
    const node = await open(limits);
    const lines = Array.from({ length: 950 }, (_, i) => `line ${i}`);
    for (let i = 0; i < lines.length; i += 50) {
      await Promise.all(lines.slice(i, i + 50).map((line) => node.propose(Buffer.from(line))));
    }
    await node.stop();
    expect(readdirSync(join(dir, 'snapshots'))).to.have.length(1);
    expect(readdirSync(join(dir, 'wal')).length).to.be.lessThan(30);
    const again = await open(limits);
    expect(ledger.lines).to.deep.equal(lines);
    expect(again.status().snapshotIndex).to.be.greaterThan(100);
  });

  it('refuses a second process on the same folder', async () => {
    const node = await open();
    const error = await refusalOf(open());
    expect(error.code).to.equal('conflict');
    expect(error.message).to.contain(`${dir} is in use by another process`);
    await node.stop();
    await open();
  });

  it('refuses proposals that are too large or too many', async () => {
    const node = await open({ proposalBytesMax: 100, pendingProposalsMax: 2 });
    expect((await refusalOf(node.propose(Buffer.alloc(101)))).code).to.equal('invalid-argument');
    const [first, second, third] = ['a', 'b', 'c'].map((line) => node.propose(Buffer.from(line)));
    expect((await refusalOf(third as Promise<unknown>)).code).to.equal('resource-exhausted');
    await Promise.all([first, second]);
  });

  it('refuses to start on a damaged log or snapshot and says which', async () => {
    const node = await open({ snapshotEntries: 5, keptEntries: 0 });
    for (let i = 0; i < 12; i++) await node.propose(Buffer.from(`line ${i}`));
    await node.stop();
    for (const folder of ['wal', 'snapshots']) {
      const file = join(dir, folder, readdirSync(join(dir, folder)).at(-1) ?? '');
      const bytes = readFileSync(file);
      const damaged = Buffer.from(bytes);
      const middle = Math.floor(bytes.findLastIndex((byte) => byte !== 0) / 2);
      damaged[middle] = (bytes[middle] ?? 0) ^ 4;
      writeFileSync(file, damaged);
      const error = await refusalOf(open());
      expect(error.code).to.equal('data-damaged');
      expect(error.message)
        .to.contain(file)
        .and.to.match(/offset \d+/);
      writeFileSync(file, bytes);
    }
    await open();
    expect(ledger.lines).to.have.length(12);
  });

  it('refuses to start when the snapshot that the log follows is gone', async () => {
    const node = await open({ snapshotEntries: 5, keptEntries: 0, segmentBytesMax: 200 });
    for (let i = 0; i < 30; i++) await node.propose(Buffer.from(`line ${i}`));
    await node.stop();
    rmSync(join(dir, 'snapshots'), { recursive: true });
    const error = await refusalOf(open());
    expect(error.code).to.equal('data-damaged');
    expect(error.message).to.contain('are missing');
  });

  it('stops with clear words when the disk is full, and loses nothing acknowledged', async function () {
    const small = join(dir, 'small');
    mkdirSync(small);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', small]);
    if (mounted.status !== 0) {
      process.stdout.write(`    cannot mount a small tmpfs, skipped: ${mounted.stderr}\n`);
      this.skip();
    }
    try {
      const node = await open({}, small);
      const acknowledged: string[] = [];
      let failure: EnxameError | undefined;
      while (failure === undefined) {
        const line = `${acknowledged.length} ${'z'.repeat(2000)}`;
        await node.propose(Buffer.from(line)).then(
          () => acknowledged.push(line),
          (error: EnxameError) => {
            failure = error;
          },
        );
      }
      expect(failure.code).to.equal('resource-exhausted');
      expect(failure.message).to.contain('no space left on device');
      expect(node.status().failure).to.equal(failure);
      expect((await refusalOf(node.propose(Buffer.from('more')))).code).to.equal('resource-exhausted');
      await node.stop();
      spawnSync('mount', ['-o', 'remount,size=4m', small]);
      const again = await open({}, small);
      // What was refused may be there or not; nothing that was acknowledged may be missing.
      expect(ledger.lines.slice(0, acknowledged.length)).to.deep.equal(acknowledged);
      await again.propose(Buffer.from('room again'));
      await again.stop();
    } finally {
      spawnSync('umount', [small]);
    }
  });

  it('loses no acknowledged write when the process is killed at any moment', async () => {
    const acknowledged = new Set<string>();
    for (let round = 0; round < 3; round++) {
      const program = fileURLToPath(new URL('./testing/endless-writer.js', import.meta.url));
      const writer = spawn(process.execPath, [program, dir, String(round)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await killAfterLines(writer, 300, (line) => acknowledged.add(line));
    }
    await open();
    const held = new Set(ledger.lines);
    expect(acknowledged.size).to.be.at.least(900);
    expect([...acknowledged].filter((line) => !held.has(line))).to.deep.equal([]);
    expect(held.size).to.equal(ledger.lines.length);
  });
});

async function killAfterLines(
  writer: ChildProcess,
  count: number,
  seen: (line: string) => void,
): Promise<void> {
  const exit = once(writer, 'exit');
  let lines = 0;
  if (writer.stdout === null) throw new Error('the writer has no output');
  for await (const line of createInterface({ input: writer.stdout })) {
    seen(line);
    if (++lines === count) writer.kill('SIGKILL');
  }
  await exit;
}
