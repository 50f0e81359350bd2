/**
 * A group of members in a simulated world, made from a seed: members, network, disks and clocks as the options say,
 * clients that work, faults that strike, checkers that look at every step. Then everything is healed, and the group
 * must make progress within a bound; then what the clients were told is judged.
 */
import { type MemberId, type Membership, membersOf, type SnapshotIntake, votersOnly } from '#libs/raft';
import type { Rules } from '#libs/raft/testing';
import { AllCheckers } from './checkers/all.js';
import { AppliedStates } from './checkers/applied-states.js';
import { Client } from './client.js';
import { SimClock } from './clock.js';
import { SimDisk } from './disk.js';
import { Faults } from './faults.js';
import { HistoryRecorder, toOperations } from './linearizability/history.js';
import { describeVerdict, judge } from './linearizability/judge.js';
import { keyValueModel } from './linearizability/key-value.js';
import { Member } from './member.js';
import type { MemberProcess } from './member-process.js';
import { SimNetwork } from './network.js';
import { NodeProcess } from './node-process.js';
import { Operator } from './operator.js';
import type { WorldOptions } from './options.js';
import { describePacket, type Packet } from './packets.js';
import { plots } from './plots/index.js';
import { Stage } from './plots/stage.js';
import { CoreProcess, type SnapshotStream } from './process.js';
import { SeededRandom } from './random.js';
import { emptyReport, type RunReport } from './report.js';
import { Scheduler } from './scheduler.js';

/** Time to come to rest once nothing goes wrong any more. */
const healMsMax = 60_000;
const probeMsMax = 60_000;
const lookEveryMs = 100;
const judgeStepsMax = 300_000;
/** A stream that says nothing for so long is broken. */
const streamMsMax = 4000;
/** Ten times what a busy world does. */
const eventsPerSecondMax = 50_000;

export class Violation extends Error {}

export class World {
  readonly random: SeededRandom;
  readonly scheduler = new Scheduler();
  readonly network: SimNetwork<Packet>;
  readonly checkers = new AllCheckers((finding) => this.report(finding));
  /** In worlds of real drivers, which do not show their cores. */
  readonly states = new AppliedStates((finding) => this.report(finding));
  readonly history = new HistoryRecorder();
  readonly members = new Map<MemberId, Member>();
  readonly counts: RunReport = emptyReport();
  /** The newest one that was applied anywhere. */
  membership: { index: number; membership: Membership };
  asyncWork = 0;
  /** Told of everything, for a run that is looked into. */
  trace: ((line: string) => void) | undefined;
  private readonly clients: Client[] = [];
  private readonly faults: Faults;
  readonly operator: Operator;
  private finding: string | undefined;
  private acknowledgedIndex = 0;
  private readonly stage: Stage | undefined;
  private nextMember: number;
  private isHealed = false;

  constructor(
    readonly options: WorldOptions,
    /** A core that is wrong on purpose. */
    readonly rules?: Rules,
  ) {
    this.random = new SeededRandom(options.seed ^ 0x5eed);
    this.network = new SimNetwork(this.scheduler, this.random, options.network);
    const ids = Array.from({ length: options.members }, (_, i) => `m${i + 1}`);
    this.nextMember = ids.length + 1;
    const bootstrap = votersOnly(ids);
    this.membership = { index: 0, membership: bootstrap };
    for (const id of ids) this.addMember(id, bootstrap);
    this.operator = new Operator(this);
    this.faults = new Faults(this);
    for (let i = 1; i <= options.clients; i++) this.clients.push(new Client(this, `c${i}`));
    const { plot } = options;
    if (plot !== undefined) this.stage = new Stage(this, plots[plot].play, () => this.begin());
  }

  /** Throws a Violation that says what is wrong. */
  async execute(): Promise<RunReport> {
    for (const member of this.members.values()) this.start(member);
    if (this.stage === undefined) this.begin();
    await this.runUntil(this.options.simulatedMs);
    this.heal();
    await this.mustCome('rest', healMsMax);
    for (const [at, id] of this.contacts().entries()) {
      const client = this.clients[at % this.clients.length];
      client?.plan({ op: 'append', key: 'k1', value: `through ${id} ` }, id);
      for (let key = 1; key <= this.options.keys; key++) client?.plan({ op: 'get', key: `k${key}` }, id);
    }
    await this.mustCome('progress', probeMsMax);
    this.judge();
    if (this.stage?.outcome === 'done') this.counts.plots++;
    this.counts.simulatedMs = this.scheduler.nowMs;
    this.counts.elections = this.checkers.elections.count + this.states.elections;
    this.counts.commits = this.checkers.committed.lastIndex + this.states.lastIndex;
    this.counts.answers = this.clients.reduce((sum, { answered }) => sum + answered, 0);
    return this.counts;
  }

