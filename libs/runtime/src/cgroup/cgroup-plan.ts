/** What a container's limits mean in files: pure, one plan for v1 and one for v2. */
import { EnxameError } from '#libs/model';
import type { ContainerResources } from '../port.js';
import { allowedDevices } from '../sandbox/default-sandbox.js';
import { compileDeviceRules } from './device-program.js';
import { v1Controllers, type CgroupLayout, type V1Controller } from './detect.js';

export interface CgroupWriteStep {
  path: string;
  value: string;
  /** A kernel without this file is no error. */
  optional: boolean;
}

export interface CgroupPlan {
  /** Made in order, `mkdir -p`. */
  directories: string[];
  writes: CgroupWriteStep[];
  joins: { path: string; version: 1 | 2 }[];
  /** v2: what v1 has as writes to `devices.deny` and `devices.allow`. */
  devicePrograms: { path: string; program: Buffer }[];
  /** File with an `oom_kill N` line; absent where memory is not controlled. */
  oomFile?: string;
  /** Mounted below /sys/fs/cgroup inside: hierarchies that the container has joined. */
  mounts: { target: string; type: 'cgroup' | 'cgroup2'; option?: string }[];
}

export interface CgroupRequest {
  layout: CgroupLayout;
  /** `/enxame/<cluster>/<node>` */
  parent: string;
  id: string;
  resources: ContainerResources;
  /** May use every device of the node. */
  privileged: boolean;
  /** More lines of `devices.allow`: `c 10:200 rwm`. */
  deviceRules?: readonly string[];
  /** v1: what the parent has, which a new cpuset does not inherit. */
  cpusetMems?: string;
  cpusetCpus?: string;
}

const periodUsDefault = 100_000;
/** The kernel takes quotas from 1 ms and periods up to 1 s. */
const quotaUsMin = 1_000;
const periodUsMax = 1_000_000;
const cpuSharesMin = 2;
const cpuSharesMax = 262_144;

/** Where the container's processes are, per hierarchy, in no particular order. */
export function cgroupDirectories(layout: CgroupLayout, parent: string, id: string): string[] {
  if (layout.version === 2) return [`${layout.root}${parent}/${id}`];
  const mounts = v1Controllers.flatMap((controller) => layout.mounts[controller] ?? []);
  return [...new Set(mounts)].map((mount) => `${mount}${parent}/${id}`);
}

export function planCgroup(request: CgroupRequest): CgroupPlan {
  checkResources(request.resources);
  return request.layout.version === 1
    ? planV1(request, request.layout.mounts)
    : planV2(request, request.layout.root);
}

