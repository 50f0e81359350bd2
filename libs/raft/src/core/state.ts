/** A member's volatile and durable state, and the few moves that all roles share. */
import { CoreLog } from './log.js';
import { decodeMembershipEntry, encodeMembershipEntry } from './membership/codec.js';
import { emptyMembership, membersOf } from './membership/membership.js';
import { Progress } from './tracker/progress.js';
import type {
  Command,
  CoreConfig,
  Entry,
  MemberId,
  Membership,
  Message,
  Recovered,
  Refusal,
  Role,
  SnapshotMeta,
} from './types.js';

interface PendingPersist {
  sequence: number;
  term: number;
  votedFor: MemberId | undefined;
  /** Last index that this write makes durable, lowered when a later write replaces entries. */
  index: number;
}

export interface PendingRead {
  refs: readonly number[];
  index: number;
  /** Heartbeat round that must be answered by a majority. */
  sequence: number;
}

export class CoreState {
  role: Role = 'follower';
  term: number;
  votedFor: MemberId | undefined;
  leader: MemberId | undefined;
  readonly log: CoreLog;
  commit: number;
  /** Handed to the state machine. */
  applying: number;
  /** Reported back by the state machine. */
  applied: number;
  snapshot: SnapshotMeta | undefined;
  /** Holds at `applying`. */
  membership: Membership;
  /** The founding entry is not written yet. */
  private mustBootstrap = false;

  /** Entries through here are on this member's disk. */
  durableIndex: number;
  /** The newest vote on this member's disk. */
  durableVote: { term: number; votedFor: MemberId | undefined };
  persistSequence = 0;
  durableSequence = 0;
  private pending: PendingPersist[] = [];

  ticksSinceContact = 0;
  ticksSinceHeartbeat = 0;
  electionTimeout = 0;
  votes = new Map<MemberId, boolean>();
  progress = new Map<MemberId, Progress>();

  readSequence = 0;
  readAcks = new Map<MemberId, number>();
  pendingReads: PendingRead[] = [];
  /** Asked for before this leader had committed anything of its own term. */
  earlyReads: number[] = [];

  /** Collected during one step. */
  commands: Command[] = [];

  constructor(
    readonly config: CoreConfig,
    recovered: Recovered,
  ) {
    const base = recovered.snapshot?.index ?? 0;
    this.term = recovered.hardState.term;
    this.votedFor = recovered.hardState.votedFor;
    this.log = new CoreLog(recovered.snapshot, recovered.entries);
    this.commit = Math.max(base, Math.min(recovered.hardState.commit, this.log.lastIndex));
    this.applying = base;
    this.applied = base;
    this.snapshot = recovered.snapshot;
    this.membership = recovered.snapshot?.membership ?? emptyMembership;
    this.durableIndex = this.log.lastIndex;
    this.durableVote = { term: this.term, votedFor: this.votedFor };
    this.resetElectionTimeout();
    this.mustBootstrap = this.term === 0 && this.log.lastIndex === 0 && config.bootstrap !== undefined;
  }

  /** A founder with an empty disk begins as if entry 1 had been committed in term 1 by everybody. */
  bootstrap(): void {
    const { bootstrap } = this.config;
    if (!this.mustBootstrap || bootstrap === undefined) return;
    this.mustBootstrap = false;
    this.term = 1;
    this.commit = 1;
    const data = encodeMembershipEntry({ kind: 'establish', membership: bootstrap });
    this.persist([{ index: 1, term: 1, kind: 'membership', data }]);
  }

  get peers(): readonly MemberId[] {
    return membersOf(this.membership).filter((member) => member !== this.config.id);
  }

  get isSoleVoter(): boolean {
    return this.membership.voters.length === 1 && this.membership.voters[0] === this.config.id;
  }

  /** A leader that has committed an entry of its own term knows the whole commit index (Raft paper, 8). */
  get hasCommittedInTerm(): boolean {
    return this.log.term(this.commit) === this.term;
  }

  emit(command: Command): void {
    this.commands.push(command);
  }

  /** Votes and acknowledgements: only once all that was written before them is on disk. */
  sendDurably(to: MemberId, message: Message): void {
    this.emit({ kind: 'send', to, message, afterPersist: this.persistSequence });
  }