  /** The life of every day, after the plot if there is one. */
  private begin(): void {
    for (const client of this.clients) client.start();
    this.faults.start();
    this.operator.start();
  }

  addClient(client: Client): Client {
    this.clients.push(client);
    return client;
  }

  report(finding: string): void {
    this.tell(() => `FINDING ${finding}`);
    this.finding ??= `at ${this.scheduler.nowMs.toFixed(1)} ms: ${finding}`;
  }

  tell(line: () => string): void {
    this.trace?.(`${this.scheduler.nowMs.toFixed(1).padStart(9)} ${line()}`);
  }

  acknowledged(index: number): void {
    this.acknowledgedIndex = Math.max(this.acknowledgedIndex, index);
  }

  membershipChanged(index: number, membership: Membership): void {
    if (index < this.membership.index || isSame(membership, this.membership.membership)) return;
    const before = membersOf(this.membership.membership);
    this.membership = { index, membership };
    this.counts.membershipChanges++;
    if (this.stage?.outcome !== 'playing') this.operator.changed(membership);
    const now = membersOf(membership);
    for (const id of before) if (!now.includes(id)) this.retireLater(id);
  }

  /** Whom clients know of: some may be down. */
  contacts(): readonly MemberId[] {
    return membersOf(this.membership.membership);
  }

  leader(): MemberProcess | undefined {
    let newest: MemberProcess | undefined;
    for (const { process, isAwake } of this.members.values()) {
      if (!isAwake || process === undefined || !process.isLeader) continue;
      if (newest === undefined || process.status().term > newest.status().term) newest = process;
    }
    return newest;
  }

  /** A guess at what a key holds, as a client of a cas has one. */
  lastSeen(key: string): string | null {
    const { process } = this.random.pick([...this.members.values()]);
    return process?.machine.get(key) ?? null;
  }

  drawFaultMs(...usualMs: readonly number[]): number {
    return this.random.pick(usualMs) * this.options.faultLength;
  }

  drawDiskLatencyMs(): number {
    const [least, most] = this.options.diskLatencyMs;
    return least + this.random.fraction() * (most - least);
  }

  /** These and maybe some others on one side of a cut. */
  separate(some: readonly MemberId[]): void {
    this.faults.separate(some);
  }

  /** Nobody reaches this one, whom others may still hear. */
  deafen(id: MemberId): void {
    this.faults.cutLinks([...this.members.keys()].map((other) => [other, id] as const));
  }

  /** Either end may be told, at once or in a moment. */
  linkBroke(a: MemberId, b: MemberId): void {
    const { linkNewsChance } = this.options;
    if (linkNewsChance === 0) return;
    for (const [id, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!this.random.chance(linkNewsChance)) continue;
      this.scheduler.after(this.random.below(50), () => {
        const member = this.members.get(id);
        const process = member?.process;
        if (process !== undefined) member?.whenAwake(process, () => process.unreachable(peer));
      });
    }
  }

  newMember(): Member {
    return this.addMember(`m${this.nextMember++}`, undefined);
  }

  start(member: Member): void {
    if (member.isUp || member.isDamaged || member.isGone) return;
    const Kind = this.options.driver ? NodeProcess : CoreProcess;
    const process = new Kind(member, this, ++member.starts);
    member.process = process;
    process
      .start()
      .then(() => {
        if (!process.isOver) member.isDecayed = false;
      })
      .catch((error: unknown) => this.startFailed(member, process, error));
  }

  /** `kill`: what the process gave to the kernel stays. `power`: what was not synced may be gone. */
  crash(member: Member, kind: 'kill' | 'power'): void {
    if (kind === 'power') member.disk.crash();
    else member.disk.revive();
    if (member.process === undefined) return;
    this.tell(() => `${member.id} crashes (${kind})`);
    this.counts.crashes++;
    this.processOver(member);
    this.restartLater(member);
  }

  /** The disk came to the operation at which this member was to go down. */
  endInWrite(member: Member): void {
    const kind = this.random.pick(['kill', 'power'] as const);
    if (kind === 'power') member.disk.crash();
    else member.disk.revive();
    this.crash(member, 'kill');
  }

