/**
 * Members that do exactly what a story says. Nothing happens by itself: clocks tick, disks write and messages arrive
 * on command. Election timeouts are not random here: always 10 ticks. An append holds 10 bytes, or one larger entry.
 */
import { isJoint, votersOnly } from '../membership/membership.js';
import type { CoreConfig, MemberId, Membership, MembershipChange, MembershipTransition } from '../types.js';
import { type DiskBound, SimMember, type SimSnapshot } from './sim-member.js';
import { describe, describeMembership, type Envelope, parseChanges } from './story-words.js';

export class StoryWorld {
  private readonly members = new Map<MemberId, SimMember>();
  private network: Envelope[] = [];
  private cuts: [MemberId, MemberId][] = [];
  private readonly snapshots = new Map<number, SimSnapshot>();
  private config: Partial<CoreConfig> = {};
  private nextRef = 1;
  private said: string[] = [];

  /** One line of a story; returns what it made happen. */
  run(line: string): string[] {
    const [verb = '', ...args] = line.split(/\s+/);
    const perform = this.verbs[verb];
    if (perform === undefined) throw new Error(`a story cannot say "${verb}"`);
    this.said = [];
    perform(...args);
    return this.said.length === 0 ? ['(nothing)'] : this.said;
  }

  private readonly verbs: Record<string, (...args: string[]) => void> = {
    /** `options inflightAppendsMax 2 readLease 0.1`: before the members begin. */
    options: (...args) => this.configure(args),
    /** The founders. */
    members: (...ids) => this.begin(ids),
    /** A member with an empty disk that knows of no group. */
    join: (id) => this.add(id, undefined),
    /** The member leads, everybody else follows and has everything on its disk; or see `elect` for a part of them. */
    elect: (id, ...among) => this.elect(id, among),
    tick: (id, count = '1') => {
      for (const member of this.named(id)) {
        for (let i = 0; i < Number(count); i++) member.step({ kind: 'tick' });
      }
    },
    /** The disk finishes so many writes, all by default. */
    disk: (id, count = '1000') => this.member(id).finishWrites(Number(count)),
    /** No message passes between the two, until `mend`. */
    cut: (one = '', other = '') => {
      this.cuts.push([one, other]);
    },
    mend: () => {
      this.cuts = [];
    },
    /** What is under way from one to another arrives; not what that causes. With a number: only the first so many. */
    deliver: (from, to, count) => this.deliver(this.take(from, to, count)),
    /** The same, the last one first. */
    'deliver-reversed': (from, to) => this.deliver(this.take(from, to).reverse()),
    /** Messages are under way twice. */
    double: (from, to) => {
      this.network.push(...this.network.filter((each) => matches(each, from, to)));
    },
    drop: (from, to, count) => this.drop(from, to, count),
    settle: () => this.settle(),
    propose: (id, ...texts) => {
      const proposals = texts.map((text) => ({ ref: this.nextRef++, data: Buffer.from(text) }));
      this.member(id).step({ kind: 'propose', proposals });
    },
    /** `change m1 +m4 ~m5 -m2`: a voter more, a learner more, one less. First word may be the transition. */
    change: (id, ...args) => this.change(id, args),
    'leave-joint': (id) => this.member(id).step({ kind: 'leave-joint', ref: this.nextRef++ }),
    transfer: (id, to = '') => this.member(id).step({ kind: 'transfer', ref: this.nextRef++, to }),
    campaign: (id) => this.member(id).step({ kind: 'campaign' }),
    'forget-leader': (id) => this.member(id).step({ kind: 'forget-leader' }),
    unreachable: (id, peer = '') => this.member(id).step({ kind: 'unreachable', peer }),
    read: (id) => this.member(id).step({ kind: 'read', refs: [this.nextRef++] }),
    crash: (id) => this.member(id).crash(),
    restart: (id) => this.member(id).start(),
    /** A snapshot of all that is applied; so many entries before it are kept. */
    compact: (id, keep = '0') => {
      this.member(id).compact(Number(keep));
      this.rememberSnapshot(this.member(id));
    },
    status: () => this.tellStatus(),
    /** What the leader knows of the others. */
    peers: (id) => this.tellPeers(this.member(id)),
  };

  private configure(args: string[]): void {
    for (let at = 0; at < args.length; at += 2) {
      const [name = '', value = ''] = args.slice(at);
      const option = name === 'readLease' ? { clockDriftMax: Number(value) } : Number(value);
      this.config = { ...this.config, [name]: option };
    }
  }

