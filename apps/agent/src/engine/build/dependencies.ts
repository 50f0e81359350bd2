import type { ImageStore, PeerSource } from '#libs/images';
import type { ContainerId, ImageId } from '#libs/model';
import type { ContainerRuntime } from '#libs/runtime';

/** What builds of a node work with. */
export interface BuildDependencies {
  images: ImageStore;
  runtime: Pick<ContainerRuntime, 'run' | 'attach' | 'wait' | 'kill' | 'upperDir' | 'get'>;
  /** As `POST /containers/create`. */
  createContainer(body: unknown): Promise<ContainerId>;
  /** With its anonymous volumes. */
  removeContainer(id: ContainerId): Promise<void>;
  /** A container of this node, running or not, was made of the image. */
  inUse(id: ImageId): boolean;
  peersFor(reference: string): Promise<PeerSource[]>;
  nowMs(): number;
}