  /** Within a moment, and back within another. */
  crashSoon(member: Member): void {
    member.crashAfterSend = undefined;
    const { process } = member;
    this.scheduler.after(this.random.below(3), () => {
      if (process === undefined || process.isOver) return;
      this.crash(member, this.random.pick(['kill', 'power']));
      this.scheduler.after(this.random.pick([0, 5, 40]), () => this.start(member));
    });
  }

  elected(id: MemberId): void {
    this.faults.elected(id);
  }

  /** The storage gave up: the process ends, and is started again some time. */
  processEnded(member: Member): void {
    const { process } = member;
    if (process === undefined) return;
    if (member.disk.isDead) {
      this.scheduler.after(0, () => {
        if (member.process === process) this.endInWrite(member);
      });
      return;
    }
    this.tell(() => `${member.id} ends: its storage failed`);
    this.counts.storageFailures++;
    this.processOver(member);
    this.restartLater(member);
  }

  switchOff(member: Member): void {
    this.tell(() => `${member.id} is switched off for good`);
    member.isGone = true;
    this.processOver(member);
    this.network.detach(member.id);
  }

  send(from: string, to: string, packet: Packet): void {
    this.tell(() => `${from} sends ${to} ${describePacket(packet)}`);
    // A driver takes what is asked twice for two requests.
    this.network.send(from, to, packet, { once: packet.kind === 'request' && this.options.driver });
  }

  /** Takes its time, and breaks where a cut or a crash is in the way. */
  stream(
    from: MemberId,
    to: MemberId,
    snapshot: SnapshotStream,
    done: (outcome: 'delivered' | 'failed') => void,
  ): void {
    let isOver = false;
    const end = (outcome: 'delivered' | 'failed') => () => {
      if (isOver) return;
      isOver = true;
      const sender = this.members.get(from);
      const process = sender?.process;
      if (process !== undefined) sender?.whenAwake(process, () => done(outcome));
    };
    this.scheduler.after(streamMsMax, end('failed'));
    this.scheduler.after(this.network.latencyMs() * (2 + snapshot.chunks.length), () => {
      const receiver = this.members.get(to);
      const process = receiver?.process;
      const isBroken = this.network.isCut(from, to) || (!this.isHealed && this.random.chance(0.1));
      if (receiver === undefined || process === undefined || isBroken) return end('failed')();
      receiver.whenAwake(process, () => {
        this.counts.snapshotsSent++;
        if (process instanceof CoreProcess) {
          process.receiveSnapshot(from, snapshot).then(end('delivered'), end('failed'));
        }
      });
    });
  }

  delay(ms: number): Promise<void> {
    return new Promise((resolve) => this.scheduler.after(ms, resolve));
  }

  /** Where a snapshot from one driver to another goes now. Throws when there is no way. */
  intakeOf(from: MemberId, to: MemberId): SnapshotIntake {
    const member = this.members.get(to);
    const process = member?.isAwake ? member.process : undefined;
    const intake = process instanceof NodeProcess ? process.intake() : undefined;
    if (intake === undefined || this.network.isCut(from, to)) throw new Error('the stream broke');
    return intake;
  }

  private addMember(id: MemberId, bootstrap: Membership | undefined): Member {
    const drift = (this.random.fraction() * 2 - 1) * this.options.clockDriftMax;
    const clock = new SimClock(this.scheduler, { rate: 1 + drift });
    const member = new Member(id, new SimDisk(this.random), clock, bootstrap);
    this.members.set(id, member);
    this.network.attach(id, (from, packet) => {
      const { process } = member;
      this.tell(
        () => `${id} gets from ${from} ${describePacket(packet)}${process === undefined ? ' (down)' : ''}`,
      );
      if (process !== undefined) member.whenAwake(process, () => process.receive(from, packet));
    });
    return member;
  }

  private startFailed(member: Member, process: MemberProcess, error: unknown): void {
    if (process.isOver) return;
    this.tell(() => `${member.id} does not start: ${String(error)}`);
    this.processOver(member);
    const isDamage = error instanceof Error && 'code' in error && error.code === 'data-damaged';
    if (isDamage && !member.disk.isDead) {
      if (!member.isDecayed) this.report(`${member.id} refuses its disk, which is sound: ${error.message}`);
      member.isDamaged = true;
      this.counts.damageFound++;
      return;
    }
    const isStorage = error instanceof Error && /ENOSPC|EIO|CRASH/.test(error.message);
    if (!isStorage && !isDamage) this.report(`${member.id} does not start: ${String(error)}`);
    if (member.disk.isDead) this.endInWrite(member);
    this.counts.storageFailures++;
    this.restartLater(member);
  }

