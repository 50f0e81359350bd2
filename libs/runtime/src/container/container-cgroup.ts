/** A container's cgroups: what its configuration means in files, what it uses, and their end. */
import type { ContainerId } from '#libs/model';
import { readFile } from 'node:fs/promises';
import { killAll, readUsage, removeCgroups } from '../cgroup/cgroup-files.js';
import { planCgroup, type CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { ContainerConfig, ContainerStats } from '../port.js';
import type { ContainerWorld } from './container-world.js';
import { parseNetworkCounters } from './network-counters.js';

export function containerCgroup(world: ContainerWorld, config: ContainerConfig): CgroupPlan {
  const { mems, cpus } = world.cpuset();
  return planCgroup({
    layout: world.node().cgroups,
    parent: world.cgroupParent,
    id: config.id,
    resources: config.resources,
    privileged: config.security.privileged,
    deviceRules: deviceRulesOf(config),
    ...(mems === undefined ? {} : { cpusetMems: mems }),
    ...(cpus === undefined ? {} : { cpusetCpus: cpus }),
  });
}

/** Lines of devices.allow for what the container was given beside the default devices. */
function deviceRulesOf({ devices = [], deviceRules = [] }: ContainerConfig): string[] {
  const letters = { character: 'c', block: 'b', fifo: 'p' } as const;
  return [
    ...devices
      .filter(({ type }) => type !== 'fifo')
      .map(({ type, major, minor, access }) => `${letters[type]} ${major}:${minor} ${access}`),
    ...deviceRules,
  ];
}

export async function removeContainerCgroups(world: ContainerWorld, id: ContainerId): Promise<void> {
  const { node, cgroupParent, clock } = world;
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.setTimeout(resolve, ms));
  try {
    // Normally there is nobody left: the kernel ends a pid namespace with its first process.
    await killAll(node().cgroups, cgroupParent, id);
    await removeCgroups(node().cgroups, cgroupParent, id, sleep);
  } catch (error) {
    world.log(error, `remove the cgroups of container ${id}`);
  }
}

export async function measure(
  world: ContainerWorld,
  config: ContainerConfig,
  pid: number,
): Promise<ContainerStats> {
  const node = world.node();
  const [usage, devices] = await Promise.all([
    readUsage(node.cgroups, world.cgroupParent, config.id),
    readFile(`/proc/${pid}/net/dev`, 'utf8').catch(() => ''),
  ]);
  return {
    atMs: world.clock.nowMs(),
    ...usage,
    memoryLimitBytes: Math.min(usage.memoryLimitBytes ?? node.memoryBytes, node.memoryBytes),
    network: config.network.mode === 'host' ? {} : parseNetworkCounters(devices),
  };
}
