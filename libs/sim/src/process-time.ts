import type { Member } from './member.js';
import type { MemberProcess } from './member-process.js';
import type { World } from './world.js';

/** When the work of one process happens: nothing of it does once the process is over. */
export class ProcessTime {
  private diskFreeAtMs = 0;

  constructor(
    private readonly process: MemberProcess,
    private readonly member: Member,
    private readonly world: World,
  ) {}

  /** A process that stands still by then does it when it goes on. */
  later(delayMs: number, work: () => void): void {
    this.world.scheduler.after(delayMs, () => this.member.whenAwake(this.process, work));
  }

  /** The disk does one thing after the other, each in its time. */
  afterDisk(work: () => void): void {
    const { scheduler } = this.world;
    const begin = Math.max(scheduler.nowMs, this.diskFreeAtMs, this.member.diskStalledUntilMs);
    this.diskFreeAtMs = begin + this.world.drawDiskLatencyMs();
    this.later(this.diskFreeAtMs - scheduler.nowMs, () => {
      work();
      if (this.member.disk.isDead) this.world.endInWrite(this.member);
    });
  }
}
