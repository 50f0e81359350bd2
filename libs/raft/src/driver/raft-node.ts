/**
 * The driver: carries out what the core asks for, in the order it asks. It owns the disk, the clock and the callers;
 * every decision is the core's. Its parts: the proposer and the reader (callers that wait), the replica (what was
 * applied), the snapshots, and the calls (changes of membership, transfer of leadership).
 */
import { assertNever, describeError, EnxameError } from '#libs/model';
import { emptyMembership, membersOf, votersOnly } from '../core/membership/membership.js';
import { RaftCore } from '../core/raft-core.js';
import type { Command, CoreStatus, Input, MemberId, Membership, Recovered } from '../core/types.js';
import {
  defaultLimits,
  type Leadership,
  type MembershipChange,
  type PeerMessage,
  type PeerStatus,
  type RaftLimits,
  type RaftMember,
  type RaftNode,
  type RaftNodeOptions,
  type RaftSettings,
  type RaftStatus,
} from '../port.js';
import type { RaftStorage } from '../wal/storage.js';
import { threadStorage } from '../wal/thread-storage.js';
import type { WalContent } from '../wal/wal-content.js';
import { goOnAlone } from './alone.js';
import { Calls } from './calls.js';
import { Proposer, type ProposalResult } from './proposer.js';
import { Reader } from './reader.js';
import { recover } from './recovery.js';
import { Replica } from './replica.js';
import { Snapshots } from './snapshots.js';

type DiskBound = Exclude<Command, { kind: 'persist' }>;

export function createRaftNode(options: RaftNodeOptions): RaftNode {
  const { id, origin, transport } = options;
  if (origin.kind === 'bootstrap' && !origin.members.includes(id)) {
    throw new EnxameError('invalid-argument', `raft: members must include this member's id ${id}`);
  }
  if ((origin.kind === 'join' || origin.members.length > 1) && transport === undefined) {
    throw new EnxameError('invalid-argument', 'raft: more than one member needs a transport');
  }
  return new Driver(options, { ...defaultLimits, ...options.limits });
}

class Driver implements RaftNode {
  private core: RaftCore | undefined;
  private storage: RaftStorage | undefined;
  private failure: EnxameError | undefined;
  private torn: WalContent['torn'];
  private isRemoved = false;
  /** Where the log ended when it was read from the disk. */
  private recoveredIndex = 0;

  /** Commands whose writes are under way, in order. */
  private waitingForDisk: DiskBound[] = [];
  private durableSequence = 0;
  private writtenSequence = 0;
  /** Since the disk has last ended a write, while one is under way. */
  private stalledTicks = 0;
  /** Called when a write has ended that the core did not ask for. */
  private onFirstWrite: (() => void) | undefined;

  private readonly inputs: Input[] = [];
  private isStepping = false;

  private leader: MemberId | 'self' | undefined;
  private readonly replica: Replica;
  private readonly proposer: Proposer;
  private readonly reader: Reader;
  private readonly calls: Calls;
  private readonly snapshots: Snapshots;

  private readonly leadershipListeners = new Set<(leadership: Leadership) => void>();
  private readonly membershipListeners = new Set<(members: readonly RaftMember[]) => void>();
  private readonly stoppers: (() => void)[] = [];

  constructor(
    private readonly options: RaftNodeOptions,
    private readonly limits: RaftLimits,
  ) {
    const { id, clock, random, stateMachine, transport } = options;
    const shared = {
      id,
      limits,
      random,
      soon: (callback: () => void): void => (clock.soon ?? queueMicrotask)(callback),
      step: (input: Input): void => this.step(input),
      send: (to: MemberId, message: PeerMessage): void => transport?.send(to, message),
      failure: (): EnxameError | undefined => this.refusal(),
      appliedIndex: (): number => this.replica.lastApplied.index,
    };
    this.proposer = new Proposer(shared);
    this.reader = new Reader(shared);
    this.calls = new Calls({
      ...shared,
      leader: () => this.leader,
      membership: () => this.replica.membership,
      isRemoved: (member) => this.replica.isRemoved(member),
      peers: () => this.core?.peers() ?? [],
    });
    this.replica = new Replica({
      ...shared,
      stateMachine,
      newestSnapshot: () => this.storage?.newestSnapshot(),
      applied: (header, verdict, outcome) => this.proposer.applied(header, verdict, outcome),
      advanced: (index) => this.advanced(index),
      membershipChanged: (membership) => this.membershipChanged(membership),
      restored: (sessions) => this.proposer.restored(sessions),
      fail: (error) => this.fail(error),
    });
    this.snapshots = new Snapshots({
      ...shared,
      transport,
      storage: () => this.storage,
      replica: this.replica,
      commitIndex: () => this.core?.status().commit ?? 0,
      slowestMatch: () => this.slowestMatch(),
    });
  }

