/**
 * Where a plot is played: in a world with its own network, disks and clocks, whose members do what they do. The plot
 * alone decides which messages are lost or late, who falls, and what clients ask and when; it waits for what must come
 * of that. What does not come within its time ends the plot: somebody else was elected, or a clock was faster.
 */
import type { CoreStatus, MemberId, MembershipChange, MembershipTransition, Message } from '#libs/raft';
import { Client } from '../client.js';
import { CoreProcess } from '../process.js';
import type { World } from '../world.js';

/** Yields what it waits for. */
export type Script<T = void> = Generator<() => boolean, T, void>;

type MessageOf<K extends Message['kind']> = Extract<Message, { kind: K }>;
type Match = (from: MemberId, to: MemberId, message: Message) => boolean;

/** Messages that a plot has taken from the network. */
export interface Taken {
  readonly messages: readonly { from: MemberId; to: MemberId; message: Message }[];
  /** Those that match arrive after all. */
  release(match?: Match): void;
  /** No more are taken. */
  end(): void;
}

const patienceMs = 15_000;
const lookEveryMs = 5;

export class Stage {
  outcome: 'playing' | 'done' | 'given-up' = 'playing';
  private readonly script: Script;
  private waitsFor: (() => boolean) | undefined;
  private untilMs = 0;
  private readonly takers: { match: Match; taken: { from: MemberId; to: MemberId; message: Message }[] }[] =
    [];
  private nextClient = 1;

  constructor(
    readonly world: World,
    play: (stage: Stage) => Script,
    private readonly over: () => void,
  ) {
    this.script = play(this);
    world.network.isReliable = true;
    world.network.take = (from, to, packet) => packet.kind === 'raft' && this.takes(from, to, packet.message);
    this.passTime();
  }

  /** After each event. */
  look(): void {
    const { scheduler } = this.world;
    while (this.outcome === 'playing') {
      if (this.waitsFor !== undefined && !this.waitsFor()) {
        if (scheduler.nowMs > this.untilMs) this.end('given-up');
        return;
      }
      const { value, done } = this.script.next();
      if (done === true) return this.end('done');
      this.waitsFor = value;
      this.untilMs = scheduler.nowMs + patienceMs;
    }
  }

  get ids(): readonly MemberId[] {
    return this.world.contacts();
  }

  others(...ids: MemberId[]): MemberId[] {
    return this.ids.filter((id) => !ids.includes(id));
  }

  /** While it runs. */
  process(id: MemberId): CoreProcess | undefined {
    const { process } = this.world.members.get(id) ?? {};
    return process instanceof CoreProcess && process.core !== undefined ? process : undefined;
  }

  status(id: MemberId): CoreStatus | undefined {
    return this.process(id)?.status();
  }

  term(id: MemberId): number {
    return this.status(id)?.term ?? 0;
  }

  lastIndex(id: MemberId): number {
    return this.status(id)?.lastIndex ?? 0;
  }

  /** The term of an entry that is on the disk. */
  durableTerm(id: MemberId, index: number): number | undefined {
    return (this.status(id)?.durableIndex ?? 0) < index ? undefined : this.process(id)?.termAt(index);
  }

  *leader(among: readonly MemberId[] = this.ids, afterTerm = 0): Script<MemberId> {
    const leads = (id: MemberId): boolean => {
      const status = this.status(id);
      return status?.role === 'leader' && status.term > afterTerm;
    };
    yield () => among.some(leads);
    return among.find(leads) as MemberId;
  }

  /** All of these are to ask for votes, until it has come to what is wanted. */
  *campaign(ids: readonly MemberId[], until: () => boolean): Script {
    const { scheduler, options } = this.world;
    // Long enough for an election.
    const everyMs = 4 * (options.network.latencyMs[1] + options.diskLatencyMs[1]);
    let nextMs = scheduler.nowMs;
    yield () => {
      if (until()) return true;
      if (scheduler.nowMs >= nextMs) {
        nextMs = scheduler.nowMs + everyMs;
        for (const id of ids) this.process(id)?.campaign();
      }
      return false;
    };
  }

