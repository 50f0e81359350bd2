/** The node's side of cgroups: the folders containers live below, what they use, and their end. */
import { isMissing, errorCode } from '../files/errno.js';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupLayout } from './detect.js';
import { cgroupDirectories } from './cgroup-plan.js';

const removeRetriesMax = 100;
const removeRetryMs = 10;
const wantedV2Controllers = ['cpu', 'cpuset', 'io', 'memory', 'pids'] as const;

export interface CgroupUsage {
  cpuNanoseconds: number;
  cpuUserNanoseconds: number;
  cpuSystemNanoseconds: number;
  memoryBytes: number;
  /** Absent: no limit. */
  memoryLimitBytes?: number;
  memoryInactiveFileBytes: number;
  pids: number;
  /** Absent: no limit. */
  pidsLimit?: number;
  detail: UsageDetail;
}

/** What only some clients look at, as the kernel has it. */
export interface UsageDetail {
  memory: Record<string, number>;
  memoryPeakBytes?: number;
  memoryFailures?: number;
  cpuPerProcessor?: number[];
  throttling: { periods: number; throttledPeriods: number; throttledNanoseconds: number };
}

/**
 * Makes the node's parent cgroup. v1's cpuset needs cpus and mems at every level; v2 hands controllers down level by
 * level. Returns what v1's plans give a new cpuset.
 */
export async function prepareParent(
  layout: CgroupLayout,
  parent: string,
): Promise<{ cpusetMems?: string; cpusetCpus?: string }> {
  const parts = parent.split('/').filter((part) => part !== '');
  if (layout.version === 2) {
    let directory = layout.root;
    for (const part of [...parts, undefined]) {
      await handDown(directory);
      if (part === undefined) break;
      directory = join(directory, part);
      await mkdir(directory, { recursive: true });
    }
    return {};
  }
  for (const mount of new Set(Object.values(layout.mounts))) {
    await mkdir(join(mount, parent), { recursive: true });
  }
  const cpuset = layout.mounts.cpuset;
  if (cpuset === undefined) return {};
  let directory = cpuset;
  let mems = (await readFile(join(directory, 'cpuset.mems'), 'utf8')).trim();
  for (const part of parts) {
    const inner = join(directory, part);
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const has = (await readFile(join(inner, file), 'utf8')).trim();
      if (has === '') await writeFile(join(inner, file), await readFile(join(directory, file), 'utf8'));
    }
    directory = inner;
    mems = (await readFile(join(directory, 'cpuset.mems'), 'utf8')).trim();
  }
  return { cpusetMems: mems, cpusetCpus: (await readFile(join(directory, 'cpuset.cpus'), 'utf8')).trim() };
}

async function handDown(directory: string): Promise<void> {
  const offered = (await readFile(join(directory, 'cgroup.controllers'), 'utf8')).trim().split(/\s+/);
  for (const controller of wantedV2Controllers) {
    if (offered.includes(controller)) {
      await writeFile(join(directory, 'cgroup.subtree_control'), `+${controller}`);
    }
  }
}

export async function readUsage(layout: CgroupLayout, parent: string, id: string): Promise<CgroupUsage> {
  return layout.version === 1
    ? readUsageV1(layout.mounts, `${parent}/${id}`)
    : readUsageV2(join(layout.root, parent, id));
}

/** No memory limit reads as the largest page-aligned number. */
const unlimitedFrom = 2 ** 62;

async function readUsageV1(
  mounts: Extract<CgroupLayout, { version: 1 }>['mounts'],
  path: string,
): Promise<CgroupUsage> {
  const file = (mount: string | undefined, name: string): Promise<string> =>
    mount === undefined ? Promise.resolve('') : readOrEmpty(join(mount, path, name));
  const [total, user, system, memory, limit, stat, pids, pidsMax, peak, failures, each, cpu] =
    await Promise.all([
      file(mounts.cpuacct, 'cpuacct.usage'),
      file(mounts.cpuacct, 'cpuacct.usage_user'),
      file(mounts.cpuacct, 'cpuacct.usage_sys'),
      file(mounts.memory, 'memory.usage_in_bytes'),
      file(mounts.memory, 'memory.limit_in_bytes'),
      file(mounts.memory, 'memory.stat'),
      file(mounts.pids, 'pids.current'),
      file(mounts.pids, 'pids.max'),
      file(mounts.memory, 'memory.max_usage_in_bytes'),
      file(mounts.memory, 'memory.failcnt'),
      file(mounts.cpuacct, 'cpuacct.usage_percpu'),
      file(mounts.cpu, 'cpu.stat'),
    ]);
  const limitBytes = Number(limit);
  return {
    cpuNanoseconds: Number(total),
    cpuUserNanoseconds: Number(user),
    cpuSystemNanoseconds: Number(system),
    memoryBytes: Number(memory),
    ...(limitBytes > 0 && limitBytes < unlimitedFrom ? { memoryLimitBytes: limitBytes } : {}),
    memoryInactiveFileBytes: keyedNumber(stat, 'total_inactive_file'),
    pids: Number(pids),
    ...pidsLimitOf(pidsMax),
    detail: {
      memory: keyedNumbers(stat),
      memoryPeakBytes: Number(peak),
      memoryFailures: Number(failures),
      cpuPerProcessor: each.trim().split(/\s+/).map(Number),
      throttling: {
        periods: keyedNumber(cpu, 'nr_periods'),
        throttledPeriods: keyedNumber(cpu, 'nr_throttled'),
        throttledNanoseconds: keyedNumber(cpu, 'throttled_time'),
      },
    },
  };
}