  private processOver(member: Member): void {
    member.process?.end();
    member.process = undefined;
    member.forgetBacklog();
    for (const id of this.members.keys()) if (id !== member.id) this.linkBroke(id, member.id);
  }

  private restartLater(member: Member): void {
    const delayMs = this.isHealed ? 100 : this.drawFaultMs(10, 500, 3000, 8000);
    this.scheduler.after(delayMs, () => this.start(member));
  }

  private retireLater(id: MemberId): void {
    // For a while it goes on not knowing, and must disturb nobody.
    this.scheduler.after(3000 + this.random.below(15_000), () => {
      const member = this.members.get(id);
      if (member === undefined) return;
      // Another change, or the word of somebody late, has it in again.
      if (membersOf(this.membership.membership).includes(id)) return;
      // Whoever has not heard of the removal still needs it: a careful operator waits until most have.
      if (this.isRemovalKnown(id)) this.switchOff(member);
      else this.retireLater(id);
    });
  }

  private isRemovalKnown(id: MemberId): boolean {
    const { voters } = this.membership.membership;
    const knowing = voters.filter((voter) => {
      const process = this.members.get(voter)?.process;
      if (process === undefined) return false;
      // A member that has just come knows of nobody at all.
      const known = membersOf(process.membership);
      return known.length > 0 && !known.includes(id);
    });
    return knowing.length * 2 > voters.length;
  }

  private heal(): void {
    this.tell(() => 'everything is healed');
    this.isHealed = true;
    this.stage?.end('given-up');
    this.faults.stop();
    this.network.isReliable = true;
    this.network.mendAll();
    for (const client of this.clients) client.stopDrawing();
    for (const member of this.members.values()) {
      this.faults.repair(member);
      this.start(member);
    }
  }

  private async runUntil(untilMs: number): Promise<void> {
    let second = 0;
    let events = 0;
    while (this.scheduler.runNext(untilMs)) {
      if (++events > eventsPerSecondMax)
        this.report(`a storm: over ${eventsPerSecondMax} events in a second`);
      if (this.scheduler.nowMs >= (second + 1) * 1000) {
        second = Math.floor(this.scheduler.nowMs / 1000);
        events = 0;
      }
      if (this.asyncWork > 0) await new Promise((resolve) => setImmediate(resolve));
      this.stage?.look();
      if (this.finding !== undefined) throw new Violation(this.finding);
    }
  }

  private async mustCome(what: 'rest' | 'progress', withinMs: number): Promise<void> {
    const endMs = this.scheduler.nowMs + withinMs;
    while (this.scheduler.nowMs < endMs) {
      await this.runUntil(this.scheduler.nowMs + lookEveryMs);
      if (this.unrest() === undefined) return;
    }
    throw new Violation(`liveness: no ${what} within ${withinMs} ms of sound life: ${this.unrest()}`);
  }

  /** What is still to be done; undefined when the group is whole and everybody has everything. */
  private unrest(): string | undefined {
    const leader = this.leader();
    if (leader === undefined) return 'there is no leader';
    const busy = this.clients.find(({ isBusy }) => isBusy);
    if (busy !== undefined) return `${busy.id} waits for an answer`;
    const { commit, lastIndex } = leader.status();
    if (commit < lastIndex) return `${leader.id} has committed ${commit} of ${lastIndex}`;
    if (commit < this.acknowledgedIndex) {
      return `${leader.id} ends at ${commit}, a write at ${this.acknowledgedIndex} was acknowledged`;
    }
    if (this.operator.hasWork()) return 'the membership is still to change';
    for (const id of this.contacts()) {
      const index = this.members.get(id)?.process?.machine.index;
      if (index !== commit) return `${id} has applied ${index ?? 'nothing'} of ${commit}`;
    }
    return undefined;
  }

  private judge(): void {
    const verdict = judge(keyValueModel, toOperations(this.history.events), judgeStepsMax);
    if (verdict.kind === 'violation') throw new Violation(describeVerdict(keyValueModel, verdict));
    if (verdict.kind === 'undecided') this.counts.undecided++;
  }
}

function isSame(a: Membership, b: Membership): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
