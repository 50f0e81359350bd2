/**
 * A container's files without the container: a process of its own with the root file system mounted as for a start,
 * held before its program, and seen through `/proc/PID/root`. All mounts go with the process, whoever is killed.
 */
import { EnxameError } from '#libs/model';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LaunchOperation } from '../launcher/launch-plan.js';
import { createShimClient, type ShimClient } from '../launcher/shim-client.js';
import { planHeldRoot } from '../plan/held-root-plan.js';
import type { ContainerConfig } from '../port.js';
import type { ContainerWorld } from './container-world.js';

/** `whole`: with its volumes and binds. `own`: without. `image`: as the image had it. */
export type RootView = 'whole' | 'own' | 'image';

const sigkill = 9;
let lastNumber = 0;

/** Calls `use` with the folder; a failed mount is `failed-precondition` in the kernel's words. */
export async function withHeldRoot<T>(
  world: ContainerWorld,
  config: ContainerConfig,
  view: RootView,
  use: (root: string) => Promise<T>,
): Promise<T> {
  const paths = world.disk.pathsOf(config.id);
  const name = `root-${++lastNumber}`;
  const folder = join(world.disk.folderOf(config.id), name);
  const shim = { socketPath: `${paths.shimSocket}.${lastNumber}`, exitPath: join(folder, 'exit.json') };
  const scratch = { upperDir: join(folder, 'upper'), workDir: join(folder, 'work') };
  const mountPoint = join(folder, 'root');
  for (const made of [folder, scratch.upperDir, scratch.workDir, mountPoint]) await mkdir(made);
  const client = createShimClient(shim);
  const user = `${config.id}/${name}`;
  try {
    if (view === 'whole') await world.volumeMounts.take(user, config.mounts);
    const operations: LaunchOperation[] = planHeldRoot({
      config,
      view,
      mountPoint,
      own: { upperDir: paths.upperDir, workDir: paths.workDir },
      scratch,
    });
    const launched = await world.launcher.launch({
      id: `${config.id.slice(0, 12)}-files`,
      shim: { ...shim, held: true },
      operations,
    });
    if (!launched.ok) throw new EnxameError('failed-precondition', launched.message);
    return await use(`/proc/${launched.pid}/root`);
  } finally {
    await endHeld(client);
    await world.volumeMounts.leave(user);
    await rm(folder, { recursive: true, force: true });
    await rm(shim.socketPath, { force: true });
  }
}

async function endHeld(client: ShimClient): Promise<void> {
  const status = await client.status();
  if (status.phase !== 'held' && status.phase !== 'running') return;
  await client.signal(sigkill);
  await client.wait();
}

/** Ends what an agent that was killed has left. */
export async function endLeftRoots(world: ContainerWorld, config: ContainerConfig): Promise<void> {
  const folder = world.disk.folderOf(config.id);
  for (const name of await world.disk.namesIn(config.id)) {
    const number = /^root-(\d+)$/.exec(name)?.[1];
    if (number === undefined) continue;
    const socketPath = `${world.disk.pathsOf(config.id).shimSocket}.${number}`;
    await endHeld(createShimClient({ socketPath, exitPath: join(folder, name, 'exit.json') }));
    await rm(join(folder, name), { recursive: true, force: true });
    await rm(socketPath, { force: true });
  }
}
