/** From an accepted task to a container that only needs to be started. */
import type { Image } from '#libs/images';
import { EnxameError, type ContainerId, type RevisionItem, type TaskItem } from '#libs/model';
import type { ContainerFile, ContainerState } from '#libs/runtime';
import { existsSync } from 'node:fs';
import { containerConfigOf, containerSpecOf, contextOf, volumesOf } from './container-config.js';
import { payloadFilesOf } from './payload-files.js';
import type { TaskPorts } from './ports.js';
import { expandTemplate } from './templates.js';

export interface Preparation {
  task: TaskItem;
  revision: RevisionItem;
  containerId: ContainerId;
  signal: AbortSignal;
}

/** Makes the task's container. Rejects with words for the task's status. Made already: that one. */
export async function prepareContainer(ports: TaskPorts, work: Preparation): Promise<ContainerState> {
  const spec = containerSpecOf(work.revision);
  const present = ports.runtime.get(work.containerId);
  if (present) return present;
  refuseMissingBinds(ports, work);
  // One that is gone is told before an image is pulled for it.
  filesOf(ports, work);
  const image = await ensureImage(ports, spec.Image, work);
  const rootLayers = await ports.images.rootLayers(image.id);
  const sources = new Map<string, string>();
  const placed = { ...work, node: ports.node, image };
  for (const volume of volumesOf(placed)) sources.set(volume.name, await ports.volumes.ensure(volume));
  work.signal.throwIfAborted();
  return ports.runtime.create(
    containerConfigOf({
      ...placed,
      createdAtMs: ports.nowMs(),
      rootLayers,
      network: {
        interfaces: ports.network.interfacesFor({
          containerId: work.containerId,
          networks: work.task.networks,
        }),
        nameservers: ports.network.nameservers(),
      },
      volumeSource: (name) => {
        const source = sources.get(name);
        if (source === undefined) throw new Error(`volume ${name} was not made`);
        return source;
      },
    }),
  );
}

/** The task's secrets and configs. They are handed over with its start, and written down nowhere. */
export function filesOf(ports: TaskPorts, work: Pick<Preparation, 'task' | 'revision'>): ContainerFile[] {
  const { task, revision } = work;
  return payloadFilesOf(containerSpecOf(revision), contextOf(task, revision, ports.node), ports.payload);
}

/** The image this node has, else the one other nodes or the registry have. */
async function ensureImage(ports: TaskPorts, reference: string, work: Preparation): Promise<Image> {
  const { signal } = work;
  const local = ports.images.find(reference);
  if (local) return local;
  const peers = await ports.peersFor(reference);
  signal.throwIfAborted();
  return ports.images.pull(reference, { auth: work.revision.registryAuth, peers, signal });
}

/** A service's bind source must be there already, as Docker has it. */
function refuseMissingBinds(ports: TaskPorts, { task, revision }: Preparation): void {
  const context = contextOf(task, revision, ports.node);
  for (const mount of containerSpecOf(revision).Mounts ?? []) {
    if (mount.Type !== 'bind' || mount.BindOptions?.CreateMountpoint) continue;
    const source = expandTemplate(mount.Source ?? '', context);
    if (existsSync(source)) continue;
    throw new EnxameError(
      'invalid-argument',
      `invalid mount config for type "bind": bind source path does not exist: ${source}`,
    );
  }
}
