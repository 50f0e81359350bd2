/** Ends a container's first process: its stop signal, after the grace SIGKILL, and in the end its whole cgroup. */
import { killAll } from '../cgroup/cgroup-files.js';
import type { ContainerConfig, ContainerExit, StopOptions } from '../port.js';
import type { ContainerWorld } from './container-world.js';
import { doesNotEnd } from './refusals.js';

/** How long the kernel may take to end a killed container before its cgroup is killed, and then before giving up. */
export const killMsMax = 10_000;

export async function endProcess(options: {
  world: ContainerWorld;
  config: ContainerConfig;
  request: StopOptions;
  ended: Promise<ContainerExit>;
  signal(name: string): Promise<void>;
  /** A frozen process hears no signal. */
  thaw(): Promise<void>;
}): Promise<ContainerExit> {
  const { world, config, request, ended } = options;
  const graceMs = request.graceMs ?? config.stopGraceMs;
  await options.signal(request.signal || config.stopSignal);
  await options.thaw();
  const first = await within(world, ended, graceMs < 0 ? undefined : graceMs);
  if (first !== undefined) return first;
  await options.signal('SIGKILL');
  const second = await within(world, ended, killMsMax);
  if (second !== undefined) return second;
  await killAll(world.node().cgroups, world.cgroupParent, config.id);
  const third = await within(world, ended, killMsMax);
  if (third !== undefined) return third;
  throw doesNotEnd(config.id, (2 * killMsMax) / 1000);
}

/** Undefined when it takes longer than `ms`. */
export function within<T>(
  { clock }: ContainerWorld,
  promise: Promise<T>,
  ms: number | undefined,
): Promise<T | undefined> {
  if (ms === undefined) return promise;
  return new Promise((resolve, reject) => {
    const cancel = clock.setTimeout(() => resolve(undefined), ms);
    promise.then(resolve, reject).finally(cancel);
  });
}
