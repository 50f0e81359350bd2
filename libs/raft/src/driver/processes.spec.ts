/** Members as they run in the product: gRPC with certificates, real files, real time, and processes that are killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import type { Origin, RaftLimits, RaftNode } from '../port.js';
import { TestCluster } from '../transport/testing/certificates.js';
import { eventually } from '../transport/testing/eventually.js';
import { TestPeer } from '../transport/testing/test-peer.js';
import { createRaftNode } from './raft-node.js';
import { systemClock } from './system-clock.js';
import type { GroupMemberConfig } from './testing/group-member.js';
import { Ledger } from './testing/ledger.js';

const ids = ['a', 'b', 'c'];

describe('raft: a group over gRPC', function () {
  this.timeout(60_000);
  let dir: string;
  let cluster: TestCluster;

  before(async () => {
    cluster = await TestCluster.create();
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-raft-grpc-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  describe('in one process', () => {
    const members = new Map<string, { node: RaftNode; ledger: Ledger; peer: TestPeer }>();

    async function start(id: string, origin: Origin, limits: Partial<RaftLimits> = {}): Promise<RaftNode> {
      const ledger = new Ledger();
      const peer = await TestPeer.start({ id, credentials: await cluster.credentials(id) });
      const node = createRaftNode({
        id,
        origin,
        dir: join(dir, id),
        stateMachine: ledger,
        transport: peer.transport,
        clock: systemClock,
        random: Math.random,
        limits: { tickMs: 50, proposalTimeoutTicks: 1_000, ...limits },
      });
      members.set(id, { node, ledger, peer });
      await node.start();
      TestPeer.introduce(...[...members.values()].map((member) => member.peer));
      return node;
    }

    afterEach(async () => {
      for (const { node, peer } of members.values()) {
        await node.stop();
        await peer.stop();
      }
      members.clear();
    });

    const ledgerOf = (id: string): string[] => members.get(id)?.ledger.lines ?? [];

    it('elects, takes writes and a 10 MB proposal through any member, and goes on without one of three', async () => {
      for (const id of ids) await start(id, { kind: 'bootstrap', members: ids });
      const large = 'x'.repeat(10 * 1024 * 1024);
      for (const id of ids) await members.get(id)?.node.propose(Buffer.from(`by ${id}`));
      const follower = ids.find((id) => members.get(id)?.node.status().role !== 'leader') ?? '';
      await members.get(follower)?.node.propose(Buffer.from(large));
      expect(ledgerOf(follower).at(-1)?.length).to.equal(large.length);
      await eventually(() => ids.every((id) => ledgerOf(id).length === 4));
      const leader = ids.find((id) => members.get(id)?.node.status().role === 'leader') ?? '';
      await members.get(leader)?.node.stop();
      await members.get(leader)?.peer.stop();
      const rest = ids.filter((id) => id !== leader);
      for (const id of rest) await members.get(id)?.node.propose(Buffer.from(`later by ${id}`));
      for (const id of rest) await members.get(id)?.node.readIndex();
      expect(rest.map((id) => ledgerOf(id).slice(4))).to.deep.equal(
        rest.map(() => rest.map((id) => `later by ${id}`)),
      );
    });

    it('brings a member without a store up by a snapshot, on streams that the leader opened', async () => {
      const node = await start(
        'a',
        { kind: 'bootstrap', members: ['a'] },
        { snapshotEntries: 100, keptEntries: 5, keptBytes: 0 },
      );
      const value = 'y'.repeat(20_000);
      await Promise.all(Array.from({ length: 150 }, (_, i) => node.propose(Buffer.from(`${i} ${value}`))));
      await eventually(() => node.status().firstIndex > 5);
      await start('d', { kind: 'join' });
      // It knows nobody; only the leader knows where it is.
      members.get('d')?.peer.transport.setPeers(new Map());
      await node.changeMembership([{ kind: 'add-voter', id: 'd' }]);
      await members.get('d')?.node.propose(Buffer.from('from d'));
      expect(ledgerOf('d')).to.deep.equal(ledgerOf('a'));
      expect(ledgerOf('d')).to.have.length(151);
    });
  });

  it('loses no acknowledged write and applies none twice while its processes are killed', async () => {
    const addresses = Object.fromEntries(
      (await freePorts(3)).map((port, i) => [ids[i], `127.0.0.1:${port}`]),
    );
    const credentials = new Map<string, GroupMemberConfig['credentials']>();
    for (const id of ids) credentials.set(id, await cluster.credentials(id));
    const acknowledged: string[] = [];
    const start = (id: string, run: number): Program =>
      new Program(
        {
          id,
          word: `${id}${run}`,
          dir: join(dir, id),
          members: ids,
          addresses,
          credentials: credentials.get(id) as GroupMemberConfig['credentials'],
        },
        (line) => acknowledged.push(line),
      );
    const programs = new Map(ids.map((id) => [id, start(id, 0)]));
    const more = async (count: number): Promise<void> => {
      const wanted = acknowledged.length + count;
      await eventually(() => acknowledged.length >= wanted, undefined, 40_000);
    };
    try {
      await more(300);
      for (const [run, id] of ['a', 'b', 'c'].entries()) {
        await programs.get(id)?.kill();
        // The others go on without it, whether it led or not.
        await more(100);
        programs.set(id, start(id, run + 1));
        await more(100);
      }
      const all = [...programs.values()];
      await Promise.all(all.map((program) => program.idle()));
      const ledgers = await Promise.all(all.map((program) => program.ledger()));
      expect(ledgers[1]).to.deep.equal(ledgers[0]);
      expect(ledgers[2]).to.deep.equal(ledgers[0]);
      const held = new Set(ledgers[0]);
      expect(held.size, 'each line once').to.equal(ledgers[0]?.length);
      expect(acknowledged.filter((line) => !held.has(line))).to.deep.equal([]);
    } finally {
      await Promise.all([...programs.values()].map((program) => program.kill()));
    }
  });
});

class Program {
  private readonly child: ChildProcess;
  private isIdle = false;
  private lines: string[] | undefined;

  constructor(config: GroupMemberConfig, acknowledged: (line: string) => void) {
    const program = fileURLToPath(new URL('./testing/group-member.js', import.meta.url));
    const child = spawn(process.execPath, [program, JSON.stringify(config)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child = child;
    createInterface({ input: child.stdout }).on('line', (text) => {
      const [word, ...rest] = text.split(' ');
      if (word === 'ack') acknowledged(rest.join(' '));
      else if (word === 'idle') this.isIdle = true;
      else this.lines = JSON.parse(rest.join(' ')) as string[];
    });
  }

  async idle(): Promise<void> {
    this.child.stdin?.write('\n');
    await eventually(() => this.isIdle);
  }

  async ledger(): Promise<string[]> {
    this.child.stdin?.write('\n');
    await eventually(() => this.lines !== undefined);
    return this.lines ?? [];
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
