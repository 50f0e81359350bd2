/** When a container that has ended is run again: Docker's restart policies and its back-off. Pure. */
import type { RestartPolicy } from '../port.js';

const firstDelayMs = 100;
const delayMsMax = 60_000;
/** A run of this length is no failure to start: waiting begins anew. */
const settledMs = 10_000;

export interface EndedRun {
  policy: RestartPolicy;
  /** How often the policy has run it again since somebody last started it. */
  restartCount: number;
  exitCode: number;
  ranMs: number;
  /** Before the run that has ended; undefined when it was started by hand. */
  lastDelayMs: number | undefined;
  /** `docker stop` or `docker kill` ended it. */
  stoppedByUser: boolean;
}

/** How long to wait before the next run; undefined: it stays down. */
export function restartDelayMs(run: EndedRun): number | undefined {
  if (run.stoppedByUser || !isWanted(run)) return undefined;
  if (run.lastDelayMs === undefined || run.ranMs >= settledMs) return firstDelayMs;
  return Math.min(run.lastDelayMs * 2, delayMsMax);
}

/** Whether a node that comes up runs a container that has been down: only `always` overrules the user's stop. */
export function isWantedAtStart(run: Omit<EndedRun, 'ranMs' | 'lastDelayMs'>): boolean {
  if (run.policy.name === 'always') return true;
  return !run.stoppedByUser && isWanted(run);
}

function isWanted({ policy, exitCode, restartCount }: Omit<EndedRun, 'ranMs' | 'lastDelayMs'>): boolean {
  switch (policy.name) {
    case 'no':
      return false;
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure':
      return exitCode !== 0 && (policy.retriesMax === 0 || restartCount < policy.retriesMax);
  }
}