  private begin(ids: string[]): void {
    for (const id of ids) this.add(id, votersOnly(ids));
    for (const id of ids) {
      this.member(id).start();
      this.member(id).finishWrites(1);
    }
  }

  private add(id: string | undefined, bootstrap: Membership | undefined): void {
    if (id === undefined) throw new Error('who?');
    const config: CoreConfig = {
      id,
      ...(bootstrap === undefined ? {} : { bootstrap }),
      electionTicks: 10,
      heartbeatTicks: 1,
      appendEntriesMax: 100,
      appendBytesMax: 10,
      inflightAppendsMax: 8,
      inflightBytesMax: 1000,
      uncommittedBytesMax: 1000,
      applyingBytesMax: 1000,
      random: () => 0,
      ...this.config,
    };
    const member = new SimMember(config, {
      send: (from, to, message) => {
        if (this.isCut(from, to)) return this.endSnapshot({ from, to, message }, 'failed');
        this.network.push({ from, to, message });
        this.say(`${from} -> ${to} ${describe(message)}`);
      },
      command: (told, command) => this.tell(told, command),
      snapshotAt: (index) => this.snapshotAt(index),
    });
    this.members.set(id, member);
    if (bootstrap === undefined) member.start();
  }

  /**
   * Without a word about how. With voters named, only they and the candidate take part, the others hear nothing, and
   * what the new leader sends first is left under way.
   */
  private elect(id: string | undefined, among: readonly string[]): void {
    const candidate = this.member(id);
    const voters = among.length === 0 ? [...this.members.values()] : among.map((each) => this.member(each));
    this.network = [];
    for (const member of new Set([candidate, ...voters])) {
      if (among.length === 0 && member.id !== id) continue;
      // An old leader finds out that it is alone; others come to believe that theirs is gone.
      for (let i = 0; i < 30 && member.core?.status().role === 'leader'; i++) member.step({ kind: 'tick' });
    }
    for (const member of voters) {
      if (this.config.readLease !== undefined) for (let i = 0; i < 10; i++) member.step({ kind: 'tick' });
      member.step({ kind: 'forget-leader' });
    }
    this.network = [];
    for (let turn = 0; turn < 10 && candidate.core?.status().role !== 'leader'; turn++) {
      // Again when it had to learn first of a term that has begun meanwhile.
      if (turn === 0 || candidate.core?.status().role === 'follower') candidate.step({ kind: 'campaign' });
      for (const member of [candidate, ...voters]) member.finishWrites(1000);
      const isAmong = ({ from, to }: Envelope): boolean =>
        [from, to].every((each) => each === id || voters.some((voter) => voter.id === each));
      this.deliver(this.take().filter(isAmong));
    }
    const status = candidate.core?.status();
    if (status?.role !== 'leader') throw new Error(`${id} was not elected`);
    this.network = this.network.filter(({ from }) => from === id);
    candidate.finishWrites(1000);
    if (among.length === 0) {
      this.settle();
      candidate.step({ kind: 'tick' });
      this.settle();
    }
    this.said = [`${id} leads term ${status.term}`];
  }

  private change(id: string | undefined, args: string[]): void {
    const transitions: readonly string[] = ['auto', 'joint', 'joint-until-left'];
    const isGiven = transitions.includes(args[0] ?? '');
    const transition = (isGiven ? args[0] : 'auto') as MembershipTransition;
    const changes: MembershipChange[] = parseChanges(args.slice(isGiven ? 1 : 0));
    this.member(id).step({ kind: 'propose-membership', ref: this.nextRef++, changes, transition });
  }

  private take(from?: string, to?: string, count?: string): Envelope[] {
    const taken = this.network.filter((each) => matches(each, from, to)).slice(0, Number(count ?? '1000'));
    this.network = this.network.filter((each) => !taken.includes(each));
    return taken;
  }

