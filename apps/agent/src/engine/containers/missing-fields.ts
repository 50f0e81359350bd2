/** Fields of Docker's create body that this version does not have: set, they are refused by name. */
import { EnxameError } from '#libs/model';

/** What a field may hold beside empty values without asking for anything. */
type Harmless = readonly unknown[];

const ownFields: Readonly<Record<string, Harmless>> = {
  Domainname: [],
  OnBuild: [],
  MacAddress: [],
  NetworkDisabled: [],
  Shell: [],
};

const hostFields: Readonly<Record<string, Harmless>> = {
  ContainerIDFile: [],
  PortBindings: [],
  VolumeDriver: ['local'],
  VolumesFrom: [],
  CgroupnsMode: ['private'],
  IpcMode: ['private', 'shareable'],
  Cgroup: [],
  Links: [],
  PidMode: ['private'],
  Privileged: [],
  PublishAllPorts: [],
  StorageOpt: [],
  UTSMode: [],
  UsernsMode: [],
  Runtime: ['enxame'],
  Isolation: ['default'],
  Annotations: [],
  CgroupParent: [],
  BlkioWeight: [],
  BlkioWeightDevice: [],
  BlkioDeviceReadBps: [],
  BlkioDeviceWriteBps: [],
  BlkioDeviceReadIOps: [],
  BlkioDeviceWriteIOps: [],
  CpuPeriod: [],
  CpuQuota: [],
  CpuRealtimePeriod: [],
  CpuRealtimeRuntime: [],
  CpusetMems: [],
  Devices: [],
  DeviceCgroupRules: [],
  DeviceRequests: [],
  KernelMemory: [],
  KernelMemoryTCP: [],
  MemoryReservation: [],
  MemorySwappiness: [-1],
  OomKillDisable: [],
  CpuCount: [],
  CpuPercent: [],
  IOMaximumIOps: [],
  IOMaximumBandwidth: [],
};

/** Throws `not-implemented` naming the first field that asks for something this version does not have. */
export function refuseMissingFields(body: unknown): void {
  if (!isObject(body)) return;
  refuse('', body, ownFields);
  const host = body['HostConfig'];
  if (!isObject(host)) return;
  refuse('HostConfig.', host, hostFields);
  // An empty list takes the masks away, which asks for something; null leaves Docker's.
  for (const name of ['MaskedPaths', 'ReadonlyPaths']) {
    if (Array.isArray(host[name])) throw missing(`HostConfig.${name}`);
  }
}

function refuse(
  prefix: string,
  body: Record<string, unknown>,
  fields: Readonly<Record<string, Harmless>>,
): void {
  for (const [name, harmless] of Object.entries(fields)) {
    const value = body[name];
    if (!isEmpty(value) && !harmless.includes(value)) throw missing(`${prefix}${name}`);
  }
}

function missing(name: string): EnxameError {
  return new EnxameError('not-implemented', `${name} is not available in this version`);
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
