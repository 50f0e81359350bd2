/**
 * Members that do exactly what a story says. Nothing happens by itself: clocks tick, disks write and messages arrive
 * on command. Election timeouts are not random here: always 10 ticks. An append holds 10 bytes, or one larger entry.
 */
import { isJoint, votersOnly } from '../membership/membership.js';
import type { MemberId, Membership, Message } from '../types.js';
import { type DiskBound, SimMember, type SimSnapshot } from './sim-member.js';

interface Envelope {
  from: MemberId;
  to: MemberId;
  message: Message;
}

export class StoryWorld {
  private members = new Map<MemberId, SimMember>();
  private network: Envelope[] = [];
  private readonly snapshots = new Map<number, SimSnapshot>();
  private nextRef = 1;
  private said: string[] = [];

  /** One line of a story; returns what it made happen. */
  run(line: string): string[] {
    const [verb, ...args] = line.split(/\s+/);
    this.said = [];
    this.perform(verb ?? '', args);
    return this.said.length === 0 ? ['(nothing)'] : this.said;
  }

  private perform(verb: string, args: string[]): void {
    const [first = '', second = ''] = args;
    switch (verb) {
      case 'members':
        return this.begin(args);
      case 'tick':
        for (let i = 0; i < Number(second || '1'); i++) this.member(first).step({ kind: 'tick' });
        return;
      case 'disk':
        return this.member(first).finishWrites(Number(second || '1000'));
      case 'deliver':
        return this.deliver(first, second);
      case 'drop':
        return this.drop(first, second);
      case 'settle':
        return this.settle();
      case 'propose':
        return this.member(first).step({
          kind: 'propose',
          proposals: [{ ref: this.nextRef++, data: Buffer.from(second) }],
        });
      case 'read':
        return this.member(first).step({ kind: 'read', refs: [this.nextRef++] });
      case 'crash':
        return this.member(first).crash();
      case 'restart':
        return this.member(first).start();
      case 'compact':
        this.member(first).compact(Number(second || '0'));
        return this.rememberSnapshot(this.member(first));
      case 'status':
        return this.tellStatus();
      default:
        throw new Error(`a story cannot say "${verb}"`);
    }
  }

  private begin(ids: string[]): void {
    this.members = new Map(
      ids.map((id) => [
        id,
        new SimMember(
          {
            id,
            bootstrap: votersOnly(ids),
            electionTicks: 10,
            heartbeatTicks: 1,
            appendEntriesMax: 100,
            appendBytesMax: 10,
            inflightAppendsMax: 8,
            inflightBytesMax: 1000,
            uncommittedBytesMax: 1000,
            applyingBytesMax: 1000,
            random: () => 0,
          },
          {
            send: (from, to, message) => {
              this.network.push({ from, to, message });
              this.say(`${from} -> ${to} ${describe(message)}`);
            },
            command: (member, command) => this.tell(member, command),
            snapshotAt: (index) => this.snapshotAt(index),
          },
        ),
      ]),
    );
    for (const member of this.members.values()) {
      member.start();
      member.finishWrites(1);
    }
  }

  /** All messages that are under way now, from one member to another; not the answers they cause. */
  private deliver(from: string, to: string): void {
    const taken = this.network.filter((each) => matches(each, from, to));
    this.network = this.network.filter((each) => !matches(each, from, to));
    for (const envelope of taken) {
      this.members
        .get(envelope.to)
        ?.step({ kind: 'message', from: envelope.from, message: envelope.message });
      this.endSnapshot(envelope, this.members.get(envelope.to)?.core === undefined ? 'failed' : 'delivered');
    }
  }

  /** The sender's driver learns how the stream of the snapshot ended. */
  private endSnapshot({ from, to, message }: Envelope, outcome: 'delivered' | 'failed'): void {
    if (message.kind !== 'snapshot') return;
    this.members.get(from)?.step({ kind: 'snapshot-status', peer: to, outcome });
  }

  private drop(from: string, to: string): void {
    const dropped = this.network.filter((each) => matches(each, from, to));
    this.network = this.network.filter((each) => !matches(each, from, to));
    this.say(`dropped ${dropped.length}`);
    for (const envelope of dropped) this.endSnapshot(envelope, 'failed');
  }

