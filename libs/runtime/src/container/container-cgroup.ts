/** A container's cgroups: what its configuration means in files, what it uses, and their end. */
import type { ContainerId } from '#libs/model';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { killAll, readUsage, removeCgroups, removeIdleCgroups } from '../cgroup/cgroup-files.js';
import { planCgroup, type CgroupPlan } from '../cgroup/cgroup-plan.js';
import { readUsageSample } from '../cgroup/usage-sample.js';
import type { ContainerConfig, ContainerRuntime, ContainerStats } from '../port.js';
import type { ContainerWorld } from './container-world.js';
import { notRunning } from './refusals.js';
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
export function deviceRulesOf({ devices = [], deviceRules = [] }: ContainerConfig): string[] {
  const letters = { character: 'c', block: 'b', fifo: 'p' } as const;
  return [
    ...devices
      .filter(({ type }) => type !== 'fifo')
      .map(({ type, major, minor, access }) => `${letters[type]} ${major}:${minor} ${access}`),
    ...deviceRules,
  ];
}

/** What there is of a container in the node's hierarchies. */
export class ContainerCgroups {
  readonly #world: ContainerWorld;
  readonly #id: ContainerId;
  /** Until a removal was complete. */
  #mayBeThere = true;

  constructor(world: ContainerWorld, id: ContainerId) {
    this.#world = world;
    this.#id = id;
  }

  /** A launch makes them. */
  expect(): void {
    this.#mayBeThere = true;
  }

  async remove(): Promise<void> {
    if (!this.#mayBeThere) return;
    const { node, cgroupParent, clock } = this.#world;
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.setTimeout(resolve, ms));
    try {
      // Normally there is nobody left: the kernel ends a pid namespace with its first process.
      if (!(await removeIdleCgroups(node().cgroups, cgroupParent, this.#id))) {
        await killAll(node().cgroups, cgroupParent, this.#id);
        await removeCgroups(node().cgroups, cgroupParent, this.#id, sleep);
      }
      this.#mayBeThere = false;
    } catch (error) {
      this.#world.log(error, `remove the cgroups of container ${this.#id}`);
    }
  }
}

/** Of a container that runs; for any other, `not running`. */
export function takeSample(
  world: ContainerWorld,
  config: ContainerConfig,
  pid: number,
): ReturnType<ContainerRuntime['sample']> {
  if (pid === 0) throw notRunning(config.id);
  return {
    atMs: world.clock.nowMs(),
    ...readUsageSample(world.node().cgroups, world.cgroupParent, config.id),
    network: config.network.mode === 'host' ? {} : parseNetworkCounters(networkDevices(pid)),
  };
}

function networkDevices(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/net/dev`, 'utf8');
  } catch {
    // It has ended since.
    return '';
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