  private deliver(envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) {
      const { from, to, message } = envelope;
      this.members.get(to)?.step({ kind: 'message', from, message });
      this.endSnapshot(envelope, this.members.get(to)?.core === undefined ? 'failed' : 'delivered');
    }
  }

  /** The sender's driver learns how the stream of the snapshot ended. */
  private endSnapshot({ from, to, message }: Envelope, outcome: 'delivered' | 'failed'): void {
    if (message.kind !== 'snapshot') return;
    this.members.get(from)?.step({ kind: 'snapshot-status', peer: to, outcome });
  }

  private isCut(from: string, to: string): boolean {
    return this.cuts.some(
      ([one, other]) => matches({ from, to }, one, other) || matches({ from, to }, other, one),
    );
  }

  private drop(from?: string, to?: string, count?: string): void {
    const dropped = this.take(from, to, count);
    this.say(`dropped ${dropped.length}`);
    for (const envelope of dropped) this.endSnapshot(envelope, 'failed');
  }

  /** Disks write and messages arrive until nothing is left to do. Messages to a crashed member are lost. */
  private settle(): void {
    for (let turn = 0; turn < 100; turn++) {
      const isWriting = [...this.members.values()].some((member) => member.isWriting);
      if (!isWriting && this.network.length === 0) return;
      for (const member of this.members.values()) member.finishWrites(1000);
      this.deliver(this.take());
    }
    throw new Error('the story does not come to rest');
  }

  private tell({ id }: SimMember, command: DiskBound): void {
    switch (command.kind) {
      case 'apply':
        for (const { index, term, kind, data } of command.entries) {
          const what = kind === 'data' ? Buffer.from(data).toString() : `(${kind})`;
          this.say(`${id} applies ${index}/${term} ${what}`);
        }
        return;
      case 'proposed':
        return this.say(`${id} places proposal ${command.ref} at ${command.index}/${command.term}`);
      case 'refused': {
        const why = [command.reason, command.detail].filter(Boolean).join(', ');
        return this.say(`${id} refuses ${command.ref}: ${why}`);
      }
      case 'membership-changed':
        return this.say(`${id} has the membership ${describeMembership(command.membership)}`);
      case 'transfer-ended':
        return this.say(`${id} ends transfer ${command.ref}: ${command.outcome}`);
      case 'read-ready':
        return this.say(`${id} allows read ${command.refs.join(' ')} at ${command.index}`);
      case 'role-changed': {
        const { role, term, leader = 'unknown' } = command;
        return this.say(`${id} is ${role} in term ${term}, leader ${leader}`);
      }
      case 'install-snapshot':
        return this.say(`${id} installs the snapshot at ${command.snapshot.index}`);
      case 'send':
        return;
    }
  }

  private tellStatus(): void {
    for (const [id, { core }] of this.members) {
      const status = core?.status();
      if (status === undefined) {
        this.say(`${id}: down`);
        continue;
      }
      const terms: string[] = [];
      for (let i = status.firstIndex; i <= status.lastIndex; i++) terms.push(`${i}/${core?.termAt(i)}`);
      const { role, term, commit, durableIndex, membership } = status;
      const parts = [
        role,
        `term ${term}`,
        `commit ${commit}`,
        `durable ${durableIndex}`,
        `log ${terms.join(' ')}`,
      ];
      if (isJoint(membership) || membership.learners.length > 0) parts.push(describeMembership(membership));
      this.say(`${id}: ${parts.join(', ')}`);
    }
  }

  private tellPeers({ core }: SimMember): void {
    for (const each of core?.peers() ?? []) {
      const parts = [each.state, `match ${each.match}`, `next ${each.next}`];
      if (each.isPaused) parts.push('paused');
      if (each.isLearner) parts.push('learner');
      if (each.pendingSnapshot > 0) parts.push(`pending snapshot ${each.pendingSnapshot}`);
      if (each.inflightAppends > 0) parts.push(`${each.inflightAppends} under way`);
      this.say(`${each.id}: ${parts.join(', ')}`);
    }
  }

  private rememberSnapshot({ disk }: SimMember): void {
    if (disk.snapshot !== undefined) this.snapshots.set(disk.snapshot.meta.index, disk.snapshot);
  }

  private snapshotAt(index: number): SimSnapshot {
    const snapshot = this.snapshots.get(index);
    if (snapshot === undefined) throw new Error(`no snapshot at ${index} in this story`);
    return snapshot;
  }

  private named(id: string | undefined): SimMember[] {
    return id === '*' ? [...this.members.values()] : [this.member(id)];
  }

  private member(id: string | undefined): SimMember {
    const member = this.members.get(id ?? '');
    if (member === undefined) throw new Error(`no member ${id} in this story`);
    return member;
  }

  private say(what: string): void {
    this.said.push(what);
  }
}

/** No name or `*` is anybody. */
function matches({ from, to }: Pick<Envelope, 'from' | 'to'>, wantedFrom = '*', wantedTo = '*'): boolean {
  const isWanted = (id: string, wanted: string): boolean => wanted === '*' || wanted === id;
  return isWanted(from, wantedFrom) && isWanted(to, wantedTo);
}