function planV1(request: CgroupRequest, mounts: Readonly<Partial<Record<V1Controller, string>>>): CgroupPlan {
  const { resources, parent, id } = request;
  const directoryOf = (controller: V1Controller): string | undefined => {
    const mount = mounts[controller];
    return mount === undefined ? undefined : `${mount}${parent}/${id}`;
  };
  const writes: CgroupWriteStep[] = [];
  const write = (
    controller: V1Controller,
    limit: string,
    file: string,
    value: string,
    optional = false,
  ): void => {
    const directory = directoryOf(controller);
    if (directory === undefined) throw missing(controller, limit);
    writes.push({ path: `${directory}/${file}`, value, optional });
  };
  const limitsBlockDevices = hasBlockLimits(resources);
  // A cpuset without cpus and mems takes no process, and every join costs time: these two only when asked for.
  const joined = v1Controllers.filter(
    (controller) =>
      mounts[controller] !== undefined &&
      (controller !== 'cpuset' || resources.cpusetCpus || resources.cpusetMems) &&
      (controller !== 'blkio' || limitsBlockDevices),
  );
  const { cpus, mems } = cpusetOf(request);
  if (cpus !== undefined || mems !== undefined) {
    write('cpuset', 'CpusetCpus', 'cpuset.cpus', cpus ?? request.cpusetCpus ?? '0');
    write('cpuset', 'CpusetMems', 'cpuset.mems', mems ?? request.cpusetMems ?? '0');
  }
  if (resources.cpuShares) {
    write('cpu', 'CpuShares', 'cpu.shares', String(clampShares(resources.cpuShares)));
  }
  const quota = quotaOf(resources);
  if (quota?.periodUs) write('cpu', 'CpuPeriod', 'cpu.cfs_period_us', String(quota.periodUs));
  if (quota?.quotaUs) write('cpu', 'CpuQuota', 'cpu.cfs_quota_us', String(quota.quotaUs));
  if (resources.cpuRealtimePeriodUs)
    write('cpu', 'CpuRealtimePeriod', 'cpu.rt_period_us', String(resources.cpuRealtimePeriodUs));
  if (resources.cpuRealtimeRuntimeUs)
    write('cpu', 'CpuRealtimeRuntime', 'cpu.rt_runtime_us', String(resources.cpuRealtimeRuntimeUs));
  if (resources.memoryBytes) {
    write('memory', 'Memory', 'memory.limit_in_bytes', String(resources.memoryBytes));
    // Needs swap accounting in the kernel; without it there is nothing to limit.
    write('memory', 'Memory', 'memory.memsw.limit_in_bytes', String(memoryAndSwap(resources)), true);
  }
  if (resources.memoryReservationBytes) {
    const bytes = String(resources.memoryReservationBytes);
    write('memory', 'MemoryReservation', 'memory.soft_limit_in_bytes', bytes);
  }
  if (resources.memorySwappiness !== undefined) {
    write('memory', 'MemorySwappiness', 'memory.swappiness', String(resources.memorySwappiness));
  }
  if (resources.oomKillDisable) write('memory', 'OomKillDisable', 'memory.oom_control', '1');
  if (resources.pids) write('pids', 'PidsLimit', 'pids.max', String(resources.pids));
  if (resources.blkioWeight) {
    write('blkio', 'BlkioWeight', 'blkio.weight', String(resources.blkioWeight), true);
  }
  for (const { major, minor, rate } of resources.blkioWeightDevice ?? [])
    write('blkio', 'BlkioWeightDevice', 'blkio.weight_device', `${major}:${minor} ${rate}`, true);
  for (const [name, , file] of blockRates) {
    for (const { major, minor, rate } of resources[name] ?? [])
      write('blkio', name, `blkio.throttle.${file}`, `${major}:${minor} ${rate}`);
  }
  if (mounts.devices !== undefined && !request.privileged) {
    write('devices', 'Devices', 'devices.deny', 'a');
    for (const line of [...allowedDevices, ...(request.deviceRules ?? [])])
      write('devices', 'Devices', 'devices.allow', line);
  }
  const directories = [...new Set(joined.flatMap((controller) => directoryOf(controller) ?? []))];
  const memory = directoryOf('memory');
  return {
    directories,
    writes,
    joins: directories.map((path) => ({ path, version: 1 })),
    devicePrograms: [],
    ...(memory === undefined ? {} : { oomFile: `${memory}/memory.oom_control` }),
    mounts: joined
      .filter((controller) => isFirstOfItsMount(controller, mounts))
      .map((controller) => ({ target: `/sys/fs/cgroup/${controller}`, type: 'cgroup', option: controller })),
  };
}

function isFirstOfItsMount(
  controller: V1Controller,
  mounts: Readonly<Partial<Record<V1Controller, string>>>,
): boolean {
  return v1Controllers.find((other) => mounts[other] === mounts[controller]) === controller;
}

function planV2(request: CgroupRequest, root: string): CgroupPlan {
  const { resources, parent, id } = request;
  const directory = `${root}${parent}/${id}`;
  const writes: CgroupWriteStep[] = [];
  const write = (file: string, value: string, optional = false): void => {
    writes.push({ path: `${directory}/${file}`, value, optional });
  };
  const { cpus, mems } = cpusetOf(request);
  if (cpus !== undefined) write('cpuset.cpus', cpus);
  if (mems !== undefined) write('cpuset.mems', mems);
  if (resources.cpuShares) write('cpu.weight', String(cpuWeight(resources.cpuShares)));
  const quota = quotaOf(resources);
  if (quota !== undefined) {
    const { quotaUs, periodUs } = quota;
    write('cpu.max', `${quotaUs && quotaUs > 0 ? quotaUs : 'max'} ${periodUs || periodUsDefault}`);
  }
  if (resources.memoryBytes) {
    write('memory.max', String(resources.memoryBytes));
    const both = memoryAndSwap(resources);
    write('memory.swap.max', both < 0 ? 'max' : String(both - resources.memoryBytes), true);
  }
  if (resources.memoryReservationBytes) write('memory.low', String(resources.memoryReservationBytes));
  if (resources.pids) write('pids.max', String(resources.pids));
  if (resources.blkioWeight) write('io.weight', String(ioWeight(resources.blkioWeight)), true);
  for (const [name, key] of blockRates) {
    for (const { major, minor, rate } of resources[name] ?? [])
      write('io.max', `${major}:${minor} ${key}=${rate}`);
  }
  return {
    directories: [directory],
    writes,
    joins: [{ path: directory, version: 2 }],
    devicePrograms: request.privileged
      ? []
      : [
          {
            path: directory,
            program: compileDeviceRules([...allowedDevices, ...(request.deviceRules ?? [])]),
          },
        ],
    oomFile: `${directory}/memory.events`,
    mounts: [{ target: '/sys/fs/cgroup', type: 'cgroup2' }],
  };
}

