/**
 * One run of a member's process around the real driver: its storage on the simulated disk, its messages and snapshot
 * streams through the simulated network, its clock drifting. Every command is proposed once, and it is the driver's
 * part to see that it is applied at most once.
 */
import {
  createRaftNode,
  localStorage,
  type MemberId,
  emptyMembership,
  type Membership,
  type MembershipChange,
  type OutgoingSnapshot,
  type PeerMessage,
  type RaftNode,
  type RaftTransport,
  type TransportReceiver,
} from '#libs/raft';
import { encodeCommand, KeyValueMachine } from './machine.js';
import type { Member } from './member.js';
import type { ChangeOutcome, MemberProcess } from './member-process.js';
import type { ClientOutcome, ClientRequest, Packet } from './packets.js';
import { ProcessTime } from './process-time.js';
import type { World } from './world.js';

const streamMsMax = 4000;

export class NodeProcess implements MemberProcess {
  readonly id: MemberId;
  isOver = false;
  readonly machine = new KeyValueMachine();

  private node: RaftNode | undefined;
  private receiver: TransportReceiver | undefined;
  private readonly stoppers: (() => void)[] = [];
  private readonly time: ProcessTime;

  constructor(
    private readonly member: Member,
    private readonly world: World,
    readonly incarnation: number,
  ) {
    this.id = member.id;
    this.time = new ProcessTime(this, member, world);
    // Promises are under way all the time.
    world.asyncWork++;
  }

  get isLeader(): boolean {
    return !this.isOver && this.node?.status().role === 'leader';
  }

  get membership(): Membership {
    return this.node?.status().membership ?? emptyMembership;
  }

  status(): ReturnType<RaftNode['status']> {
    if (this.node === undefined) throw new Error(`${this.id} has not started`);
    return this.node.status();
  }

  async start(): Promise<void> {
    const { world, member, machine } = this;
    const { options } = world;
    const { readLease: _, ...limits } = options.raft;
    const founders = member.bootstrap?.voters;
    const node = createRaftNode({
      id: this.id,
      origin: founders === undefined ? { kind: 'join' } : { kind: 'bootstrap', members: founders },
      dir: '/raft',
      stateMachine: {
        apply: (entry) => {
          const result = machine.apply(entry);
          if (result.kind === 'stale' || result.isRepeat) {
            world.report(`at most once: ${this.id} applied a command again at ${entry.index}`);
          }
          world.states.applied(this, machine);
          return result;
        },
        advance: (index) => {
          machine.advance(index, machine.term);
          world.states.applied(this, machine);
        },
        snapshot: () => machine.snapshot(),
        restore: (chunks) => {
          machine.restore(chunks);
          world.states.restored(this, machine);
        },
      },
      transport: this.transport(),
      clock: {
        every: (ms, callback) => {
          const stop = member.clock.every(ms, () => this.isOver || callback());
          this.stoppers.push(stop);
          return stop;
        },
        soon: (callback) => this.time.later(0, callback),
      },
      openStorage: localStorage(member.disk, (work) => this.time.afterDisk(work)),
      random: () => world.random.fraction(),
      limits: {
        ...limits,
        tickMs: options.tickMs,
        snapshotEntries: options.snapshotEntries,
        keptEntries: options.keptEntries,
        keptBytes: 1000,
        segmentBytesMax: options.segmentBytesMax,
      },
      onFailure: (error) => {
        if (error.code === 'internal' && !member.disk.isDead && !error.message.includes('EIO')) {
          world.report(`${this.id} stopped: ${error.message}`);
        }
        world.processEnded(member);
      },
    });
    this.node = node;
    node.watchLeadership(({ term, isLeader }) => {
      if (!isLeader || this.isOver) return;
      world.states.elected(this, term);
      world.elected(this.id);
    });
    node.watchMembership(() => {
      if (!this.isOver) world.membershipChanged(machine.index, node.status().membership);
    });
    await node.start();
  }

  end(): void {
    this.isOver = true;
    for (const stop of this.stoppers.splice(0)) stop();
    this.world.asyncWork--;
  }

