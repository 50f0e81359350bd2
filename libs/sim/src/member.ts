/** A machine of the group: its disk and clock stay when its process goes. */
import type { MemberId, Membership, Message } from '#libs/raft';
import type { SimClock } from './clock.js';
import type { SimDisk } from './disk.js';
import type { MemberProcess } from './member-process.js';

export class Member {
  /** Undefined while it is down. */
  process: MemberProcess | undefined;
  starts = 0;
  /** A bit of its disk has flipped since it was last known to be sound. */
  isDecayed = false;
  /** Its disk was refused at the start: it never comes back, and is to be replaced. */
  isDamaged = false;
  /** Removed from the group and switched off. */
  isGone = false;
  diskStalledUntilMs = 0;
  /** Its state machine takes nothing before. */
  applyStalledUntilMs = 0;
  /** It crashes right after the next message of this kind, and comes back soon. */
  crashAfterSend: Message['kind'] | undefined;
  private isPaused = false;
  private backlog: (() => void)[] = [];

  constructor(
    readonly id: MemberId,
    readonly disk: SimDisk,
    readonly clock: SimClock,
    /** Of the founders. */
    readonly bootstrap: Membership | undefined,
  ) {}

  get isUp(): boolean {
    return this.process !== undefined;
  }

  get isAwake(): boolean {
    return this.isUp && !this.isPaused;
  }

  /** Now, or when the process goes on; never, if it ends before that. */
  whenAwake(process: MemberProcess, work: () => void): void {
    const guarded = (): void => {
      if (!process.isOver) work();
    };
    if (this.isPaused) this.backlog.push(guarded);
    else guarded();
  }

  pause(): void {
    this.isPaused = true;
    this.clock.stop();
  }

  resume(): void {
    this.isPaused = false;
    // What the clock says is due comes first, as a lease wants it.
    this.clock.goOn();
    for (const work of this.backlog.splice(0)) work();
  }

  forgetBacklog(): void {
    this.backlog = [];
    this.isPaused = false;
    this.clock.goOn();
  }
}
