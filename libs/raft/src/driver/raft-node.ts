/**
 * The driver: carries out what the core asks for, in the order it asks. It owns the disk, the clock and the callers;
 * every decision is the core's.
 */
import { assertNever, describeError, EnxameError } from '#libs/model';
import { RaftCore } from '../core/raft-core.js';
import { emptyMembership, votersOnly } from '../core/membership/membership.js';
import type { Command, Entry, Input, MemberId, Membership, SnapshotMeta } from '../core/types.js';
import {
  defaultLimits,
  type Leadership,
  type PeerMessage,
  type RaftLimits,
  type RaftMember,
  type RaftNode,
  type RaftNodeOptions,
  type RaftStatus,
} from '../port.js';
import type { RaftStorage } from '../wal/storage.js';
import { threadStorage } from '../wal/thread-storage.js';
import type { WalContent } from '../wal/wal.js';
import { PendingProposals, PendingReads, type ProposalResult } from './pending.js';
import { recover } from './recovery.js';

type DiskBound = Exclude<Command, { kind: 'persist' }>;

export function createRaftNode(options: RaftNodeOptions): RaftNode {
  const { id, origin, transport } = options;
  if (origin.kind === 'bootstrap' && !origin.members.includes(id)) {
    throw new EnxameError('invalid-argument', `raft: members must include this member's id ${id}`);
  }
  if ((origin.kind === 'join' || origin.members.length > 1) && transport === undefined) {
    throw new EnxameError('invalid-argument', 'raft: more than one member needs a transport');
  }
  if (options.encryptionKey !== undefined) throw notThereYet('encryption of the log');
  if (options.forceNewCluster === true) throw notThereYet('a forced new cluster');
  return new Driver(options, { ...defaultLimits, ...options.limits });
}

class Driver implements RaftNode {
  private core: RaftCore | undefined;
  private storage: RaftStorage | undefined;
  private failure: EnxameError | undefined;
  private torn: WalContent['torn'];

  /** Commands whose writes are under way, in order. */
  private waitingForDisk: DiskBound[] = [];
  private durableSequence = 0;

  private readonly inputs: Input[] = [];
  private isStepping = false;

  private nextRef = 1;
  private readonly proposals = new PendingProposals();
  private readonly reads = new PendingReads();
  /** Proposals of this turn of the event loop: they become one step of the core. */
  private proposing: { ref: number; data: Uint8Array }[] = [];

  /** Holds at `lastApplied`. */
  private membership: Membership = emptyMembership;
  private lastApplied: { index: number; term: number } = { index: 0, term: 0 };
  private snapshotIndex = 0;
  private bytesSinceSnapshot = 0;
  private snapshotNotBefore = 0;
  private snapshotError: EnxameError | undefined;
  private snapshotting: Promise<void> | undefined;

  private readonly leadershipListeners = new Set<(leadership: Leadership) => void>();
  private readonly stoppers: (() => void)[] = [];

  constructor(
    private readonly options: RaftNodeOptions,
    private readonly limits: RaftLimits,
  ) {}