/** Field, key of v2's io.max, file of v1. */
const blockRates = [
  ['blkioReadBps', 'rbps', 'read_bps_device'],
  ['blkioWriteBps', 'wbps', 'write_bps_device'],
  ['blkioReadIops', 'riops', 'read_iops_device'],
  ['blkioWriteIops', 'wiops', 'write_iops_device'],
] as const;

function hasBlockLimits(resources: ContainerResources): boolean {
  const { blkioWeight, blkioWeightDevice } = resources;
  const rates = [blkioWeightDevice, ...blockRates.map(([name]) => resources[name])];
  return blkioWeight !== undefined || rates.some((list) => list !== undefined && list.length > 0);
}

function cpusetOf({ resources }: CgroupRequest): { cpus?: string; mems?: string } {
  return {
    ...(resources.cpusetCpus ? { cpus: resources.cpusetCpus } : {}),
    ...(resources.cpusetMems ? { mems: resources.cpusetMems } : {}),
  };
}

function quotaOf(resources: ContainerResources): { periodUs?: number; quotaUs?: number } | undefined {
  const { nanoCpus, cpuPeriodUs, cpuQuotaUs } = resources;
  if (nanoCpus) return cpuQuota(nanoCpus);
  if (!cpuPeriodUs && !cpuQuotaUs) return undefined;
  return {
    ...(cpuPeriodUs ? { periodUs: cpuPeriodUs } : {}),
    ...(cpuQuotaUs ? { quotaUs: cpuQuotaUs } : {}),
  };
}

/** v1's 10 to 1000 on v2's 1 to 10000. */
function ioWeight(weight: number): number {
  return 1 + Math.floor(((weight - 10) * 9_999) / 990);
}

export function cpuQuota(nanoCpus: number): { periodUs: number; quotaUs: number } {
  const share = nanoCpus / 1e9;
  const quotaUs = Math.round(share * periodUsDefault);
  if (quotaUs >= quotaUsMin) return { periodUs: periodUsDefault, quotaUs };
  return { periodUs: periodUsMax, quotaUs: Math.max(quotaUsMin, Math.round(share * periodUsMax)) };
}

/** The usual mapping from v1's shares (2 to 262144) to v2's weight (1 to 10000). */
export function cpuWeight(shares: number): number {
  return 1 + Math.floor(((clampShares(shares) - cpuSharesMin) * 9_999) / (cpuSharesMax - cpuSharesMin));
}

function clampShares(shares: number): number {
  return Math.min(cpuSharesMax, Math.max(cpuSharesMin, shares));
}

/** Docker's rule: as much swap as memory unless something else is said; -1 is without limit. */
function memoryAndSwap(resources: ContainerResources): number {
  const { memoryBytes = 0, memorySwapBytes = 0 } = resources;
  if (memorySwapBytes < 0) return -1;
  return memorySwapBytes === 0 ? memoryBytes * 2 : memorySwapBytes;
}

function checkResources(resources: ContainerResources): void {
  const { memoryBytes, memorySwapBytes, cpusetCpus } = resources;
  if (memoryBytes && memorySwapBytes && memorySwapBytes > 0 && memorySwapBytes < memoryBytes) {
    throw new EnxameError('invalid-argument', 'MemorySwap must not be under Memory: it counts both');
  }
  if (cpusetCpus && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(cpusetCpus)) {
    throw new EnxameError('invalid-argument', `CpusetCpus "${cpusetCpus}" must be a list such as 0-2,4`);
  }
}

function missing(controller: string, limit: string): EnxameError {
  return new EnxameError(
    'failed-precondition',
    `${limit} cannot be kept: this node has no cgroup controller ${controller}`,
  );
}
