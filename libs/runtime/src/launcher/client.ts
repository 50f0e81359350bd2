import type { LaunchPlan } from './launch-plan.js';
import type { LaunchOutcome } from './outcome.js';

export interface LauncherClientOptions {
  /** The C program. */
  binaryPath: string;
  /** Unix socket of this node's launcher, 107 bytes at most. */
  socketPath: string;
  /** What the launcher itself has to say goes here (it is silent when all is well). */
  logPath: string;
  /** How long a launcher may take to answer after it was started. Default 5000. */
  startMsMax?: number;
  /** Wraps the command line that starts the launcher, e.g. `['ip', 'netns', 'exec', NAME]`. */
  commandPrefix?: readonly string[];
}

/**
 * The agent's end of the launcher's socket. Connects on first use, starts a launcher when none answers, and does so
 * again after it died: running shims do not notice.
 */
export interface LauncherClient {
  /** Makes sure that a launcher runs; gives its pid. */
  connect(): Promise<{ pid: number }>;
  /**
   * Many may be in flight. Throws `unavailable` when the launcher died before it answered: the container may or may
   * not run, so look for its shim (`ShimClient.status`) before trying again.
   */
  launch(plan: LaunchPlan): Promise<LaunchOutcome>;
  /** Ends the launcher; shims and containers go on. */
  shutdown(): Promise<void>;
  /** Lets go of the socket; the launcher goes on. */
  close(): void;
}
