/**
 * One run of a member's process, from start to crash: the real core on the real storage, and around them what a
 * driver does, with a map as state machine and clients that ask for writes and reads.
 */
import {
  type Command,
  type Entry,
  emptyMembership,
  type Input,
  localStorage,
  type MemberId,
  type Membership,
  type MembershipChange,
  type MembershipTransition,
  type Message,
  RaftCore,
  type RaftStorage,
  type SnapshotMeta,
  type StoredSnapshot,
} from '#libs/raft';
import { recover } from '#libs/raft/testing';
import type { Observed } from './checkers/observer.js';
import { encodeCommand, KeyValueMachine } from './machine.js';
import type { Member } from './member.js';
import type { ChangeOutcome, MemberProcess } from './member-process.js';
import {
  type ClientOutcome,
  type ClientRequest,
  describeCommand,
  describeRecovered,
  type Packet,
} from './packets.js';
import { ProcessTime } from './process-time.js';
import type { World } from './world.js';

type DiskBound = Exclude<Command, { kind: 'persist' }>;
type Applicable = Extract<Command, { kind: 'apply' | 'membership-changed' | 'install-snapshot' }>;

type Waiting =
  | { kind: 'client'; request: ClientRequest; hops: number }
  | { kind: 'change'; done: (outcome: ChangeOutcome) => void };

const readTimeoutTicks = 15;

export class CoreProcess implements Observed, MemberProcess {
  readonly id: MemberId;
  isOver = false;
  core: RaftCore | undefined;
  readonly machine = new KeyValueMachine();
  membership: Membership = emptyMembership;

  private storage: RaftStorage | undefined;
  private readonly inputs: Input[] = [];
  private isStepping = false;
  private waitingForDisk: DiskBound[] = [];
  private durableSequence = 0;
  private readonly toApply: Applicable[] = [];
  private isApplying = false;
  private readonly time: ProcessTime;

  private nextRef = 1;
  private readonly unplaced = new Map<number, Waiting>();
  private readonly placed = new Map<number, Waiting & { term: number }>();
  private readonly reads = new Map<number, { request: ClientRequest; askedAtTick: number; index?: number }>();
  private ticks = 0;
  private snapshotIndex = 0;
  private isTakingSnapshot = false;
  private isReceivingSnapshot = false;
  private stopTicking: (() => void) | undefined;
  /** Promises under way: while there are any, the world lets them go on after each event. */
  private asyncWork = 0;

  constructor(
    private readonly member: Member,
    private readonly world: World,
    readonly incarnation: number,
  ) {
    this.id = member.id;
    this.time = new ProcessTime(this, member, world);
  }

  start(): Promise<void> {
    return this.run(() => this.open());
  }

  private async open(): Promise<void> {
    const { options } = this.world;
    const { segmentBytesMax } = options;
    const dir = '/raft';
    const open = localStorage(this.member.disk, (work) => this.time.afterDisk(work));
    const { storage, content } = await open(
      { dir, segmentBytesMax, keptSnapshots: 0 },
      {
        persisted: (sequence) => this.persisted(sequence),
        failed: () => this.world.processEnded(this.member),
      },
    );
    this.storage = storage;
    const snapshot = storage.newestSnapshot();
    const recovered = recover(dir, snapshot?.meta, content);
    if (snapshot !== undefined) this.machine.restore(snapshot.chunks);
    this.membership = snapshot?.meta.membership ?? emptyMembership;
    this.snapshotIndex = snapshot?.meta.index ?? 0;
    this.core = new RaftCore(
      {
        id: this.id,
        ...(this.member.bootstrap === undefined ? {} : { bootstrap: this.member.bootstrap }),
        ...options.raft,
        random: () => this.world.random.fraction(),
      },
      recovered,
      this.world.rules,
    );
    this.world.tell(() => `${this.id} comes back with ${describeRecovered(recovered)}`);
    this.world.checkers.recovered(this, recovered);
    if (snapshot !== undefined) this.world.checkers.restored(this, snapshot.meta, this.machine.hash);
    this.step({ kind: 'start' });
    this.stopTicking = this.member.clock.every(options.tickMs, () => this.tick());
  }

  /** However it ended. */
  end(): void {
    this.isOver = true;
    this.stopTicking?.();
    this.world.asyncWork -= this.asyncWork;
  }

