import type { LauncherClientOptions } from './launcher/client.js';

export interface ContainerRuntimeOptions {
  /** Folder of this node's containers and volumes: all that must outlive the processes. */
  stateDir: string;
  /** Short path for sockets. */
  runDir: string;
  /** `/enxame/<cluster>/<node>`: below each cgroup v1 controller, or below the cgroup2 mount. */
  cgroupParent: string;
  /** The C program. */
  launcherPath: string;
  /** Wraps the command line that starts the launcher. */
  launcherCommandPrefix?: LauncherClientOptions['commandPrefix'];
  clock: RuntimeClock;
  /** What went wrong without anybody waiting for it. */
  log?: (error: unknown, what: string) => void;
}

/** Time and timers, as arguments. `setTimeout` returns the way to take it back. */
export interface RuntimeClock {
  nowMs(): number;
  setTimeout(callback: () => void, delayMs: number): () => void;
}