  async start(): Promise<void> {
    try {
      await this.open();
      this.step({ kind: 'start' });
      this.connect();
      if (this.isAlone()) await this.becomeReady();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  private isAlone(): boolean {
    const { id, origin, forceNewCluster } = this.options;
    if (forceNewCluster === true) return true;
    const { voters } = this.core?.status().membership ?? emptyMembership;
    if (voters.length > 0) return voters.length === 1 && voters[0] === id;
    // A new cluster's first entry is still on its way to the disk.
    return origin.kind === 'bootstrap' && origin.members.length === 1 && this.recoveredIndex === 0;
  }

  private connect(): void {
    const { clock, transport } = this.options;
    this.stoppers.push(clock.every(this.limits.tickMs, () => this.tick()));
    if (transport === undefined) return;
    const stop = transport.listen({
      message: (from, message) => this.receive(from, message),
      unreachable: (peer) => this.step({ kind: 'unreachable', peer }),
      snapshots: this.snapshots,
    });
    this.stoppers.push(stop);
  }

  private tick(): void {
    this.step({ kind: 'tick' });
    this.proposer.tick();
    this.reader.tick();
    this.calls.tick();
    this.watchDisk();
  }

  /** Followers could write on, but what a leader's own disk does not hold is not applied and not acknowledged. */
  private watchDisk(): void {
    if (this.writtenSequence <= this.durableSequence) return;
    if (++this.stalledTicks % this.limits.stalledDiskTicks !== 0 || this.leader !== 'self') return;
    // Where nobody can take over, everything waits for the disk as before.
    this.calls.handOver();
  }

  private receive(from: MemberId, message: PeerMessage): void {
    if (this.core === undefined) return;
    if (this.replica.isRemoved(from)) {
      // It may never have heard of its removal: nobody sends it the log any more.
      if (message.kind !== 'removed') this.options.transport?.send(from, { kind: 'removed' });
      return;
    }
    switch (message.kind) {
      case 'forward':
        return this.proposer.forwarded(from, message.proposals);
      case 'forward-refused':
        return this.proposer.forwardRefused(message.sequences);
      case 'call':
        void this.calls.called(from, message.ref, message.call);
        return;
      case 'answer':
        return this.calls.answered(message);
      case 'removed':
        return this.leave({ goesOnAnswering: false });
      default:
        this.step({ kind: 'message', from, message });
    }
  }

  /** A sole member leads as soon as its vote is on disk; once its read passes, everything committed is applied. */
  private async becomeReady(): Promise<void> {
    await new Promise<void>((resolve) => {
      const isSettled = (): boolean => this.leader === 'self' || this.failure !== undefined;
      if (isSettled()) return resolve();
      const stop = this.watchLeadership(() => {
        if (!isSettled()) return;
        stop();
        resolve();
      });
    });
    await this.readIndex();
  }

  private async open(): Promise<void> {
    const { dir, id, origin, random, clusterId, keys = [], openStorage = threadStorage } = this.options;
    const { segmentBytesMax, keptSnapshots } = this.limits;
    const { storage, content } = await openStorage(
      { dir, segmentBytesMax, keptSnapshots, keys, ...(clusterId === undefined ? {} : { clusterId }) },
      { persisted: (sequence) => this.persisted(sequence), failed: (error) => this.fail(error) },
    );
    this.storage = storage;
    this.torn = content.torn;
    const snapshot = storage.newestSnapshot();
    const found = recover(dir, snapshot?.meta, content);
    const recovered = this.options.forceNewCluster === true ? await this.goOnAlone(found) : found;
    this.replica.recover(snapshot);
    this.recoveredIndex = recovered.entries.at(-1)?.index ?? this.replica.lastApplied.index;
    this.snapshots.recovered(this.replica.lastApplied.index);
    const bootstrap = origin.kind === 'bootstrap' ? { bootstrap: votersOnly(origin.members) } : {};
    this.core = new RaftCore({ ...this.limits, id, ...bootstrap, random }, recovered);
  }

  /** On the disk before the core sees it: a crash in between begins again from what was there before. */
  private async goOnAlone(found: Recovered): Promise<Recovered> {
    const { recovered, batch } = goOnAlone(found, this.options.id);
    const written = new Promise<void>((resolve, reject) => {
      this.onFirstWrite = () => (this.failure === undefined ? resolve() : reject(this.failure));
    });
    this.storage?.append(batch, 0);
    await written;
    this.onFirstWrite = undefined;
    return recovered;
  }

  async stop(): Promise<void> {
    for (const stop of this.stoppers.splice(0)) stop();
    this.core = undefined;
    this.rejectAll(new EnxameError('unavailable', 'raft: this member is stopping'));
    await this.snapshots.stop();
    const { storage } = this;
    this.storage = undefined;
    await storage?.close();
  }

  /** Why nothing can be asked of this member. */
  private refusal(): EnxameError | undefined {
    if (this.failure !== undefined) return this.failure;
    if (this.isRemoved) return removedError();
    return this.core === undefined ? new EnxameError('unavailable', 'raft: not started') : undefined;
  }

  propose(data: Uint8Array): Promise<ProposalResult> {
    return this.proposer.propose(data);
  }

  readIndex(): Promise<number> {
    return this.reader.read();
  }

  changeMembership(changes: readonly MembershipChange[]): Promise<void> {
    return this.calls.changeMembership(changes);
  }

  transferLeadership(to?: MemberId): Promise<void> {
    return this.calls.transferLeadership(to);
  }

  members(): readonly RaftMember[] {
    const { membership } = this.replica;
    return membersOf(membership).map((id) => ({
      id,
      kind: membership.learners.includes(id) ? 'learner' : 'voter',
    }));
  }

  async adjust({ keys, ...limits }: RaftSettings): Promise<void> {
    Object.assign(this.limits, limits);
    const { keptSnapshots } = this.limits;
    await this.storage?.adjust({ keptSnapshots, ...(keys === undefined ? {} : { keys }) });
  }

  async keyIdsInUse(): Promise<readonly string[]> {
    return (await this.storage?.keyIdsInUse()) ?? [];
  }

  status(): RaftStatus {
    const core = this.core?.status() ?? stoppedStatus;
    return {
      ...core,
      id: this.options.id,
      members: this.members(),
      peers: this.peers(),
      ...(this.failure === undefined ? {} : { failure: this.failure }),
      ...(this.snapshots.error === undefined ? {} : { snapshotError: this.snapshots.error }),
      ...(this.torn === undefined ? {} : { torn: this.torn }),
    };
  }

  private peers(): PeerStatus[] {
    const { id: self, transport } = this.options;
    const progressOf = new Map(this.core?.peers().map((peer) => [peer.id, peer]));
    return this.members()
      .filter((member) => member.id !== self)
      .map((member) => {
        const progress = progressOf.get(member.id);
        const stands = transport?.isReachable(member.id) ?? false;
        if (progress === undefined) return { ...member, reachable: stands };
        const { state, match, next, isActive } = progress;
        return { ...member, reachable: stands && isActive, progress: { state, match, next } };
      });
  }

  private slowestMatch(): number | undefined {
    const active = (this.core?.peers() ?? []).filter((peer) => peer.isActive);
    return active.length === 0 ? undefined : Math.min(...active.map((peer) => peer.match));
  }

  watchLeadership(listener: (leadership: Leadership) => void): () => void {
    this.leadershipListeners.add(listener);
    return () => this.leadershipListeners.delete(listener);
  }

  watchMembership(listener: (members: readonly RaftMember[]) => void): () => void {
    this.membershipListeners.add(listener);
    return () => this.membershipListeners.delete(listener);
  }

  /** One input after the other, each with all its commands: what a listener does meanwhile waits for its turn. */
  private step(first: Input): void {
    this.inputs.push(first);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let input = this.inputs.shift(); input !== undefined; input = this.inputs.shift()) {
        for (const command of this.core?.step(input) ?? []) {
          if (command.kind === 'persist') this.persist(command);
          else if (command.afterPersist > this.durableSequence) this.waitingForDisk.push(command);
          else this.carryOut(command);
        }
        this.replica.drain();
      }
    } catch (cause) {
      // A broken invariant: going on could only make it worse.
      this.inputs.length = 0;
      this.fail(new EnxameError('internal', `raft: ${describeError(cause)}`, { cause }));
    } finally {
      this.isStepping = false;
    }
  }

