import type { ImageStore } from '#libs/images';
import type { ContainerId, ContainerInterface } from '#libs/model';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import type { ExecTable } from './exec-table.js';

/** What the container, exec and volume routes of a node work with. */
export interface ContainerRouteDependencies {
  runtime: ContainerRuntime;
  images: Pick<ImageStore, 'find' | 'rootLayers'>;
  volumes: VolumeStore;
  execs: ExecTable;
  /**
   * Addresses for a container that `docker run` makes in the default network. Absent: such containers are refused,
   * those in the networks `none` and `host` are not.
   */
  attachDefault?(id: ContainerId): Promise<{ interfaces: ContainerInterface[]; nameservers: string[] }>;
  nowMs(): number;
  log(error: unknown, what: string): void;
}