  private async run<T>(work: () => Promise<T>): Promise<T> {
    this.asyncWork++;
    this.world.asyncWork++;
    try {
      return await work();
    } finally {
      if (!this.isOver) {
        this.asyncWork--;
        this.world.asyncWork--;
      }
    }
  }

  status(): ReturnType<RaftCore['status']> {
    if (this.core === undefined) throw new Error(`${this.id} has not started`);
    return this.core.status();
  }

  termAt(index: number): number | undefined {
    return this.core?.termAt(index);
  }

  get isLeader(): boolean {
    return !this.isOver && this.core?.status().role === 'leader';
  }

  receive(from: string, packet: Packet): void {
    if (packet.kind === 'raft') this.step({ kind: 'message', from, message: packet.message });
    if (packet.kind === 'request') this.serve(packet.request, packet.hops);
  }

  unreachable(peer: MemberId): void {
    this.step({ kind: 'unreachable', peer });
  }

  changeMembership(
    changes: readonly MembershipChange[],
    transition: MembershipTransition,
    done: (outcome: ChangeOutcome) => void,
  ): void {
    const ref = this.waitFor({ kind: 'change', done });
    this.step({ kind: 'propose-membership', ref, changes, transition });
  }

  leaveJoint(done: (outcome: ChangeOutcome) => void): void {
    this.step({ kind: 'leave-joint', ref: this.waitFor({ kind: 'change', done }) });
  }

  /** An operator wants it to ask for votes now. */
  campaign(): void {
    this.step({ kind: 'campaign' });
  }

  transfer(to: MemberId, done: (outcome: ChangeOutcome) => void): void {
    this.step({ kind: 'transfer', ref: this.waitFor({ kind: 'change', done }), to });
  }

  private waitFor(waiting: Waiting): number {
    const ref = this.nextRef++;
    this.unplaced.set(ref, waiting);
    return ref;
  }

  private serve(request: ClientRequest, hops: number): void {
    if (this.core === undefined) return;
    if (request.input.op === 'get') {
      const ref = this.nextRef++;
      this.reads.set(ref, { request, askedAtTick: this.ticks });
      this.step({ kind: 'read', refs: [ref] });
      return;
    }
    const { client, sequence, input } = request;
    const ref = this.waitFor({ kind: 'client', request, hops });
    const data = encodeCommand({ session: client, sequence, input });
    this.step({ kind: 'propose', proposals: [{ ref, data }] });
  }

  private tick(): void {
    if (this.isOver) return;
    this.ticks++;
    this.step({ kind: 'tick' });
    const late = [...this.reads].filter(
      ([, { askedAtTick, index }]) => index === undefined && this.ticks - askedAtTick > readTimeoutTicks,
    );
    if (late.length === 0) return;
    for (const [ref, { request }] of late) {
      this.reads.delete(ref);
      this.respond(request, { kind: 'again' });
    }
    this.step({ kind: 'forget-reads', refs: late.map(([ref]) => ref) });
  }