  private persist(command: Extract<Command, { kind: 'persist' }>): void {
    this.writtenSequence = command.sequence;
    this.storage?.append(command, command.sequence);
  }

  private persisted(sequence: number): void {
    this.durableSequence = sequence;
    this.stalledTicks = 0;
    this.onFirstWrite?.();
    // The list is in order of `afterPersist`: each command waits for all that was written before it.
    let ready = 0;
    while ((this.waitingForDisk[ready]?.afterPersist ?? Number.POSITIVE_INFINITY) <= sequence) ready++;
    for (const command of this.waitingForDisk.splice(0, ready)) this.carryOut(command);
    this.step({ kind: 'persisted', sequence });
  }

  private carryOut(command: DiskBound): void {
    switch (command.kind) {
      case 'send':
        if (command.message.kind === 'snapshot') this.snapshots.send(command.to, command.message);
        else this.options.transport?.send(command.to, command.message);
        return;
      case 'apply':
      case 'membership-changed':
      case 'install-snapshot':
        return this.replica.add(command);
      case 'proposed':
        this.proposer.placed(command.ref);
        return this.calls.placed(command.ref, command.index);
      case 'refused':
        this.proposer.refused(command.ref, command.reason);
        this.reader.refused(command.ref);
        return this.calls.refused(command);
      case 'read-ready':
        for (const ref of command.refs) this.reader.confirm(ref, command.index);
        return;
      case 'transfer-ended':
        return this.calls.transferEnded(command.ref, command.outcome);
      case 'role-changed':
        return this.roleChanged(command);
      default:
        assertNever(command, 'raft command');
    }
  }

