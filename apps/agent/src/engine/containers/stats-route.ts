/** `GET /containers/:id/stats`: one sample a second, or one. */
import { queryFlag, zeroTime, type Route } from '#libs/docker-api';
import { isEnxameError, type ContainerId } from '#libs/model';
import type { ContainerRuntime, ContainerState, ContainerStats } from '#libs/runtime';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';

const intervalMs = 1_000;

interface Sample {
  stats: ContainerStats;
  /** All processors of the node since it started, in nanoseconds. */
  systemNanoseconds: number;
}

export function statsRoute({ runtime }: ContainerRouteDependencies): Route {
  return {
    method: 'GET',
    path: '/containers/:id/stats',
    async handler(request, response) {
      const { query, signal } = request;
      const { config } = existingContainer(runtime, request.params['id']);
      const streams = queryFlag(query, 'stream', true);
      const oneShot = !streams && queryFlag(query, 'one-shot');
      let before = oneShot ? undefined : await sample(runtime, config.id);
      const output = response.stream(200, { 'Content-Type': 'application/json' });
      for (let isFirst = true; !signal.aborted; isFirst = false) {
        // The first line of a stream comes at once: it has nothing to be compared with.
        if (!oneShot && !(streams && isFirst)) await pause(signal);
        const state = runtime.get(config.id);
        if (state === undefined || signal.aborted) break;
        const now = await sample(runtime, config.id);
        output.write(
          `${JSON.stringify(presentStats(state, now, isFirst && streams ? undefined : before))}\n`,
        );
        before = now;
        if (!streams) break;
      }
      output.end();
    },
  };
}

async function pause(signal: AbortSignal): Promise<void> {
  try {
    await delay(intervalMs, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Undefined for a container that does not run. */
async function sample(runtime: ContainerRuntime, id: ContainerId): Promise<Sample | undefined> {
  try {
    const [stats, machine] = await Promise.all([runtime.stats(id), readFile('/proc/stat', 'utf8')]);
    return { stats, systemNanoseconds: parseSystemNanoseconds(machine) };
  } catch (error) {
    if (isEnxameError(error) && (error.code === 'conflict' || error.code === 'not-found')) return undefined;
    throw error;
  }
}

const ticksPerSecond = 100;
/** user, nice, system, idle, iowait, irq, softirq, steal: guest time is part of user already. */
const countedColumns = 8;

export function parseSystemNanoseconds(procStat: string): number {
  const [line = ''] = procStat.split('\n');
  const ticks = line
    .trim()
    .split(/\s+/)
    .slice(1, 1 + countedColumns)
    .reduce((sum, column) => sum + Number(column), 0);
  return ticks * (1_000_000_000 / ticksPerSecond);
}

function presentStats(
  state: ContainerState,
  now: Sample | undefined,
  before: Sample | undefined,
): Record<string, unknown> {
  const identity = { name: `/${state.config.name}`, id: state.config.id };
  const read = (sampled: Sample | undefined): string =>
    sampled === undefined ? zeroTime : new Date(sampled.stats.atMs).toISOString();
  const stats = now?.stats;
  return {
    ...identity,
    read: read(now),
    preread: read(before),
    pids_stats:
      stats === undefined
        ? {}
        : { current: stats.pids, ...(stats.pidsLimit === undefined ? {} : { limit: stats.pidsLimit }) },
    blkio_stats: {
      io_service_bytes_recursive: null,
      io_serviced_recursive: null,
      io_queue_recursive: null,
      io_service_time_recursive: null,
      io_wait_time_recursive: null,
      io_merged_recursive: null,
      io_time_recursive: null,
      sectors_recursive: null,
    },
    num_procs: 0,
    storage_stats: {},
    cpu_stats: presentCpu(now),
    precpu_stats: presentCpu(before),
    memory_stats: stats === undefined ? {} : presentMemory(stats),
    ...(stats === undefined ? {} : { networks: presentNetworks(stats) }),
    os_type: 'linux',
  };
}

function presentCpu(sampled: Sample | undefined): Record<string, unknown> {
  const detail = sampled?.stats.detail;
  const throttling = {
    periods: detail?.throttling.periods ?? 0,
    throttled_periods: detail?.throttling.throttledPeriods ?? 0,
    throttled_time: detail?.throttling.throttledNanoseconds ?? 0,
  };
  if (sampled === undefined) {
    return {
      cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
      throttling_data: throttling,
    };
  }
  const { stats, systemNanoseconds } = sampled;
  return {
    cpu_usage: {
      total_usage: stats.cpuNanoseconds,
      ...(detail?.cpuPerProcessor === undefined ? {} : { percpu_usage: detail.cpuPerProcessor }),
      usage_in_kernelmode: stats.cpuSystemNanoseconds,
      usage_in_usermode: stats.cpuUserNanoseconds,
    },
    system_cpu_usage: systemNanoseconds,
    online_cpus: availableParallelism(),
    throttling_data: throttling,
  };
}

/** Clients take the inactive file pages off what they show, under the name of either cgroup version. */
function presentMemory(stats: ContainerStats): Record<string, unknown> {
  const { detail } = stats;
  return {
    usage: stats.memoryBytes,
    ...(detail?.memoryPeakBytes === undefined ? {} : { max_usage: detail.memoryPeakBytes }),
    stats: {
      ...detail?.memory,
      inactive_file: stats.memoryInactiveFileBytes,
      total_inactive_file: stats.memoryInactiveFileBytes,
    },
    ...(detail?.memoryFailures === undefined ? {} : { failcnt: detail.memoryFailures }),
    limit: stats.memoryLimitBytes,
  };
}

function presentNetworks(stats: ContainerStats): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(stats.network).map(([name, counters]) => [
      name,
      {
        rx_bytes: counters.receivedBytes,
        rx_packets: counters.receivedPackets,
        rx_errors: 0,
        rx_dropped: 0,
        tx_bytes: counters.sentBytes,
        tx_packets: counters.sentPackets,
        tx_errors: 0,
        tx_dropped: 0,
      },
    ]),
  );
}
