/**
 * A group of members under a seeded random schedule: messages are lost, doubled, delayed and reordered, members are
 * cut off, crash in the middle of writes and come back, logs are compacted. Checked at every step:
 *
 * - at most one leader per term;
 * - the same entry is applied at an index everywhere, in order, without gaps, also across restarts;
 * - what a proposer was told is applied is never missing later;
 * - a read that a leader allows is not older than anything acknowledged before the read was asked for.
 */
import { votersOnly } from '../membership/membership.js';
import { type Rules, soundRules } from '../rules.js';
import type { MemberId, Message } from '../types.js';
import { seededRandom } from './random.js';
import { type AppliedEntry, type DiskBound, SimMember, type SimSnapshot } from './sim-member.js';

interface Envelope {
  from: MemberId;
  to: MemberId;
  message: Message;
}

export interface ChaosOptions {
  seed: number;
  members: number;
  steps: number;
}

export interface ChaosReport {
  acknowledged: number;
  leaders: number;
  reads: number;
  snapshotsInstalled: number;
  crashes: number;
}

const messagesMax = 500;

export class ChaosWorld {
  private readonly random: () => number;
  private readonly ids: MemberId[];
  private readonly members: SimMember[];
  private network: Envelope[] = [];
  private cutOff = new Set<MemberId>();
  private nextRef = 1;
  /** Where each proposal of a member went: a crash forgets them. */
  private readonly placed = new Map<string, { index: number; term: number }>();
  private readonly leaderOfTerm = new Map<number, MemberId>();
  private readonly history: AppliedEntry[] = [];
  private readonly readFloors = new Map<number, number>();
  private acknowledgedIndex = 0;
  readonly report: ChaosReport = { acknowledged: 0, leaders: 0, reads: 0, snapshotsInstalled: 0, crashes: 0 };

  constructor(
    private readonly options: ChaosOptions,
    rules: Rules = soundRules,
  ) {
    this.random = seededRandom(options.seed);
    this.ids = Array.from({ length: options.members }, (_, i) => `m${i + 1}`);
    this.members = this.ids.map(
      (id) =>
        new SimMember(
          {
            id,
            bootstrap: votersOnly(this.ids),
            electionTicks: 10,
            heartbeatTicks: 2,
            appendEntriesMax: 16,
            appendBytesMax: 64,
            inflightAppendsMax: 8,
            inflightBytesMax: 1024,
            uncommittedBytesMax: 4096,
            applyingBytesMax: 1024,
            random: this.random,
          },
          {
            send: (from, to, message) => this.network.push({ from, to, message }),
            command: (member, command) => this.onCommand(member, command),
            snapshotAt: (index) => this.snapshotAt(index),
          },
          rules,
        ),
    );
  }

  run(): ChaosReport {
    for (const member of this.members) member.start();
    for (let step = 0; step < this.options.steps; step++) this.disturb();
    this.healAndConverge();
    return this.report;
  }

  private disturb(): void {
    const member = this.members[this.below(this.members.length)] as SimMember;
    const dice = this.random();
    if (dice < 0.1) member.step({ kind: 'tick' });
    else if (dice < 0.66) this.deliverOne();
    else if (dice < 0.86) member.finishWrites(1 + this.below(3));
    else if (dice < 0.93) this.propose(member);
    else if (dice < 0.96) this.read(member);
    else if (dice < 0.975) member.compact(this.below(8));
    else if (dice < 0.98) this.cutOff.add(member.id);
    else if (dice < 0.985) this.crash(member);
    else if (dice < 0.995) this.repair(member);
    else if (dice < 0.996) this.runClockAhead(member);
    else if (dice < 0.998) this.loseHalf();
  }

  private loseHalf(): void {
    const lost = this.network.filter(() => this.random() < 0.5);
    this.network = this.network.filter((envelope) => !lost.includes(envelope));
    for (const envelope of lost) this.lose(envelope);
  }

  private deliverOne(): void {
    const surplus = this.network.splice(0, Math.max(0, this.network.length - messagesMax));
    for (const envelope of surplus) this.lose(envelope);
    const at = this.below(this.network.length);
    const envelope = this.network[at];
    if (envelope === undefined) return;
    if (this.random() > 0.05) this.network.splice(at, 1);
    this.deliver(envelope);
  }

  private deliver(envelope: Envelope): void {
    const { from, to, message } = envelope;
    if (this.cutOff.has(from) || this.cutOff.has(to)) return this.lose(envelope);
    this.members.find((member) => member.id === to)?.step({ kind: 'message', from, message });
    this.endSnapshot(envelope, 'delivered');
  }

  private lose(envelope: Envelope): void {
    this.endSnapshot(envelope, 'failed');
  }

