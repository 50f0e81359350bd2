/** One core in a given situation, and short words for what goes in and what must come out. */
import { emptyMembership } from '../membership/membership.js';
import { RaftCore } from '../raft-core.js';
import { type Rules, soundRules } from '../rules.js';
import type {
  Command,
  CoreConfig,
  Entry,
  HardState,
  Input,
  MemberId,
  Membership,
  Message,
  Role,
} from '../types.js';

export interface Situation {
  id?: MemberId;
  membership?: Partial<Membership>;
  term?: number;
  votedFor?: MemberId;
  /** The entries from index 1 on. */
  log?: readonly Entry[];
  commit?: number;
  config?: Partial<CoreConfig>;
}

/** A data entry; its text tells where it came from. */
export function entry(index: number, term: number, text = `${index}/${term}`): Entry {
  return { index, term, kind: 'data', data: Buffer.from(text) };
}

export function noop(index: number, term: number): Entry {
  return { index, term, kind: 'noop', data: new Uint8Array(0) };
}

/** A log of data entries with these terms. */
export function logOf(...terms: number[]): Entry[] {
  return terms.map((term, at) => entry(at + 1, term));
}

export const send = (to: MemberId, message: Message, afterPersist = 0): Command => ({
  kind: 'send',
  to,
  message,
  afterPersist,
});

export const persist = (sequence: number, hardState: HardState, entries: readonly Entry[] = []): Command => ({
  kind: 'persist',
  sequence,
  hardState,
  entries,
});

export const role = (name: Role, term: number, leader?: MemberId): Command => ({
  kind: 'role-changed',
  role: name,
  term,
  ...(leader === undefined ? {} : { leader }),
  afterPersist: 0,
});

export const apply = (...entries: Entry[]): Command => ({ kind: 'apply', entries, afterPersist: 0 });

export class LoneCore {
  readonly core: RaftCore;
  /** Of the newest write it asked for. */
  sequence = 0;
  /** Of the newest heartbeat it sent. */
  private round = 0;
  private readonly membership: Membership;

  constructor(
    readonly situation: Situation = {},
    rules: Rules = soundRules,
  ) {
    const { id = 'm1', term = 0, votedFor, log = [], commit = 0, config = {} } = situation;
    this.membership = { ...emptyMembership, voters: ['m1', 'm2', 'm3'], ...situation.membership };
    this.core = new RaftCore(
      {
        id,
        electionTicks: 10,
        heartbeatTicks: 1,
        appendEntriesMax: 100,
        appendBytesMax: 1000,
        inflightAppendsMax: 4,
        inflightBytesMax: 1000,
        uncommittedBytesMax: 1000,
        applyingBytesMax: 100_000,
        random: () => 0,
        ...config,
      },
      {
        hardState: { term, commit, ...(votedFor === undefined ? {} : { votedFor }) },
        // As if the log began after a snapshot of nothing.
        snapshot: { index: 0, term: 0, membership: this.membership },
        entries: log,
      },
      rules,
    );
    this.step({ kind: 'start' });
  }

  step(input: Input): Command[] {
    const commands = this.core.step(input);
    for (const command of commands) {
      if (command.kind === 'persist') this.sequence = command.sequence;
      if (command.kind === 'send' && command.message.kind === 'heartbeat') {
        this.round = command.message.readSequence;
      }
    }
    return commands;
  }

  receive(from: MemberId, message: Message): Command[] {
    return this.step({ kind: 'message', from, message });
  }

  /** The disk finishes everything it was asked for. */
  sync(): Command[] {
    return this.step({ kind: 'persisted', sequence: this.sequence });
  }

  tick(count = 1): Command[] {
    return Array.from({ length: count }, () => this.step({ kind: 'tick' })).flat();
  }

  propose(...texts: string[]): Command[] {
    const proposals = texts.map((text, at) => ({ ref: at + 1, data: Buffer.from(text) }));
    return this.step({ kind: 'propose', proposals });
  }

  get term(): number {
    return this.core.status().term;
  }

  get peers(): MemberId[] {
    const { voters, outgoing } = this.membership;
    return [...new Set([...voters, ...outgoing])].filter((each) => each !== (this.situation.id ?? 'm1'));
  }

  /** Asks for votes in the next term. Its own is on disk. */
  becomeCandidate(): Command[] {
    this.tick(10);
    for (const peer of this.peers) {
      if (this.core.status().role === 'candidate') break;
      this.receive(peer, { kind: 'pre-vote-response', term: this.term + 1, granted: true });
    }
    return this.sync();
  }

  /** Leads the next term; its first entry is on its own disk alone. Returns what the last vote brought about. */
  becomeLeader(): Command[] {
    this.becomeCandidate();
    let last: Command[] = [];
    for (const peer of this.peers) {
      if (this.core.status().role === 'leader') break;
      last = this.receive(peer, { kind: 'vote-response', term: this.term, granted: true });
    }
    this.sync();
    return last;
  }

  /** It is time for a heartbeat, and the member answers it. */
  beat(from: MemberId): Command[] {
    this.tick();
    return this.receive(from, { kind: 'heartbeat-response', term: this.term, readSequence: this.round });
  }

  /** The member has everything through `match` (all by default) on its disk. */
  ack(from: MemberId, match = this.core.status().lastIndex): Command[] {
    return this.receive(from, {
      kind: 'append-response',
      term: this.term,
      result: { accepted: true, match },
    });
  }

  /** The log as `index/term`. */
  get log(): string {
    const { firstIndex, lastIndex } = this.core.status();
    const terms: string[] = [];
    for (let index = firstIndex; index <= lastIndex; index++)
      terms.push(`${index}/${this.core.termAt(index)}`);
    return terms.join(' ');
  }

  /** What the paper calls its state. */
  get state(): { role: Role; term: number; commit: number; log: string } {
    const { role: name, term, commit } = this.core.status();
    return { role: name, term, commit, log: this.log };
  }
}
