/** One member of a simulated group: a core, a disk that finishes writes when told, a state machine that is a list. */
import { RaftCore } from '../raft-core.js';
import { type Rules, soundRules } from '../rules.js';
import type {
  Command,
  CoreConfig,
  Entry,
  HardState,
  Input,
  MemberId,
  Message,
  SnapshotMeta,
} from '../types.js';

export interface AppliedEntry {
  index: number;
  term: number;
  text: string;
}

export interface SimSnapshot {
  meta: SnapshotMeta;
  applied: readonly AppliedEntry[];
}

export type DiskBound = Exclude<Command, { kind: 'persist' }>;
type Persist = Extract<Command, { kind: 'persist' }>;

/** What a crash leaves. */
interface Disk {
  hardState: HardState;
  snapshot?: SimSnapshot;
  entries: Entry[];
}

export interface SimHooks {
  send(from: MemberId, to: MemberId, message: Message): void;
  command(member: SimMember, command: DiskBound): void;
  /** The state that came with a snapshot message. */
  snapshotAt(index: number): SimSnapshot;
}

export class SimMember {
  core: RaftCore | undefined;
  readonly disk: Disk = { hardState: { term: 0, commit: 0 }, entries: [] };
  applied: AppliedEntry[] = [];
  private writing: Persist[] = [];
  private waiting: DiskBound[] = [];
  private durableSequence = 0;

  constructor(
    private readonly config: CoreConfig,
    private readonly hooks: SimHooks,
    private readonly rules: Rules = soundRules,
  ) {}

  get id(): MemberId {
    return this.config.id;
  }

  get isWriting(): boolean {
    return this.writing.length > 0;
  }

  get lastApplied(): number {
    return this.applied.at(-1)?.index ?? 0;
  }

  start(): void {
    const { hardState, snapshot, entries } = this.disk;
    this.applied = [...(snapshot?.applied ?? [])];
    this.writing = [];
    this.waiting = [];
    this.durableSequence = 0;
    const recovered = { hardState, entries, ...(snapshot === undefined ? {} : { snapshot: snapshot.meta }) };
    this.core = new RaftCore(this.config, recovered, this.rules);
    this.step({ kind: 'start' });
  }

  /** Everything that is not on the disk is gone. */
  crash(): void {
    this.core = undefined;
    this.writing = [];
    this.waiting = [];
  }

  step(input: Input): void {
    for (const command of this.core?.step(input) ?? []) {
      if (command.kind === 'persist') this.writing.push(command);
      else if (command.afterPersist > this.durableSequence) this.waiting.push(command);
      else this.carryOut(command);
    }
  }

  /** The disk finishes the oldest `count` writes. */
  finishWrites(count: number): void {
    const done = this.writing.splice(0, count);
    const last = done.at(-1);
    if (last === undefined) return;
    for (const write of done) this.writeToDisk(write);
    this.durableSequence = last.sequence;
    while (this.waiting[0] !== undefined && this.waiting[0].afterPersist <= last.sequence) {
      this.carryOut(this.waiting.shift() as DiskBound);
    }
    this.step({ kind: 'persisted', sequence: last.sequence });
  }

  compact(keep: number): void {
    const last = this.applied.at(-1);
    if (last === undefined || this.core === undefined || last.index <= (this.disk.snapshot?.meta.index ?? 0))
      return;
    const { membership } = this.core.status();
    const meta: SnapshotMeta = { index: last.index, term: last.term, membership };
    this.disk.snapshot = { meta, applied: [...this.applied] };
    this.disk.entries = this.disk.entries.filter((entry) => entry.index > meta.index);
    this.step({ kind: 'snapshot-taken', snapshot: meta, compactThrough: Math.max(0, meta.index - keep) });
  }

  private writeToDisk(write: Persist): void {
    this.disk.hardState = write.hardState;
    if (write.snapshot !== undefined) {
      this.disk.snapshot = this.hooks.snapshotAt(write.snapshot.index);
      this.disk.entries = [];
    }
    const base = this.disk.snapshot?.meta.index ?? 0;
    for (const entry of write.entries) {
      if (entry.index <= base) continue;
      this.disk.entries.length = entry.index - base - 1;
      this.disk.entries.push(entry);
    }
  }

  private carryOut(command: DiskBound): void {
    if (command.kind === 'send') this.hooks.send(this.id, command.to, command.message);
    if (command.kind === 'install-snapshot') {
      this.applied = [...this.hooks.snapshotAt(command.snapshot.index).applied];
      this.step({ kind: 'applied', index: command.snapshot.index });
    }
    if (command.kind === 'apply') {
      for (const { index, term, data } of command.entries) {
        this.applied.push({ index, term, text: Buffer.from(data).toString() });
      }
    }
    this.hooks.command(this, command);
    if (command.kind === 'apply') this.step({ kind: 'applied', index: this.lastApplied });
  }
}