  private roleChanged({ role, term, leader }: Extract<Command, { kind: 'role-changed' }>): void {
    const isLeader = role === 'leader';
    this.leader = isLeader ? 'self' : leader;
    this.proposer.leaderChanged(this.leader);
    this.reader.leaderChanged();
    this.calls.leaderChanged();
    this.announce({ role, term, isLeader, ...(leader === undefined ? {} : { leader }) });
  }

  private announce(leadership: Leadership): void {
    for (const listener of this.leadershipListeners) listener(leadership);
  }

  private advanced(index: number): void {
    this.reader.applied(index);
    this.calls.applied();
    this.step({ kind: 'applied', index });
    if (this.failure === undefined) this.snapshots.takeWhenDue();
  }

  private membershipChanged(membership: Membership): void {
    const members = this.members();
    for (const listener of this.membershipListeners) listener(members);
    const { id } = this.options;
    const isMember = membersOf(membership).includes(id);
    if (!isMember && this.replica.isRemoved(id)) this.leave({ goesOnAnswering: true });
  }

  /**
   * Not a member any more: nothing is asked of the cluster. Whoever knows it from its own log goes on answering those
   * who want votes until it is stopped: they may need it to learn that the change is committed. Whoever was told by
   * others answers nothing.
   */
  private leave({ goesOnAnswering }: { goesOnAnswering: boolean }): void {
    if (!goesOnAnswering) queueMicrotask(() => this.fallSilent());
    if (this.isRemoved) return;
    this.isRemoved = true;
    // What is under way in this turn (the last acknowledgements) still goes out.
    queueMicrotask(() => {
      this.rejectAll(removedError());
      this.announce({ role: 'follower', term: 0, isLeader: false });
      this.options.onRemoved?.();
    });
  }

  private fallSilent(): void {
    for (const stop of this.stoppers.splice(0)) stop();
    this.core = undefined;
  }

  private fail(error: EnxameError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.onFirstWrite?.();
    this.core = undefined;
    for (const stop of this.stoppers.splice(0)) stop();
    this.rejectAll(error);
    this.announce({ role: 'follower', term: 0, isLeader: false });
    this.options.onFailure?.(error);
  }

  private rejectAll(error: EnxameError): void {
    this.leader = undefined;
    this.waitingForDisk = [];
    this.replica.stop();
    this.proposer.rejectAll(error);
    this.reader.rejectAll(error);
    this.calls.rejectAll(error);
  }
}

const stoppedStatus: CoreStatus = {
  role: 'follower',
  term: 0,
  commit: 0,
  applied: 0,
  firstIndex: 0,
  lastIndex: 0,
  durableIndex: 0,
  snapshotIndex: 0,
  membership: emptyMembership,
};

function removedError(): EnxameError {
  return new EnxameError('unavailable', 'raft: this member was removed from the cluster');
}
