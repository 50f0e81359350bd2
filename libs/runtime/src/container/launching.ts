/** Brings a container's plan to the launcher, and finds out what became of it when an agent or the launcher died. */
import { describeError, isEnxameError, type ContainerId } from '#libs/model';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { LaunchFailure } from '../launcher/outcome.js';
import type { ShimClient, ShimStatus } from '../launcher/shim-client.js';
import { planLaunch, type ContainerPaths } from '../plan/container-plan.js';
import type { SharedPlaces } from '../plan/mounts.js';
import type { ContainerConfig, ContainerExit, RunOptions } from '../port.js';
import type { AttachQueue } from './attach-queue.js';
import type { ContainerWorld } from './container-world.js';
import { withRuntime } from './foreign-launch.js';
import { findUser, prepareMounts, writeNameFiles } from './launch-inputs.js';
import { nodeDevices } from './node-devices.js';

/** How long a plan may still be with the launcher after its agent died. */
const launchSettleMs = 2_000;
const launchSettleStepMs = 20;
const failedBeforeExec = 128;
const lostExitCode = 137;

export type Launched = { ok: true; pid: number; startedAtMs: number } | LaunchFailure;

/** Throws `unavailable` when the launcher died and nothing runs. */
export async function launchContainer(options: {
  world: ContainerWorld;
  config: ContainerConfig;
  paths: ContainerPaths;
  shim: ShimClient;
  attaches: AttachQueue;
  /** The disk knows that there is to be a launch. */
  recorded: Promise<void>;
  run: RunOptions;
  cgroup(): CgroupPlan;
}): Promise<Launched> {
  const { world, config, paths, shim, attaches, recorded, run } = options;
  recorded.catch(() => undefined);
  let plan;
  try {
    const user = findUser(config, paths, config.user, config.groups);
    const { network } = config.namespaces ?? {};
    plan = planLaunch({
      config,
      // Whoever shares a network shares its names.
      paths:
        network === undefined
          ? paths
          : { ...paths, nameFiles: world.disk.pathsOf(network.container).nameFiles },
      user,
      cgroup: options.cgroup(),
      node: world.node().facts,
      thermalPaths: world.node().thermalPaths,
      pidOf: (id) => runningPid(world, id),
      shared: await sharedPlaces(world, config),
      files: run.files ?? [],
    });
    plan = await withRuntime(world, config, paths, plan);
    await writeNameFiles(config, paths);
    await prepareMounts(config);
    await world.volumeMounts.take(config.id, config.mounts);
  } catch (error) {
    // A disk that took no record is the reason for whatever else failed.
    await recorded;
    if (!isEnxameError(error)) throw error;
    return { ok: false, step: 'plan', errno: 0, message: describeError(error), exitCode: failedBeforeExec };
  }
  await recorded;
  const held = attaches.isWanted || run.until !== undefined;
  try {
    const outcome = await world.launcher.launch({ ...plan, shim: { ...plan.shim, held } });
    if (!outcome.ok || !held) return outcome;
  } catch (error) {
    if (!isEnxameError(error)) throw error;
    if (error.code === 'invalid-argument')
      return { ok: false, step: 'plan', errno: 0, message: error.message, exitCode: failedBeforeExec };
    if (error.code !== 'unavailable') throw error;
    const status = await settledStatus(world, shim, true);
    if (status.phase === 'running') return { ok: true, pid: status.pid, startedAtMs: status.startedAtMs };
    if (status.phase !== 'held') throw error;
  }
  await run.until;
  await attaches.open(shim);
  return shim.start();
}

function runningPid(world: ContainerWorld, id: ContainerId): number | undefined {
  const peer = world.peer(id);
  return peer?.phase === 'running' ? peer.pid : undefined;
}

/** What a shared IPC namespace and `--privileged` bring from outside. */
async function sharedPlaces(world: ContainerWorld, config: ContainerConfig): Promise<SharedPlaces> {
  const { ipc } = config.namespaces ?? {};
  const devices = config.security.privileged ? { devices: await nodeDevices() } : {};
  if (ipc === 'host') return { ...devices, shm: {} };
  const pid = typeof ipc === 'object' ? runningPid(world, ipc.container) : undefined;
  return pid === undefined ? devices : { ...devices, shm: { mountNamespace: `/proc/${pid}/ns/mnt` } };
}

/** What became of a container while no agent looked; one that was held before its program is started. */
export async function adoptedStatus(
  world: ContainerWorld,
  shim: ShimClient,
  launching: boolean,
): Promise<Exclude<ShimStatus, { phase: 'held' }>> {
  const status = await settledStatus(world, shim, launching).catch((error: unknown) =>
    unreadableExit(error, world),
  );
  if (status.phase !== 'held') return status;
  const started = await shim.start();
  return started.ok
    ? { ...status, phase: 'running', startedAtMs: started.startedAtMs }
    : { phase: 'exited', exit: exitOfFailure(world, started) };
}

/** A launch that failed, as the end of a run. */
export function exitOfFailure(world: ContainerWorld, failure: LaunchFailure): ContainerExit {
  return {
    exitCode: failure.exitCode,
    oomKilled: false,
    finishedAtMs: world.clock.nowMs(),
    error: failure.message,
  };
}

/** A plan that its agent sent just before it died may be executed only now. */
async function settledStatus(
  world: ContainerWorld,
  shim: ShimClient,
  launching: boolean,
): Promise<ShimStatus> {
  const { clock } = world;
  const until = clock.nowMs() + launchSettleMs;
  for (;;) {
    const status = await shim.status();
    if (status.phase !== 'gone' || !launching || clock.nowMs() >= until) return status;
    await new Promise<void>((resolve) => clock.setTimeout(resolve, launchSettleStepMs));
  }
}

/** An exit record that cannot be read: that it ended is certain, and why nobody knows is what there is to say. */
export function unreadableExit(
  error: unknown,
  world: ContainerWorld,
): { phase: 'exited'; exit: ContainerExit } {
  if (!isEnxameError(error) || error.code !== 'data-damaged') throw error;
  const exit = {
    exitCode: lostExitCode,
    oomKilled: false,
    finishedAtMs: world.clock.nowMs(),
    error: describeError(error),
  };
  return { phase: 'exited', exit };
}
