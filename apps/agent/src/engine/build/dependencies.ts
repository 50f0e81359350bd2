import type { ImageStore, ImageUse, PeerSource } from '#libs/images';
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
  /** The container of this node that was made of the image. */
  inUse(id: ImageId): ImageUse | undefined;
  peersFor(reference: string): Promise<PeerSource[]>;
  nowMs(): number;
}
