/** The manager's log on disk is torn or damaged: the one is cut and said, the other refused with file and place. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { enxameMain, eventually, run, TestCluster, type CommandResult } from './harness/cluster.js';

describe('damage of the log', function () {
  this.timeout(180_000);
  const cluster = new TestCluster('e2e-damage', 0);
  const kept = ['kept-1', 'kept-2', 'kept-3'];

  const dev = (...args: string[]): Promise<CommandResult> =>
    run(process.execPath, [enxameMain, 'dev', ...args, '--name', 'e2e-damage'], { timeoutMs: 100_000 });
  const upAgain = (): Promise<CommandResult> => dev('up', '--workers', '0', '--detach');
  const managerLog = (): string => readFileSync(`${cluster.stateDir}/node-1/manager.log`, 'utf8');

  async function services(): Promise<string[]> {
    const answer = await cluster.api<{ Spec: { Name: string } }[]>('GET', '/services');
    expect(answer.status).to.equal(200);
    return answer.body.map((service) => service.Spec.Name);
  }

  async function create(name: string): Promise<void> {
    const answer = await cluster.api('POST', '/services/create', {
      Name: name,
      TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
      Mode: { Replicated: { Replicas: 0 } },
    });
    expect(answer.status).to.equal(201);
  }

  function newestSegment(): string {
    const folder = readdirSync(`${cluster.stateDir}/node-1/raft`, { recursive: true, encoding: 'utf8' });
    const name = folder
      .filter((entry) => entry.endsWith('.wal'))
      .sort()
      .at(-1);
    return join(`${cluster.stateDir}/node-1/raft`, name!);
  }

  /** What follows are zeros: room set aside. */
  function usedBytes(file: string): number {
    return readFileSync(file).findLastIndex((byte) => byte !== 0) + 1;
  }

  function flip(file: string, offset: number): void {
    const fd = openSync(file, 'r+');
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, offset);
    byte[0] = byte[0]! ^ 0x10;
    writeSync(fd, byte, 0, 1, offset);
    closeSync(fd);
  }

  before(async () => {
    await cluster.up();
    for (const name of [...kept, 'last']) await create(name);
  });
  after(() => cluster.end());

  it('cuts a torn last record, says so and goes on', async () => {
    expect((await dev('down')).code).to.equal(0);
    const segment = newestSegment();
    truncateSync(segment, usedBytes(segment) - 3);
    const again = await upAgain();
    expect(again.code, again.stdout + again.stderr).to.equal(0);
    expect(await services()).to.include.members(kept);
    const said = managerLog()
      .split('\n')
      .find((line) => line.includes('an unfinished write was cut off the log'));
    console.log(`      ${said}`);
    expect(said).to.include(segment);
  });

  it('refuses to start on a flipped byte, names file and offset, and harms nothing', async () => {
    // A segment that was just begun holds little but its header: there must be frames to damage.
    for (const name of ['more-1', 'more-2', 'more-3', 'more-4']) await create(name);
    const before = await services();
    const segment = newestSegment();
    const place = Math.floor((usedBytes(segment) * 3) / 4);
    flip(segment, place);
    const pid = Number(readFileSync(`/run/enxame/e2e-damage/node-1/manager.pid`, 'utf8'));
    process.kill(pid, 'SIGKILL');
    const refused = await eventually('the refusal in the answer of the API', 20_000, async () => {
      const answer = await cluster.api<{ message: string }>('GET', '/services');
      return answer.status === 500 ? answer.body.message : undefined;
    });
    console.log(`      ${refused}`);
    const words = /cannot start: .*raft log (\S+\.wal) at offset (\d+): the frame .*checksum/;
    const [, file, offset] = words.exec(refused) ?? [];
    expect(file).to.equal(segment);
    expect(Number(offset)).to.be.at.most(place);
    expect(managerLog()).to.match(/raft log \S+\.wal at offset \d+: the frame .*checksum/);

    expect((await dev('down')).code).to.equal(0);
    const start = await upAgain();
    expect(start.code).to.equal(1);
    expect(start.stdout + start.stderr).to.match(words);

    // Nothing was changed by the refusals: with the byte put right all is there.
    flip(segment, place);
    const again = await upAgain();
    expect(again.code, again.stdout + again.stderr).to.equal(0);
    expect(await services()).to.have.members(before);
  });
});