  private endSnapshot({ from, to, message }: Envelope, outcome: 'delivered' | 'failed'): void {
    if (message.kind !== 'snapshot') return;
    this.members.find((member) => member.id === from)?.step({ kind: 'snapshot-status', peer: to, outcome });
  }

  private propose(member: SimMember): void {
    const ref = this.nextRef++;
    member.step({ kind: 'propose', proposals: [{ ref, data: Buffer.from(`p${ref}`) }] });
  }

  private read(member: SimMember): void {
    const ref = this.nextRef++;
    this.readFloors.set(ref, this.acknowledgedIndex);
    member.step({ kind: 'read', refs: [ref] });
  }

  /** Clocks differ: here an election timeout passes while another member's stands still. */
  private runClockAhead(member: SimMember): void {
    for (let i = 0; i < 20; i++) member.step({ kind: 'tick' });
  }

  private repair(member: SimMember): void {
    this.cutOff.delete(member.id);
    if (member.core === undefined) member.start();
  }

  private crash(member: SimMember): void {
    if (member.core === undefined) return;
    this.report.crashes++;
    member.crash();
    for (const key of this.placed.keys()) if (key.startsWith(`${member.id}:`)) this.placed.delete(key);
  }

  private onCommand(member: SimMember, command: DiskBound): void {
    switch (command.kind) {
      case 'role-changed':
        if (command.role === 'leader') this.checkLeader(member.id, command.term);
        return;
      case 'proposed':
        this.placed.set(`${member.id}:${command.index}`, { index: command.index, term: command.term });
        return;
      case 'apply':
        this.checkApplied(member);
        return;
      case 'install-snapshot':
        this.report.snapshotsInstalled++;
        this.checkApplied(member);
        return;
      case 'read-ready': {
        this.report.reads++;
        const floor = this.readFloors.get(command.refs[0] ?? 0) ?? 0;
        if (command.index < floor) this.fail(`read at ${command.index} misses acknowledged ${floor}`);
        return;
      }
      case 'send':
      case 'refused':
      case 'membership-changed':
      case 'transfer-ended':
        return;
    }
  }

  private checkLeader(id: MemberId, term: number): void {
    const other = this.leaderOfTerm.get(term);
    if (other !== undefined && other !== id) this.fail(`two leaders in term ${term}: ${other} and ${id}`);
    this.leaderOfTerm.set(term, id);
    this.report.leaders = this.leaderOfTerm.size;
  }

  private checkApplied(member: SimMember): void {
    for (const [position, entry] of member.applied.entries()) {
      if (entry.index !== position + 1)
        this.fail(`${member.id} applied ${entry.index} as number ${position + 1}`);
      const known = this.history[position];
      if (known === undefined) this.history.push(entry);
      else if (known.term !== entry.term || known.text !== entry.text) {
        this.fail(`${member.id} applied ${entry.text} at ${entry.index}, others ${known.text}`);
      }
      const key = `${member.id}:${entry.index}`;
      const proposal = this.placed.get(key);
      if (proposal === undefined) continue;
      this.placed.delete(key);
      if (proposal.term !== entry.term) continue;
      this.report.acknowledged++;
      this.acknowledgedIndex = Math.max(this.acknowledgedIndex, entry.index);
    }
  }

  private healAndConverge(): void {
    this.cutOff.clear();
    for (const member of this.members) if (member.core === undefined) member.start();
    for (let round = 0; round < 400; round++) {
      for (const member of this.members) member.step({ kind: 'tick' });
      for (let turn = 0; turn < 4; turn++) {
        for (const member of this.members) member.finishWrites(1000);
        for (const envelope of this.network.splice(0)) this.deliver(envelope);
      }
      if (round === 200) for (const member of this.members) this.propose(member);
    }
    const leaders = this.members.filter((member) => member.core?.status().role === 'leader');
    if (leaders.length !== 1) this.fail(`${leaders.length} leaders after everything was healed`);
    for (const member of this.members) {
      this.checkApplied(member);
      if (member.lastApplied !== this.history.length) {
        this.fail(`${member.id} applied ${member.lastApplied} of ${this.history.length} after healing`);
      }
    }
    if (this.acknowledgedIndex < this.history.length - 1)
      this.fail('the proposal after healing was not applied');
  }

  private snapshotAt(index: number): SimSnapshot {
    const applied = this.history.slice(0, index);
    const last = applied.at(-1);
    if (last?.index !== index) this.fail(`snapshot at ${index} was never applied`);
    return { meta: { index, term: last?.term ?? 0, membership: votersOnly(this.ids) }, applied };
  }

  private below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  private fail(what: string): never {
    throw new Error(`seed ${this.options.seed}, ${this.options.members} members: ${what}`);
  }
}
