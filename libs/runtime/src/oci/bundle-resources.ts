/** `linux.resources` and `linux.cgroupsPath` of a bundle, in the words of our own cgroup plans. */
import { basename, dirname, normalize } from 'node:path';
import { planCgroup, type CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { CgroupLayout } from '../cgroup/detect.js';
import type { ContainerResources, DeviceRate } from '../port.js';
import type { Field } from './field.js';

export interface CgroupPlace {
  parent: string;
  name: string;
}

/** Absent: one of its own, so that nothing is left of it. */
export function readCgroupsPath(linux: Field, id: string): CgroupPlace {
  const field = linux.at('cgroupsPath');
  const text = field.text('');
  if (text === '') return { parent: '', name: `enxame-runtime-${id}` };
  if (/^[^/]*:[^/]*:[^/]*$/.test(text))
    throw field.invalid('this is a place of systemd, which is not asked here');
  const path = normalize(`/${text}`).replace(/\/+$/, '');
  if (path === '' || text.split('/').includes('..'))
    throw field.invalid('must lie below the root of the cgroups');
  const parent = dirname(path);
  return { parent: parent === '/' ? '' : parent, name: basename(path) };
}

export function planBundleCgroup(options: {
  linux: Field;
  id: string;
  layout: CgroupLayout;
  cpuset: { mems?: string; cpus?: string };
}): CgroupPlan {
  const { linux, id, layout, cpuset } = options;
  const { parent, name } = readCgroupsPath(linux, id);
  const resources = linux.at('resources');
  const devices = readDeviceRules(resources.at('devices'));
  const plan = planCgroup({
    layout,
    parent,
    id: name,
    resources: readResources(resources),
    privileged: devices === 'all',
    deviceRules: devices === 'all' ? [] : devices,
    ...(cpuset.mems === undefined ? {} : { cpusetMems: cpuset.mems }),
    ...(cpuset.cpus === undefined ? {} : { cpusetCpus: cpuset.cpus }),
  });
  return { ...plan, writes: [...plan.writes, ...unifiedWrites(resources.at('unified'), layout, plan)] };
}

export function readResources(resources: Field): ContainerResources {
  const [memory, cpu, block] = [resources.at('memory'), resources.at('cpu'), resources.at('blockIO')];
  for (const name of ['hugepageLimits', 'rdma']) resources.at(name).refuseIfAny(isEmpty);
  resources.at('network').refuseIfAny(isEmpty);
  for (const name of ['burst', 'idle']) cpu.at(name).refuseIfAny((value) => value === 0);
  block.at('leafWeight').refuseIfAny((value) => value === 0);
  const limit = positive(memory.at('limit'));
  const swap = memory.at('swap').numberIfAny();
  const found = {
    memoryBytes: limit,
    // What nobody limits is not limited: our own default is for those who say nothing but a limit.
    memorySwapBytes: limit === undefined ? undefined : swap === undefined || swap === 0 ? -1 : swap,
    memoryReservationBytes: positive(memory.at('reservation')),
    memorySwappiness: memory.at('swappiness').numberIfAny(),
    oomKillDisable: memory.at('disableOOMKiller').truth() || undefined,
    cpuShares: positive(cpu.at('shares')),
    cpuPeriodUs: positive(cpu.at('period')),
    cpuQuotaUs: cpu.at('quota').numberIfAny(),
    cpuRealtimePeriodUs: positive(cpu.at('realtimePeriod')),
    cpuRealtimeRuntimeUs: positive(cpu.at('realtimeRuntime')),
    cpusetCpus: cpu.at('cpus').text('') || undefined,
    cpusetMems: cpu.at('mems').text('') || undefined,
    pids: positive(resources.at('pids').at('limit')),
    blkioWeight: positive(block.at('weight')),
    blkioWeightDevice: rates(block.at('weightDevice'), 'weight'),
    blkioReadBps: rates(block.at('throttleReadBpsDevice'), 'rate'),
    blkioWriteBps: rates(block.at('throttleWriteBpsDevice'), 'rate'),
    blkioReadIops: rates(block.at('throttleReadIOPSDevice'), 'rate'),
    blkioWriteIops: rates(block.at('throttleWriteIOPSDevice'), 'rate'),
  };
  return Object.fromEntries(
    Object.entries(found).filter(([, value]) => value !== undefined),
  ) as ContainerResources;
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

function positive(field: Field): number | undefined {
  const value = field.numberIfAny();
  return value === undefined || value <= 0 ? undefined : value;
}

function rates(list: Field, name: string): DeviceRate[] | undefined {
  const found = list.list().map((entry) => ({
    major: entry.at('major').number(),
    minor: entry.at('minor').number(),
    rate: entry.at(name).number(),
  }));
  return found.length === 0 ? undefined : found;
}

/**
 * What the list leaves allowed after its last line: all devices, or lines of `devices.allow`. A list that says nothing
 * of all devices begins with all of them allowed, as a new cgroup does.
 */
export function readDeviceRules(devices: Field): string[] | 'all' {
  let allowed: Set<string> | 'all' = 'all';
  for (const rule of devices.list()) {
    const allow = rule.at('allow').truth();
    const type = rule.at('type').oneOf(['a', 'b', 'c', 'u'], 'a');
    const [major, minor] = [numberOrAny(rule.at('major')), numberOrAny(rule.at('minor'))];
    const access = rule.at('access').text('') || 'rwm';
    if (!/^[rwm]{1,3}$/.test(access)) throw rule.at('access').invalid('must be of r, w and m');
    if (type === 'a' && major === '*' && minor === '*') {
      allowed = allow ? 'all' : new Set();
      continue;
    }
    const kinds = type === 'a' ? ['b', 'c'] : [type === 'u' ? 'c' : type];
    const lines = kinds.map((kind) => `${kind} ${major}:${minor} ${access}`);
    if (allowed === 'all') {
      if (!allow) throw rule.invalid('one device cannot be denied while all others are allowed');
      continue;
    }
    for (const line of lines) {
      if (allow) allowed.add(line);
      else allowed.delete(line);
    }
  }
  return allowed === 'all' ? 'all' : [...allowed];
}

function numberOrAny(field: Field): string {
  const value = field.numberIfAny();
  return value === undefined || value < 0 ? '*' : String(value);
}

function unifiedWrites(unified: Field, layout: CgroupLayout, plan: CgroupPlan): CgroupPlan['writes'] {
  return unified.entries().map(([file, value]) => {
    if (layout.version !== 2) throw unified.invalid('this node has no cgroup version 2');
    if (!/^[a-z0-9_.]+$/i.test(file)) throw value.invalid('must be the name of a file in the cgroup');
    return { path: `${plan.directories[0]}/${file}`, value: value.text(), optional: false };
  });
}