  async start(): Promise<void> {
    try {
      await this.open();
      this.step({ kind: 'start' });
      this.connect();
      if (this.voters().length === 1) await this.becomeReady();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  private connect(): void {
    const { clock, transport } = this.options;
    this.stoppers.push(clock.every(this.limits.tickMs, () => this.step({ kind: 'tick' })));
    if (transport === undefined) return;
    this.stoppers.push(
      transport.listen({
        message: (from, message) => this.receive(from, message),
        unreachable: () => undefined,
        snapshots: {
          begin: () => Promise.reject(notThereYet('taking over a snapshot from another member')),
          chunk: () => Promise.resolve(0),
          end: () => Promise.resolve(),
        },
      }),
    );
  }

  private receive(from: MemberId, message: PeerMessage): void {
    switch (message.kind) {
      case 'forward':
      case 'forward-refused':
      case 'call':
      case 'answer':
      case 'removed':
        return;
      default:
        this.step({ kind: 'message', from, message });
    }
  }

  /** A sole member leads as soon as its vote is on disk; once its read passes, everything committed is applied. */
  private async becomeReady(): Promise<void> {
    await new Promise<void>((resolve) => {
      const isSettled = (): boolean => this.core?.status().role === 'leader' || this.failure !== undefined;
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
    const { dir, openStorage = threadStorage } = this.options;
    const { segmentBytesMax, keptSnapshots } = this.limits;
    const { storage, content } = await openStorage(
      { dir, segmentBytesMax, keptSnapshots },
      { persisted: (sequence) => this.persisted(sequence), failed: (error) => this.fail(error) },
    );
    this.storage = storage;
    this.torn = content.torn;
    const snapshot = storage.newestSnapshot();
    const recovered = recover(dir, snapshot?.meta, content);
    if (snapshot !== undefined) {
      this.options.stateMachine.restore(snapshot.chunks, snapshot.meta.index);
      this.lastApplied = { index: snapshot.meta.index, term: snapshot.meta.term };
      this.snapshotIndex = snapshot.meta.index;
    }
    this.membership = recovered.snapshot?.membership ?? emptyMembership;
    const { id, origin, random } = this.options;
    const bootstrap = origin.kind === 'bootstrap' ? { bootstrap: votersOnly(origin.members) } : {};
    this.core = new RaftCore({ ...this.limits, id, ...bootstrap, random }, recovered);
  }

  async stop(): Promise<void> {
    for (const stop of this.stoppers.splice(0)) stop();
    this.core = undefined;
    this.rejectAll(new EnxameError('unavailable', 'raft: this member is stopping'));
    await this.snapshotting;
    const { storage } = this;
    this.storage = undefined;
    await storage?.close();
  }

  propose(data: Uint8Array): Promise<ProposalResult> {
    const refusal = this.refusalOf(data);
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const ref = this.nextRef++;
      this.proposals.add(ref, { resolve, reject, bytes: data.length });
      this.proposing.push({ ref, data });
      if (this.proposing.length === 1) queueMicrotask(() => this.flushProposals());
    });
  }

  private refusalOf(data: Uint8Array): EnxameError | undefined {
    const { proposalBytesMax, pendingProposalsMax, pendingBytesMax } = this.limits;
    if (this.core === undefined) return this.failure ?? new EnxameError('unavailable', 'raft: not started');
    if (data.length > proposalBytesMax) {
      return new EnxameError(
        'invalid-argument',
        `raft: a proposal of ${data.length} bytes is over the limit of ${proposalBytesMax}`,
      );
    }
    const { count, bytes } = this.proposals;
    if (count >= pendingProposalsMax || bytes + data.length > pendingBytesMax) {
      return new EnxameError(
        'resource-exhausted',
        `raft: ${count} proposals of ${bytes} bytes are waiting for the disk, try again`,
      );
    }
    return undefined;
  }

  private flushProposals(): void {
    const proposals = this.proposing;
    this.proposing = [];
    this.step({ kind: 'propose', proposals });
  }

  readIndex(): Promise<number> {
    if (this.core === undefined) {
      return Promise.reject(this.failure ?? new EnxameError('unavailable', 'raft: not started'));
    }
    return new Promise((resolve, reject) => {
      const ref = this.nextRef++;
      this.reads.add(ref, { resolve, reject });
      this.step({ kind: 'read', refs: [ref] });
    });
  }

  status(): RaftStatus {
    const { id, transport } = this.options;
    const core = this.core?.status() ?? stoppedStatus;
    const members = this.members();
    return {
      ...core,
      id,
      members,
      peers: members
        .filter((member) => member.id !== id)
        .map((member) => ({ ...member, reachable: transport?.isReachable(member.id) ?? false })),
      ...(this.failure === undefined ? {} : { failure: this.failure }),
      ...(this.snapshotError === undefined ? {} : { snapshotError: this.snapshotError }),
      ...(this.torn === undefined ? {} : { torn: this.torn }),
    };
  }

  members(): readonly RaftMember[] {
    return this.voters().map((id) => ({ id, kind: 'voter' }));
  }

  changeMembership(): Promise<void> {
    return Promise.reject(notThereYet('changes of membership'));
  }

  transferLeadership(): Promise<void> {
    return Promise.reject(notThereYet('transfer of leadership'));
  }

  watchMembership(): () => void {
    return () => undefined;
  }

  private voters(): readonly MemberId[] {
    const { origin } = this.options;
    return origin.kind === 'bootstrap' ? origin.members : [];
  }

  watchLeadership(listener: (leadership: Leadership) => void): () => void {
    this.leadershipListeners.add(listener);
    return () => this.leadershipListeners.delete(listener);
  }

  /** One input after the other, each with all its commands: what a listener does meanwhile waits for its turn. */
  private step(first: Input): void {
    this.inputs.push(first);
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let input = this.inputs.shift(); input !== undefined; input = this.inputs.shift()) {
        for (const command of this.core?.step(input) ?? []) {
          if (command.kind === 'persist') this.storage?.append(command, command.sequence);
          else if (command.afterPersist > this.durableSequence) this.waitingForDisk.push(command);
          else this.carryOut(command);
        }
      }
    } catch (cause) {
      // A broken invariant: going on could only make it worse.
      this.inputs.length = 0;
      this.fail(new EnxameError('internal', `raft: ${describeError(cause)}`, { cause }));
    } finally {
      this.isStepping = false;
    }
  }

  private persisted(sequence: number): void {
    this.durableSequence = sequence;
    // The list is in order of `afterPersist`: each command waits for all that was written before it.
    let ready = 0;
    while ((this.waitingForDisk[ready]?.afterPersist ?? Number.POSITIVE_INFINITY) <= sequence) ready++;
    for (const command of this.waitingForDisk.splice(0, ready)) this.carryOut(command);
    this.step({ kind: 'persisted', sequence });
  }

