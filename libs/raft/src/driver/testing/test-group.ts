/**
 * Several members in one process, over files in a temporary folder, with a clock that runs as fast as the event loop
 * turns: no test waits for real time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EnxameError } from '#libs/model';
import type { MemberId } from '../../core/types.js';
import type { Origin, RaftClock, RaftLimits, RaftNode, RaftNodeOptions } from '../../port.js';
import { localStorage } from '../../wal/local-storage.js';
import { nodeDisk } from '../../wal/node-disk.js';
import { createRaftNode } from '../raft-node.js';
import { Ledger } from './ledger.js';
import { LocalNetwork } from './local-network.js';

/** Turns of the event loop in one tick: enough for a message and its answer. */
const turnsPerTick = 8;

export interface TestMember {
  id: MemberId;
  node: RaftNode;
  ledger: Ledger;
  failure?: EnxameError;
  wasRemoved: boolean;
}

export class TestGroup {
  readonly dir = mkdtempSync(join(tmpdir(), 'enxame-raft-group-'));
  readonly network = new LocalNetwork();
  readonly members = new Map<MemberId, TestMember>();
  private readonly tickers = new Set<() => void>();
  private turns = 0;
  private isRunning = true;
  limits: Partial<RaftLimits> = {};
  random: () => number = Math.random;
  /** Given to members that start from now on. */
  overrides: Partial<RaftNodeOptions> = {};

  private readonly clock: RaftClock = {
    every: (_ms, callback) => {
      this.tickers.add(callback);
      return () => this.tickers.delete(callback);
    },
    soon: (callback) => void setImmediate(callback),
  };

  constructor() {
    this.turn();
  }

  private turn(): void {
    if (!this.isRunning) return;
    if (++this.turns % turnsPerTick === 0) for (const tick of this.tickers) tick();
    setImmediate(() => this.turn());
  }

  async bootstrap(...ids: MemberId[]): Promise<void> {
    await Promise.all(ids.map((id) => this.start(id, { kind: 'bootstrap', members: ids })));
  }

  async start(id: MemberId, origin: Origin = { kind: 'join' }): Promise<TestMember> {
    const member: Partial<TestMember> = { id, ledger: new Ledger(), wasRemoved: false };
    member.node = createRaftNode({
      id,
      origin,
      dir: join(this.dir, id),
      stateMachine: member.ledger as Ledger,
      transport: this.network.transportOf(id),
      clock: this.clock,
      random: () => this.random(),
      openStorage: localStorage(nodeDisk, setImmediate),
      limits: this.limits,
      onFailure: (error) => {
        member.failure = error;
      },
      onRemoved: () => {
        member.wasRemoved = true;
      },
      ...this.overrides,
    });
    this.members.set(id, member as TestMember);
    await member.node.start();
    return member as TestMember;
  }

  async restart(id: MemberId): Promise<TestMember> {
    await this.get(id).node.stop();
    return this.start(id);
  }

  get(id: MemberId): TestMember {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`there is no member ${id}`);
    return member;
  }

  /** Resolves with the member that leads, among those that are given or all. */
  async leader(...among: MemberId[]): Promise<TestMember> {
    let leader: TestMember | undefined;
    await this.until(() => {
      const ids = among.length === 0 ? [...this.members.keys()] : among;
      leader = ids
        .map((id) => this.get(id))
        .filter(({ node }) => node.status().role === 'leader')
        .sort((a, b) => b.node.status().term - a.node.status().term)[0];
      return leader !== undefined;
    }, 'somebody leads');
    return leader as TestMember;
  }

  async follower(): Promise<TestMember> {
    const { id } = await this.leader();
    const other = [...this.members.values()].find((member) => member.id !== id);
    if (other === undefined) throw new Error('there is only a leader');
    await this.until(() => other.node.status().leader === id, `${other.id} follows ${id}`);
    return other;
  }

  async until(isSo: () => boolean, what: string, ticksMax = 2_000): Promise<void> {
    const end = this.turns + ticksMax * turnsPerTick;
    while (!isSo()) {
      if (this.turns > end) {
        const statuses = [...this.members.values()].map(({ id, node }) => {
          const { role, term, commit, applied, lastIndex } = node.status();
          return `${id} ${role} term ${term} commit ${commit} applied ${applied} last ${lastIndex}`;
        });
        throw new Error(`within ${ticksMax} ticks: ${what} (${statuses.join('; ')})`);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.members.values()].map(({ node }) => node.stop()));
    this.isRunning = false;
    rmSync(this.dir, { recursive: true });
  }
}
