import type { ImageStore } from '#libs/images';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import type { ContainerNetworks } from '../networks/container-networks.js';
import type { ExecTable } from './exec-table.js';
import type { Notify } from './notices.js';

/** What the container, exec and volume routes of a node work with. */
export interface ContainerRouteDependencies {
  runtime: ContainerRuntime;
  images: Pick<ImageStore, 'find' | 'rootLayers' | 'list' | 'work' | 'tag'>;
  volumes: VolumeStore;
  execs: ExecTable;
  /** Where `docker run` puts a container. Absent: only the networks `none` and `host` are there. */
  networks?: ContainerNetworks;
  /** Folder of all that the node keeps. */
  stateDir: string;
  notify: Notify;
  nowMs(): number;
  log(error: unknown, what: string): void;
}
