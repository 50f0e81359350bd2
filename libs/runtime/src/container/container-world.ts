/** What every container of a node works with. */
import type { ContainerId } from '#libs/model';
import type { LauncherClient } from '../launcher/client.js';
import type { RuntimeClock } from '../options.js';
import type { ContainerState, RuntimeEvent } from '../port.js';
import type { VolumeMounts } from '../volumes/volume-mounts.js';
import type { ContainerDisk } from './container-record.js';
import type { Node } from './node-facts.js';

export interface ContainerWorld {
  disk: ContainerDisk;
  launcher: LauncherClient;
  volumeMounts: VolumeMounts;
  clock: RuntimeClock;
  node(): Node;
  cgroupParent: string;
  /** What v1's cpuset of the parent has. */
  cpuset(): { mems?: string; cpus?: string };
  /** The node serves its containers: what their policies want run again may be. */
  mayRestart(): boolean;
  /** Another container, whose namespaces are joined. */
  peer(id: ContainerId): ContainerState | undefined;
  emit(event: RuntimeEvent): void;
  log(error: unknown, what: string): void;
}
