/** Limits of `docker run` and `docker update`: Docker's rules, in Docker's words. */
import { EnxameError } from '#libs/model';
import type { ContainerResources, DeviceRate } from '#libs/runtime';
import { statSync } from 'node:fs';
import type { ResourcesDto } from './create-body.dto.js';

export interface MachineFacts {
  cpus: number;
}

const memoryBytesMin = 6 * 1024 * 1024;
const periodUsMin = 1_000;
const periodUsMax = 1_000_000;
const quotaUsMin = 1_000;
const blkioWeightMin = 10;
const blkioWeightMax = 1_000;

/** Throws `invalid-argument`. */
export function resourcesOf(host: ResourcesDto, machine: MachineFacts): ContainerResources {
  checkMemory(host);
  checkCpu(host, machine);
  checkBlockDevices(host);
  if ((host.IOMaximumBandwidth ?? 0) > 0)
    throw invalid('invalid QoS settings: Linux does not support Maximum IO Bandwidth');
  if ((host.IOMaximumIOps ?? 0) > 0)
    throw invalid('invalid QoS settings: Linux does not support Maximum IOPs');
  const swappiness = host.MemorySwappiness ?? -1;
  return {
    ...positive('nanoCpus', host.NanoCpus),
    ...positive('cpuShares', host.CpuShares),
    ...positive('cpuPeriodUs', host.CpuPeriod),
    ...(host.CpuQuota ? { cpuQuotaUs: host.CpuQuota } : {}),
    ...positive('cpuRealtimePeriodUs', host.CpuRealtimePeriod),
    ...positive('cpuRealtimeRuntimeUs', host.CpuRealtimeRuntime),
    ...(host.CpusetCpus ? { cpusetCpus: host.CpusetCpus } : {}),
    ...(host.CpusetMems ? { cpusetMems: host.CpusetMems } : {}),
    ...positive('memoryBytes', host.Memory),
    ...(host.MemorySwap ? { memorySwapBytes: host.MemorySwap } : {}),
    ...positive('memoryReservationBytes', host.MemoryReservation),
    ...(swappiness >= 0 ? { memorySwappiness: swappiness } : {}),
    ...(host.OomKillDisable ? { oomKillDisable: true } : {}),
    ...positive('pids', host.PidsLimit ?? 0),
    ...positive('blkioWeight', host.BlkioWeight),
    ...rates(
      'blkioWeightDevice',
      host.BlkioWeightDevice?.map(({ Path, Weight }) => ({ Path, Rate: Weight })),
    ),
    ...rates('blkioReadBps', host.BlkioDeviceReadBps),
    ...rates('blkioWriteBps', host.BlkioDeviceWriteBps),
    ...rates('blkioReadIops', host.BlkioDeviceReadIOps),
    ...rates('blkioWriteIops', host.BlkioDeviceWriteIOps),
  };
}

export function warningsOf(host: ResourcesDto): string[] {
  const warnings: string[] = [];
  if (host.OomKillDisable && !host.Memory) {
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.',
    );
  }
  return warnings;
}

function checkMemory(host: ResourcesDto): void {
  const { Memory: memory = 0, MemorySwap: swap = 0, MemoryReservation: reservation = 0 } = host;
  if (memory < 0 || (memory > 0 && memory < memoryBytesMin))
    throw invalid('Minimum memory limit allowed is 6MB');
  if (swap > 0 && memory > 0 && swap < memory)
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  if (memory === 0 && swap > 0)
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  const swappiness = host.MemorySwappiness ?? -1;
  if (swappiness < -1 || swappiness > 100)
    throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  if (reservation < 0 || (reservation > 0 && reservation < memoryBytesMin))
    throw invalid('Minimum memory reservation allowed is 6MB');
  if (memory > 0 && reservation > 0 && memory < reservation)
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage');
}

function checkCpu(host: ResourcesDto, machine: MachineFacts): void {
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0, CpuShares: shares = 0 } = host;
  if (nano > 0 && period > 0)
    throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (nano > 0 && quota > 0) throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (nano < 0 || nano > machine.cpus * 1e9) {
    throw invalid(
      `range of CPUs is from 0.01 to ${machine.cpus}.00, as there are only ${machine.cpus} CPUs available`,
    );
  }
  if (shares < 0) throw invalid(`invalid CPU shares (${shares}): value must be a positive integer`);
  if (period !== 0 && (period < periodUsMin || period > periodUsMax)) {
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  }
  if (quota > 0 && quota < quotaUsMin) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  checkCpuset(host.CpusetCpus ?? '', 'cpus', machine.cpus);
  checkCpuset(host.CpusetMems ?? '', 'mems', undefined);
}

function checkCpuset(text: string, what: 'cpus' | 'mems', count: number | undefined): void {
  if (text === '') return;
  if (!/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/.test(text))
    throw invalid(`Invalid value ${text} for cpuset ${what}`);
  const highest = Math.max(...text.split(/[,-]/).map(Number));
  const last = (count ?? 1) - 1;
  if (highest <= last || (what === 'mems' && highest === 0)) return;
  const available = last === 0 ? '0' : `0-${last}`;
  throw invalid(
    what === 'cpus'
      ? `Requested CPUs are not available - requested ${text}, available: ${available}`
      : `Requested memory nodes are not available - requested ${text}, available: ${available}`,
  );
}

function checkBlockDevices(host: ResourcesDto): void {
  const weight = host.BlkioWeight ?? 0;
  if (weight !== 0 && (weight < blkioWeightMin || weight > blkioWeightMax))
    throw invalid('Range of blkio weight is from 10 to 1000');
}

function positive<Name extends keyof ContainerResources>(
  name: Name,
  value: number | undefined,
): { [key in Name]?: number } {
  return value !== undefined && value > 0 ? ({ [name]: value } as { [key in Name]?: number }) : {};
}

function rates<Name extends keyof ContainerResources>(
  name: Name,
  list: readonly { Path: string; Rate?: number }[] | null | undefined,
): { [key in Name]?: DeviceRate[] } {
  if (!list || list.length === 0) return {};
  return { [name]: list.map(rateOf) } as { [key in Name]?: DeviceRate[] };
}

function rateOf({ Path, Rate = 0 }: { Path: string; Rate?: number }): DeviceRate {
  try {
    const { rdev } = statSync(Path);
    return { major: majorOf(rdev), minor: minorOf(rdev), rate: Rate };
  } catch (error) {
    throw new EnxameError('invalid-argument', `no such device: ${Path}`, { cause: error });
  }
}

/** As glibc's `major` and `minor`. */
export function majorOf(rdev: number): number {
  return Number(((BigInt(rdev) >> 8n) & 0xfffn) | ((BigInt(rdev) >> 32n) & 0xfffff000n));
}

export function minorOf(rdev: number): number {
  return Number((BigInt(rdev) & 0xffn) | ((BigInt(rdev) >> 12n) & 0xffffff00n));
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}