  /** Disks write and messages arrive until nothing is left to do. Messages to a crashed member are lost. */
  private settle(): void {
    for (let turn = 0; turn < 100; turn++) {
      const isWriting = [...this.members.values()].some((member) => member.isWriting);
      if (!isWriting && this.network.length === 0) return;
      for (const member of this.members.values()) member.finishWrites(1000);
      this.deliver('', '');
    }
    throw new Error('the story does not come to rest');
  }

  private tell({ id }: SimMember, command: DiskBound): void {
    switch (command.kind) {
      case 'apply':
        for (const { index, term, kind, data } of command.entries) {
          this.say(
            `${id} applies ${index}/${term} ${kind === 'data' ? Buffer.from(data).toString() : `(${kind})`}`,
          );
        }
        return;
      case 'proposed':
        return this.say(`${id} places proposal ${command.ref} at ${command.index}/${command.term}`);
      case 'refused':
        return this.say(
          `${id} refuses ${command.ref}: ${[command.reason, command.detail].filter(Boolean).join(', ')}`,
        );
      case 'membership-changed':
        return this.say(`${id} has the membership ${describeMembership(command.membership)}`);
      case 'transfer-ended':
        return this.say(`${id} ends transfer ${command.ref}: ${command.outcome}`);
      case 'read-ready':
        return this.say(`${id} allows read ${command.refs.join(' ')} at ${command.index}`);
      case 'role-changed':
        return this.say(
          `${id} is ${command.role} in term ${command.term}, leader ${command.leader ?? 'unknown'}`,
        );
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
      const { role, term, commit, durableIndex } = status;
      this.say(
        `${id}: ${role}, term ${term}, commit ${commit}, durable ${durableIndex}, log ${terms.join(' ')}`,
      );
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

  private member(id: string): SimMember {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${id} in this story`);
    return member;
  }

  private say(what: string): void {
    this.said.push(what);
  }
}

/** An empty name or `*` is anybody. */
function matches({ from, to }: Envelope, wantedFrom: string, wantedTo: string): boolean {
  const isWanted = (id: string, wanted: string): boolean => wanted === '' || wanted === '*' || wanted === id;
  return isWanted(from, wantedFrom) && isWanted(to, wantedTo);
}

function describeMembership(membership: Membership): string {
  const { voters, outgoing, learners, learnersNext, autoLeave } = membership;
  const parts = [voters.join(' ')];
  if (isJoint(membership)) parts.push(`and ${outgoing.join(' ')}`);
  if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`);
  if (learnersNext.length > 0) parts.push(`next learners ${learnersNext.join(' ')}`);
  if (autoLeave) parts.push('auto-leave');
  return parts.join(', ');
}

function describe(message: Message): string {
  switch (message.kind) {
    case 'pre-vote-request':
    case 'vote-request':
      return `${message.kind} term ${message.term}, log ends at ${message.lastIndex}/${message.lastTerm}`;
    case 'pre-vote-response':
    case 'vote-response':
      return `${message.kind} term ${message.term}, ${message.granted ? 'granted' : 'refused'}`;
    case 'append-request': {
      const entries = message.entries.map((entry) => `${entry.index}/${entry.term}`).join(' ') || 'nothing';
      return `append term ${message.term}, after ${message.prevIndex}/${message.prevTerm}: ${entries}, commit ${message.commit}`;
    }
    case 'append-response':
      return message.result.accepted
        ? `append-response term ${message.term}, has ${message.result.match}`
        : `append-response term ${message.term}, rejects ${message.result.rejectedPrev}, hint ${message.result.hintIndex}/${message.result.hintTerm}`;
    case 'heartbeat':
      return `heartbeat term ${message.term}, commit ${message.commit}, round ${message.readSequence}`;
    case 'heartbeat-response':
      return `heartbeat-response term ${message.term}, round ${message.readSequence}`;
    case 'timeout-now':
      return `timeout-now term ${message.term}`;
    case 'read-request':
      return `read-request term ${message.term}, context ${message.context}`;
    case 'read-response':
      return `read-response term ${message.term}, context ${message.context}, index ${message.index}`;
    case 'snapshot':
      return `snapshot term ${message.term}, at ${message.snapshot.index}/${message.snapshot.term}`;
  }
}