  receive(from: string, packet: Packet): void {
    if (packet.kind === 'peer') this.receiver?.message(from, packet.message);
    if (packet.kind === 'request') void this.serve(packet.request);
  }

  unreachable(peer: MemberId): void {
    this.receiver?.unreachable(peer);
  }

  changeMembership(
    changes: readonly MembershipChange[],
    _transition: unknown,
    done: (outcome: ChangeOutcome) => void,
  ): void {
    this.settle(this.node?.changeMembership(changes), done);
  }

  leaveJoint(done: (outcome: ChangeOutcome) => void): void {
    // The driver's changes end their joint phases by themselves.
    done('done');
  }

  transfer(to: MemberId, done: (outcome: ChangeOutcome) => void): void {
    this.settle(this.node?.transferLeadership(to), (outcome) =>
      done(outcome === 'done' ? 'stepped-down' : outcome),
    );
  }

  /** What is refused by rule was not done; of everything else nobody knows. */
  private settle(promise: Promise<void> | undefined, done: (outcome: ChangeOutcome) => void): void {
    promise?.then(
      () => this.isOver || done('done'),
      (error: unknown) => {
        if (this.isOver) return;
        const isRefusal = error instanceof Error && 'code' in error && error.code === 'failed-precondition';
        done(isRefusal ? 'refused' : 'replaced');
      },
    );
  }

  private async serve(request: ClientRequest): Promise<void> {
    const { node } = this;
    if (node === undefined) return;
    const { client, id, input } = request;
    let outcome: ClientOutcome;
    try {
      if (input.op === 'get') {
        await node.readIndex();
        outcome = { kind: 'done', output: this.machine.get(input.key) };
      } else {
        // Every attempt is a command of its own.
        const data = encodeCommand({ session: `${client} ${id}`, sequence: 1, input });
        const { result } = await node.propose(data);
        const { output } = result as { output: string | boolean | null };
        outcome = { kind: 'done', output };
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      outcome = { kind: input.op === 'get' || code === 'resource-exhausted' ? 'again' : 'unknown' };
    }
    if (!this.isOver) this.world.send(this.id, client, { kind: 'response', id, outcome });
  }

  private transport(): RaftTransport {
    const { world, member } = this;
    return {
      send: (to: MemberId, message: PeerMessage) => {
        if (this.isOver) return;
        world.send(this.id, to, { kind: 'peer', message });
        if (message.kind === member.crashAfterSend) world.crashSoon(member);
      },
      sendSnapshot: (to, snapshot) => this.sendSnapshot(to, snapshot),
      isReachable: (peer) => !world.network.isCut(this.id, peer),
      listen: (receiver) => {
        this.receiver = receiver;
        return () => {
          this.receiver = undefined;
        };
      },
    };
  }

  /** Chunk by chunk, each in its time; a cut or a crash of the other side breaks it. */
  private async sendSnapshot(to: MemberId, snapshot: OutgoingSnapshot): Promise<void> {
    const { world } = this;
    const { message, id } = snapshot;
    await world.delay(world.network.latencyMs());
    const intake = world.intakeOf(this.id, to);
    let number = await within(world, intake.begin(this.id, { message, id }));
    world.counts.snapshotsSent++;
    for (let chunk = await snapshot.read(number); chunk !== undefined; chunk = await snapshot.read(number)) {
      await world.delay(world.network.latencyMs());
      if (world.intakeOf(this.id, to) !== intake) throw new Error('the stream broke');
      number = await within(world, intake.chunk(this.id, number, chunk));
    }
    await world.delay(world.network.latencyMs());
    if (world.intakeOf(this.id, to) !== intake) throw new Error('the stream broke');
    await within(world, intake.end(this.id));
  }

  intake(): TransportReceiver['snapshots'] | undefined {
    return this.receiver?.snapshots;
  }
}

/** Whoever crashed answers no more: a stream that says nothing for so long is broken. */
function within<T>(world: World, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    world.scheduler.after(streamMsMax, () => reject(new Error('the stream is silent')));
    promise.then(resolve, reject);
  });
}
