/**
 * Big files whose way to the disk nobody waits for. Each has a mark beside it that says in which run of the machine it
 * was written; once the file system is synced the mark goes. After a power cut a marked file of an earlier run may
 * hold anything, and is thrown away: its owner can get it again.
 */
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';

/** Work that goes on writes more: it is not disturbed by the sync of its beginning. */
const quietMs = 2000;
/** By then the kernel itself begins to write. */
const waitingMsMax = 30_000;

const bootIdFile = '/proc/sys/kernel/random/boot_id';

export class Settling {
  private readonly bootId = readFileSync(bootIdFile, 'utf8').trim();
  private readonly marks = new Set<string>();
  private working: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private waitingSinceMs: number | undefined;

  constructor(
    /** Waits until everything on the file system is on the disk. */
    private readonly sync: () => Promise<void>,
    private readonly log: (message: string, error: unknown) => void,
  ) {}

  async writeMark(path: string): Promise<void> {
    await writeFile(path, this.bootId);
  }

  /** Whether what a mark stands beside can be trusted: it was written since the machine started. */
  isOfThisRun(markText: string): boolean {
    return markText === this.bootId;
  }

  /** Takes the mark off once what it stands beside is on the disk, which begins when nothing has come for a while. */
  settle(markPath: string): void {
    this.marks.add(markPath);
    const nowMs = performance.now();
    this.waitingSinceMs ??= nowMs;
    if (this.timer !== undefined && nowMs - this.waitingSinceMs > waitingMsMax) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), quietMs).unref();
  }

  private begin(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waitingSinceMs = undefined;
    this.working ??= this.work()
      .catch((error: unknown) => this.log('images could not be written to the disk', error))
      .finally(() => (this.working = undefined));
  }

  /** The marked file is gone, or is about to go. */
  forget(markPath: string): void {
    this.marks.delete(markPath);
  }

  /** Does now what is left to do. */
  async close(): Promise<void> {
    this.begin();
    await this.working;
  }

  private async work(): Promise<void> {
    while (this.marks.size > 0) {
      const waiting = [...this.marks];
      await this.sync();
      for (const path of waiting) {
        if (this.marks.delete(path)) await rm(path, { force: true });
      }
    }
  }
}