  /** A leader that everybody follows, all of whose entries everybody has. */
  *settled(): Script<MemberId> {
    const agree = (leader: MemberId): boolean => {
      const { commit, lastIndex, term } = this.status(leader) as CoreStatus;
      if (commit !== lastIndex || this.process(leader)?.termAt(commit) !== term) return false;
      return this.ids.every((id) => {
        const status = this.status(id);
        return status?.leader === leader && status.term === term && status.applied === commit;
      });
    };
    const settled = (): MemberId | undefined =>
      this.ids.find((id) => this.status(id)?.role === 'leader' && agree(id));
    yield () => settled() !== undefined;
    return settled() as MemberId;
  }

  *forMs(ms: number): Script {
    const endMs = this.world.scheduler.nowMs + ms;
    yield () => this.world.scheduler.nowMs >= endMs;
  }

  /** Nothing passes between the two sides. */
  separate(some: readonly MemberId[], others: readonly MemberId[]): void {
    for (const one of some) {
      for (const other of others) {
        this.world.network.cut(one, other);
        this.world.network.cut(other, one);
      }
    }
  }

  mend(): void {
    this.world.network.mendAll();
  }

  /** Messages that match do not arrive, or not yet. */
  take(match: Match): Taken {
    const taker = { match, taken: [] as { from: MemberId; to: MemberId; message: Message }[] };
    this.takers.push(taker);
    return {
      messages: taker.taken,
      release: (wanted = () => true) => {
        const released = taker.taken.filter(({ from, to, message }) => wanted(from, to, message));
        taker.taken.splice(0, taker.taken.length, ...taker.taken.filter((each) => !released.includes(each)));
        for (const { from, to, message } of released) {
          this.world.network.pass(from, to, { kind: 'raft', message });
        }
      },
      end: () => {
        this.takers.splice(this.takers.indexOf(taker), 1);
      },
    };
  }

  /** Falls, and is back in a moment. */
  restart(id: MemberId, kind: 'kill' | 'power'): void {
    const member = this.world.members.get(id);
    if (member === undefined) return;
    this.world.crash(member, kind);
    this.world.scheduler.after(0, () => this.world.start(member));
  }

  /** A write through this member; tells when it is acknowledged. */
  write(through: MemberId): () => boolean {
    return this.ask({ op: 'append', key: 'k1', value: `w${this.nextClient} ` }, through);
  }

  read(through: MemberId): () => boolean {
    return this.ask({ op: 'get', key: 'k1' }, through);
  }

  /** Tells what became of it, once that is known. */
  change(
    through: MemberId,
    changes: readonly MembershipChange[],
    transition: MembershipTransition,
  ): () => string | undefined {
    let outcome: string | undefined;
    this.process(through)?.changeMembership(changes, transition, (told) => {
      outcome = told;
    });
    return () => outcome;
  }

  end(outcome: 'done' | 'given-up'): void {
    if (this.outcome !== 'playing') return;
    this.outcome = outcome;
    this.world.tell(() => `the plot is over: ${outcome}`);
    this.world.network.take = undefined;
    this.world.network.isReliable = false;
    this.mend();
    this.over();
  }

  /** A plot may wait for a time at which nothing else happens. */
  private passTime(): void {
    if (this.outcome === 'playing') this.world.scheduler.after(lookEveryMs, () => this.passTime());
  }

  private ask(input: Parameters<Client['plan']>[0], through: MemberId): () => boolean {
    const client = this.world.addClient(new Client(this.world, `p${this.nextClient++}`));
    client.stopDrawing();
    client.plan(input, through);
    return () => !client.isBusy;
  }

  private takes(from: MemberId, to: MemberId, message: Message): boolean {
    const taker = this.takers.find(({ match }) => match(from, to, message));
    taker?.taken.push({ from, to, message });
    return taker !== undefined;
  }
}

export function isKind<K extends Message['kind']>(message: Message, kind: K): message is MessageOf<K> {
  return message.kind === kind;
}