  /** One input after the other, each with all its commands. */
  private step(first: Input): void {
    this.inputs.push(first);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let input = this.inputs.shift(); input !== undefined; input = this.inputs.shift()) {
        if (this.isOver || this.core === undefined) break;
        this.carryOutAll(this.core.step(input));
      }
    } catch (error) {
      this.world.report(`${this.id} stopped: ${error instanceof Error ? error.stack : String(error)}`);
    } finally {
      this.isStepping = false;
    }
    // Not before: the membership of an applied entry is told by the command after it.
    if (!this.isOver && this.toApply.length === 0) this.snapshotWhenDue();
  }

  private carryOutAll(commands: readonly Command[]): void {
    this.world.checkers.stepped(this, commands);
    for (const command of commands) {
      if (command.kind !== 'send') this.world.tell(() => `${this.id} ${describeCommand(command)}`);
    }
    for (const command of commands) {
      if (command.kind === 'persist') this.storage?.append(command, command.sequence);
      else if (command.afterPersist > this.durableSequence) this.waitingForDisk.push(command);
      else this.carryOut(command);
    }
  }

  private persisted(sequence: number): void {
    if (this.isOver) return;
    this.durableSequence = sequence;
    this.world.checkers.persisted(this, sequence);
    while ((this.waitingForDisk[0]?.afterPersist ?? Number.POSITIVE_INFINITY) <= sequence) {
      this.carryOut(this.waitingForDisk.shift() as DiskBound);
    }
    this.step({ kind: 'persisted', sequence });
  }

  private carryOut(command: DiskBound): void {
    switch (command.kind) {
      case 'send':
        if (command.message.kind === 'snapshot') this.streamSnapshot(command.to, command.message);
        else this.world.send(this.id, command.to, { kind: 'raft', message: command.message });
        if (command.message.kind === this.member.crashAfterSend) this.world.crashSoon(this.member);
        return;
      case 'apply':
      case 'membership-changed':
      case 'install-snapshot':
        this.toApply.push(command);
        return this.applySoon();
      case 'proposed': {
        const waiting = this.unplaced.get(command.ref);
        this.unplaced.delete(command.ref);
        if (waiting !== undefined) this.placed.set(command.index, { ...waiting, term: command.term });
        return;
      }
      case 'refused':
        return this.refused(command);
      case 'read-ready':
        for (const ref of command.refs) {
          const read = this.reads.get(ref);
          if (read !== undefined) read.index = command.index;
        }
        return this.answerReads();
      case 'transfer-ended':
        return this.settleChange(command.ref, command.outcome);
      case 'role-changed':
        if (command.role === 'leader') this.world.elected(this.id);
        return;
    }
  }

  private refused({ ref, reason, leader }: Extract<Command, { kind: 'refused' }>): void {
    const read = this.reads.get(ref);
    if (read !== undefined) {
      this.reads.delete(ref);
      return this.respond(read.request, { kind: 'again' });
    }
    const waiting = this.unplaced.get(ref);
    if (waiting?.kind !== 'client') return this.settleChange(ref, reason);
    this.unplaced.delete(ref);
    const { request, hops } = waiting;
    if (reason === 'not-leader' && leader !== undefined && leader !== this.id && hops < 2) {
      this.world.send(this.id, leader, { kind: 'request', request, hops: hops + 1 });
    } else {
      this.respond(request, { kind: 'again' });
    }
  }

  private settleChange(ref: number, outcome: ChangeOutcome): void {
    const waiting = this.unplaced.get(ref);
    this.unplaced.delete(ref);
    if (waiting?.kind === 'change') waiting.done(outcome);
  }

  private applySoon(): void {
    const { options, scheduler, random } = this.world;
    if (this.isApplying) return;
    this.isApplying = true;
    const apply = (): void => {
      this.isApplying = false;
      if (!this.isOver) this.applyAll();
    };
    const isStalled = (): boolean => scheduler.nowMs < this.member.applyStalledUntilMs;
    const applyWhenFree = (): void => {
      if (isStalled()) this.time.later(10, applyWhenFree);
      else apply();
    };
    if (options.applyDelayMs > 0) this.time.later(random.fraction() * options.applyDelayMs, applyWhenFree);
    else applyWhenFree();
  }

  private applyAll(): void {
    for (let command = this.toApply.shift(); command !== undefined; command = this.toApply.shift()) {
      if (this.isOver) return;
      switch (command.kind) {
        case 'apply':
          for (const entry of command.entries) this.applyEntry(entry);
          this.step({ kind: 'applied', index: this.machine.index });
          break;
        case 'membership-changed':
          if (command.index >= this.machine.index) this.membership = command.membership;
          this.world.membershipChanged(command.index, command.membership);
          break;
        case 'install-snapshot':
          this.install(command.snapshot);
          break;
      }
    }
    this.answerReads();
    if (!this.isStepping) this.snapshotWhenDue();
  }

  private applyEntry(entry: Entry): void {
    const { machine } = this;
    // A newer snapshot than the one to install may have come to the disk meanwhile.
    if (entry.index <= machine.index) return;
    const result = entry.kind === 'data' ? machine.apply(entry) : machine.advance(entry.index, entry.term);
    this.world.checkers.applied(this, entry, machine.hash);
    const waiting = this.placed.get(entry.index);
    if (waiting === undefined) return;
    this.placed.delete(entry.index);
    const isOwn = waiting.term === entry.term;
    if (waiting.kind === 'change') return waiting.done(isOwn ? 'done' : 'replaced');
    if (!isOwn) return this.respond(waiting.request, { kind: 'again' });
    if (result?.kind !== 'done') return;
    this.world.acknowledged(entry.index);
    this.respond(waiting.request, { kind: 'done', output: result.output });
  }

  private install(meta: SnapshotMeta): void {
    let stored: StoredSnapshot | undefined;
    try {
      stored = this.storage?.newestSnapshot();
      if (stored !== undefined) this.machine.restore(stored.chunks);
    } catch (error) {
      if (!this.member.disk.isDead) throw error;
      return this.world.endInWrite(this.member);
    }
    if (stored === undefined || stored.meta.index < meta.index) {
      return this.world.report(
        `${this.id} is to install a snapshot at ${meta.index} that is not on its disk`,
      );
    }
    this.snapshotIndex = stored.meta.index;
    this.membership = stored.meta.membership;
    this.world.checkers.restored(this, stored.meta, this.machine.hash);
    this.step({ kind: 'applied', index: meta.index });
  }

  private answerReads(): void {
    for (const [ref, { request, index }] of this.reads) {
      if (index === undefined || index > this.machine.index) continue;
      this.reads.delete(ref);
      this.respond(request, { kind: 'done', output: this.machine.get(request.input.key) });
    }
  }

  private respond({ id, client }: ClientRequest, outcome: ClientOutcome): void {
    this.world.send(this.id, client, { kind: 'response', id, outcome });
  }

  private snapshotWhenDue(): void {
    const { snapshotEntries, keptEntries } = this.world.options;
    const { machine, storage, membership } = this;
    if (this.isTakingSnapshot || machine.index - this.snapshotIndex < snapshotEntries) return;
    this.isTakingSnapshot = true;
    const meta: SnapshotMeta = { index: machine.index, term: machine.term, membership };
    this.run(async () => {
      await storage?.writeSnapshot(meta, machine.snapshot());
      if (this.isOver) return;
      this.isTakingSnapshot = false;
      this.snapshotIndex = Math.max(this.snapshotIndex, meta.index);
      const compactThrough = Math.max(0, meta.index - keptEntries);
      this.step({ kind: 'snapshot-taken', snapshot: meta, compactThrough });
      storage?.release(compactThrough);
    }).catch(() => {
      this.isTakingSnapshot = false;
    });
  }

  private streamSnapshot(to: MemberId, message: Extract<Message, { kind: 'snapshot' }>): void {
    const { storage, world } = this;
    const ended = (outcome: 'delivered' | 'failed'): void =>
      this.step({ kind: 'snapshot-status', peer: to, outcome });
    this.run(async () => {
      const reader = await storage?.openSnapshot();
      if (reader === undefined) return ended('failed');
      const chunks: Uint8Array[] = [];
      for (let chunk = await reader.read(0); chunk !== undefined; chunk = await reader.read(chunks.length)) {
        chunks.push(chunk);
      }
      await reader.close();
      const { meta, id } = reader;
      const stream = { message: { ...message, snapshot: meta }, chunks, id };
      world.stream(this.id, to, stream, (outcome) => this.isOver || ended(outcome));
    }).catch(() => ended('failed'));
  }

  /** Resolves once the snapshot is on the disk and the core knows. */
  receiveSnapshot(from: MemberId, stream: SnapshotStream): Promise<void> {
    return this.run(() => this.takeSnapshot(from, stream));
  }

  private async takeSnapshot(from: MemberId, { message, chunks, id }: SnapshotStream): Promise<void> {
    if (this.isReceivingSnapshot || this.storage === undefined) throw new Error('not now');
    this.isReceivingSnapshot = true;
    try {
      const receiver = await this.storage.receiveSnapshot(message.snapshot, id);
      for (const [number, chunk] of chunks.entries()) await receiver.write(number, chunk);
      await receiver.finish();
      this.world.tell(() => `${this.id} has the snapshot ${id} from ${from} on its disk`);
    } finally {
      this.isReceivingSnapshot = false;
    }
    if (!this.isOver) this.step({ kind: 'message', from, message });
  }
}

export interface SnapshotStream {
  message: Extract<Message, { kind: 'snapshot' }>;
  chunks: readonly Uint8Array[];
  /** Names the content. */
  id: string;
}