  private carryOut(command: DiskBound): void {
    switch (command.kind) {
      case 'send':
        this.options.transport?.send(command.to, command.message);
        return;
      case 'apply':
        this.apply(command.entries);
        return;
      case 'proposed':
        this.proposals.place(command.ref, command.index, command.term);
        return;
      case 'refused': {
        const error = notLeader(this.core?.status().leader);
        this.proposals.refuse(command.ref, error);
        this.reads.refuse(command.ref, error);
        return;
      }
      case 'read-ready':
        for (const ref of command.refs) this.reads.confirm(ref, command.index, this.lastApplied.index);
        return;
      case 'membership-changed':
        this.membership = command.membership;
        return;
      case 'transfer-ended':
        return;
      case 'role-changed':
        this.announce(command);
        return;
      case 'install-snapshot':
        this.fail(notThereYet('taking over a snapshot from another member'));
        return;
      default:
        assertNever(command, 'raft command');
    }
  }

  private announce(command: Extract<Command, { kind: 'role-changed' }>): void {
    const { role, term, leader } = command;
    if (role !== 'leader') {
      // Entries already placed may still be committed by the next leader; the proposer cannot know.
      this.proposals.rejectAll(
        new EnxameError('unavailable', 'raft: leadership was lost, the outcome is not known'),
      );
    }
    const leadership: Leadership = {
      role,
      term,
      isLeader: role === 'leader',
      ...(leader === undefined ? {} : { leader }),
    };
    for (const listener of this.leadershipListeners) listener(leadership);
  }

  private apply(entries: readonly Entry[]): void {
    const { stateMachine } = this.options;
    for (const entry of entries) {
      let result: unknown;
      try {
        if (entry.kind === 'data') result = stateMachine.apply(entry);
        else stateMachine.advance(entry.index);
      } catch (cause) {
        this.fail(
          new EnxameError(
            'internal',
            `raft: entry ${entry.index} cannot be applied: ${describeError(cause)}`,
            {
              cause,
            },
          ),
        );
        return;
      }
      this.lastApplied = { index: entry.index, term: entry.term };
      this.bytesSinceSnapshot += entry.data.length;
      this.proposals.settle(
        entry.index,
        entry.term,
        result,
        () => new EnxameError('unavailable', 'raft: another leader took the place of the proposal'),
      );
    }
    this.reads.applied(this.lastApplied.index);
    this.step({ kind: 'applied', index: this.lastApplied.index });
    this.snapshotWhenDue();
  }

  private snapshotWhenDue(): void {
    const { snapshotEntries, snapshotBytes } = this.limits;
    if (this.lastApplied.index < this.snapshotNotBefore) return;
    const isDue =
      this.lastApplied.index - this.snapshotIndex >= snapshotEntries ||
      this.bytesSinceSnapshot >= snapshotBytes;
    if (!isDue || this.snapshotting !== undefined || this.failure !== undefined) return;
    const meta: SnapshotMeta = { ...this.lastApplied, membership: this.membership };
    this.bytesSinceSnapshot = 0;
    // The picture is taken here, before anything else is applied; its chunks are made as they are written.
    const chunks = this.options.stateMachine.snapshot();
    this.snapshotting = this.takeSnapshot(meta, chunks)
      .catch((error: unknown) => {
        // Without it the log only grows longer: that is no reason to stop, and room may come.
        this.snapshotError = new EnxameError('internal', `raft: snapshot at ${meta.index} failed`, {
          cause: error,
        });
        this.snapshotNotBefore = meta.index + Math.ceil(snapshotEntries / 10);
      })
      .finally(() => {
        this.snapshotting = undefined;
      });
  }

  private async takeSnapshot(meta: SnapshotMeta, chunks: Iterable<Uint8Array>): Promise<void> {
    await this.storage?.writeSnapshot(meta, chunks);
    this.snapshotIndex = meta.index;
    this.snapshotError = undefined;
    const compactThrough = Math.max(0, meta.index - this.limits.keptEntries);
    this.step({ kind: 'snapshot-taken', snapshot: meta, compactThrough });
    this.storage?.release(compactThrough);
  }

  private fail(error: EnxameError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.core = undefined;
    for (const stop of this.stoppers.splice(0)) stop();
    this.rejectAll(error);
    const leadership: Leadership = { role: 'follower', term: 0, isLeader: false };
    for (const listener of this.leadershipListeners) listener(leadership);
    this.options.onFailure?.(error);
  }

  private rejectAll(error: EnxameError): void {
    this.waitingForDisk = [];
    this.proposing = [];
    this.proposals.rejectAll(error);
    this.reads.rejectAll(error);
  }
}

const stoppedStatus = {
  role: 'follower',
  term: 0,
  commit: 0,
  applied: 0,
  firstIndex: 0,
  lastIndex: 0,
  durableIndex: 0,
  snapshotIndex: 0,
  membership: emptyMembership,
} as const;

function notThereYet(what: string): EnxameError {
  return new EnxameError('not-implemented', `raft: ${what}`);
}

function notLeader(leader: string | undefined): EnxameError {
  return new EnxameError(
    'not-manager',
    leader === undefined ? 'raft: the cluster has no leader now' : `raft: not the leader, that is ${leader}`,
  );
}