async function readUsageV2(directory: string): Promise<CgroupUsage> {
  const file = (name: string): Promise<string> => readOrEmpty(join(directory, name));
  const [cpu, memory, limit, stat, pids, pidsMax] = await Promise.all([
    file('cpu.stat'),
    file('memory.current'),
    file('memory.max'),
    file('memory.stat'),
    file('pids.current'),
    file('pids.max'),
  ]);
  const limitBytes = Number(limit.trim() === 'max' ? 0 : limit);
  return {
    cpuNanoseconds: keyedNumber(cpu, 'usage_usec') * 1_000,
    cpuUserNanoseconds: keyedNumber(cpu, 'user_usec') * 1_000,
    cpuSystemNanoseconds: keyedNumber(cpu, 'system_usec') * 1_000,
    memoryBytes: Number(memory),
    ...(limitBytes > 0 ? { memoryLimitBytes: limitBytes } : {}),
    memoryInactiveFileBytes: keyedNumber(stat, 'inactive_file'),
    pids: Number(pids),
    ...pidsLimitOf(pidsMax),
    detail: {
      memory: keyedNumbers(stat),
      throttling: {
        periods: keyedNumber(cpu, 'nr_periods'),
        throttledPeriods: keyedNumber(cpu, 'nr_throttled'),
        throttledNanoseconds: keyedNumber(cpu, 'throttled_usec') * 1_000,
      },
    },
  };
}

/** Every process of the container, its nested cgroups included. */
export async function readPids(layout: CgroupLayout, parent: string, id: string): Promise<number[]> {
  const [directory] = memberDirectories(layout, parent, id);
  if (directory === undefined) return [];
  const found = new Set<number>();
  for (const path of await treeOf(directory)) {
    for (const line of (await readOrEmpty(join(path, 'cgroup.procs'))).split('\n')) {
      if (line !== '' && line !== '0') found.add(Number(line));
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** SIGKILL to everything in the container's cgroups. Safe to repeat. */
export async function killAll(layout: CgroupLayout, parent: string, id: string): Promise<void> {
  if (layout.version === 2) {
    try {
      await writeFile(join(layout.root, parent, id, 'cgroup.kill'), '1');
      return;
    } catch (error) {
      // Before Linux 5.14 there is no such file; without the cgroup there is nothing to kill.
      if (!isMissing(error)) throw error;
    }
  }
  for (const pid of await readPids(layout, parent, id)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (errorCode(error) !== 'ESRCH') throw error;
    }
  }
}

/** Removes the cgroups of a container that has ended as nearly all do: nobody left in them, nothing made below. */
export async function removeIdleCgroups(layout: CgroupLayout, parent: string, id: string): Promise<boolean> {
  const gone = await Promise.all(
    cgroupDirectories(layout, parent, id).map(async (directory) => {
      try {
        await rmdir(directory);
        return true;
      } catch (error) {
        return isMissing(error);
      }
    }),
  );
  return gone.every((isGone) => isGone);
}

/** Removes the container's cgroups, deepest first. The kernel says EBUSY until the last process is reaped. */
export async function removeCgroups(
  layout: CgroupLayout,
  parent: string,
  id: string,
  wait: (delayMs: number) => Promise<void>,
): Promise<void> {
  for (const directory of cgroupDirectories(layout, parent, id)) {
    for (const path of (await treeOf(directory)).reverse()) await removeOne(path, wait);
  }
}

async function removeOne(path: string, wait: (delayMs: number) => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rmdir(path);
      return;
    } catch (error) {
      if (isMissing(error)) return;
      if (errorCode(error) !== 'EBUSY' || attempt === removeRetriesMax) throw error;
    }
    await wait(removeRetryMs);
  }
}

/** v1: a hierarchy that every container joins, pids before the others. */
function memberDirectories(layout: CgroupLayout, parent: string, id: string): string[] {
  if (layout.version === 2) return [join(layout.root, parent, id)];
  const { pids, memory, cpuacct, cpu } = layout.mounts;
  return [pids, memory, cpuacct, cpu].flatMap((mount) =>
    mount === undefined ? [] : join(mount, parent, id),
  );
}

/** The folder and all below it, outer ones first. Empty when it is not there. */
async function treeOf(directory: string): Promise<string[]> {
  let entries;
  try {
    entries = await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  const inner = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => treeOf(join(directory, entry.name)));
  return [directory, ...(await Promise.all(inner)).flat()];
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ENODEV') return '';
    throw error;
  }
}

function pidsLimitOf(text: string): { pidsLimit?: number } {
  const limit = Number(text);
  return text.trim() !== '' && Number.isFinite(limit) ? { pidsLimit: limit } : {};
}

function keyedNumbers(text: string): Record<string, number> {
  return Object.fromEntries(
    [...text.matchAll(/^(\S+) (\d+)$/gm)].map(([, key = '', value]) => [key, Number(value)]),
  );
}

function keyedNumber(text: string, key: string): number {
  const match = new RegExp(`^${key} (\\d+)$`, 'm').exec(text);
  return match === null ? 0 : Number(match[1]);
}