  sendNow(to: MemberId, message: Message): void {
    this.emit({ kind: 'send', to, message, afterPersist: 0 });
  }

  /** Appends entries (replacing from the first one's index on) and writes them with the hard state. */
  persist(entries: readonly Entry[]): void {
    const keptThrough = this.log.append(entries);
    // Replaced entries are no longer durable, whatever writes of them are still under way: should the replaced ones
    // come back later, an old write must not vouch for them.
    this.lowerDurable(keptThrough);
    this.writeHardState(entries);
  }

  replaceLog(snapshot: SnapshotMeta): void {
    this.log.reset(snapshot);
    this.snapshot = snapshot;
    this.lowerDurable(0);
    this.writeHardState([], snapshot);
  }

  private lowerDurable(keptThrough: number): void {
    this.durableIndex = Math.min(this.durableIndex, keptThrough);
    for (const write of this.pending) write.index = Math.min(write.index, keptThrough);
  }

  writeHardState(entries: readonly Entry[] = [], snapshot?: SnapshotMeta): void {
    this.persistSequence++;
    this.pending.push({
      sequence: this.persistSequence,
      term: this.term,
      votedFor: this.votedFor,
      index: this.log.lastIndex,
    });
    this.emit({
      kind: 'persist',
      sequence: this.persistSequence,
      hardState: { term: this.term, votedFor: this.votedFor, commit: this.commit },
      entries,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
  }

  persisted(sequence: number): void {
    while (this.pending[0] !== undefined && this.pending[0].sequence <= sequence) {
      const write = this.pending.shift() as PendingPersist;
      this.durableSequence = write.sequence;
      this.durableIndex = Math.max(this.durableIndex, write.index);
      this.durableVote = { term: write.term, votedFor: write.votedFor };
    }
  }

  /** Hands committed entries to the state machine, once they are on this member's own disk. */
  applyCommitted(): void {
    const through = Math.min(this.commit, this.durableIndex);
    if (through <= this.applying) return;
    let batch: Entry[] = [];
    for (const entry of this.log.slice(this.applying + 1, through)) {
      batch.push(entry);
      if (entry.kind !== 'membership') continue;
      this.emit({ kind: 'apply', entries: batch, afterPersist: 0 });
      batch = [];
      this.changeMembership(entry);
    }
    if (batch.length > 0) this.emit({ kind: 'apply', entries: batch, afterPersist: 0 });
    this.applying = through;
  }

  private changeMembership(entry: Entry): void {
    const change = decodeMembershipEntry(entry.data);
    if (change.kind !== 'establish') throw new Error('raft: changes of membership are not built yet');
    this.membership = change.membership;
    const { index } = entry;
    this.emit({ kind: 'membership-changed', index, membership: this.membership, afterPersist: 0 });
  }

  refuse(ref: number, reason: Refusal, detail?: string): void {
    this.emit({
      kind: 'refused',
      ref,
      reason,
      ...(this.leader === undefined ? {} : { leader: this.leader }),
      ...(detail === undefined ? {} : { detail }),
      afterPersist: 0,
    });
  }

  becomeFollower(term: number, leader: MemberId | undefined): void {
    const changed = this.role !== 'follower' || term !== this.term || leader !== this.leader;
    this.refuseReads();
    this.role = 'follower';
    this.leader = leader;
    if (term > this.term) {
      this.term = term;
      this.votedFor = undefined;
      this.writeHardState();
    }
    this.progress.clear();
    this.votes.clear();
    this.resetElectionTimeout();
    if (changed) this.announceRole();
  }

  announceRole(): void {
    this.emit({
      kind: 'role-changed',
      role: this.role,
      term: this.term,
      leader: this.leader,
      afterPersist: 0,
    });
  }

  resetElectionTimeout(): void {
    this.ticksSinceContact = 0;
    this.ticksSinceHeartbeat = 0;
    const { electionTicks, random } = this.config;
    this.electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }

  refuseReads(): void {
    for (const ref of [...this.earlyReads, ...this.pendingReads.flatMap((read) => read.refs)]) {
      this.refuse(ref, 'lost-leadership');
    }
    this.earlyReads = [];
    this.pendingReads = [];
    this.readAcks.clear();
  }
}
