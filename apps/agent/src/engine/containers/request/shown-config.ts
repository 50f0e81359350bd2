/**
 * `Config` and `HostConfig` as inspect shows them: what the client said over what the image says, and what is left out
 * as Docker fills it in. A list that was not given is null, one that was given empty is empty.
 */
import type { ImageRunConfig } from '#libs/images';
import type { ContainerId } from '#libs/model';
import { maskedPaths, readOnlyPaths } from '#libs/runtime';
import { posix } from 'node:path';
import type { ContainerCreateDto, HostConfigDto } from './create-body.dto.js';

export type Shown = Record<string, unknown>;

const shmBytesDefault = 64 * 1024 * 1024;
const emptyEntrypoint = [''];

/** Later fields in Docker's order; the values are those of a client that says nothing. */
const configDefaults: Shown = {
  Hostname: '',
  Domainname: '',
  User: '',
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: [],
  Cmd: null,
  Image: '',
  Volumes: null,
  WorkingDir: '',
  Entrypoint: null,
  OnBuild: null,
  Labels: {},
};

/** Shown only when they say something. */
const configOptional = [
  'ExposedPorts',
  'Healthcheck',
  'ArgsEscaped',
  'NetworkDisabled',
  'MacAddress',
  'StopSignal',
  'StopTimeout',
  'Shell',
] as const;

const hostDefaults: Shown = {
  Binds: null,
  ContainerIDFile: '',
  LogConfig: { Type: 'json-file', Config: {} },
  NetworkMode: 'bridge',
  PortBindings: {},
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: '',
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: 'private',
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: 'private',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: shmBytesDefault,
  Runtime: 'enxame',
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: false,
  PidsLimit: null,
  Ulimits: null,
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
  MaskedPaths: null,
  ReadonlyPaths: null,
};

const hostOptional = ['Annotations', 'Mounts', 'StorageOpt', 'Tmpfs', 'Sysctls', 'Init'] as const;

/** Texts for which a client that sends none, or an empty one, gets Docker's own. */
const filledTexts = ['NetworkMode', 'CgroupnsMode', 'IpcMode', 'Runtime'];

export function shownConfig(
  body: ContainerCreateDto,
  image: ImageRunConfig,
  id: ContainerId,
): Shown & { Cmd: string[] | null; Entrypoint: string[] | null; Env: string[] } {
  const given = present(body as object, [...Object.keys(configDefaults), ...configOptional]);
  const volumes = { ...image.Volumes, ...body.Volumes };
  const ports = { ...image.ExposedPorts, ...body.ExposedPorts };
  const health = healthOf(body.Healthcheck, image.Healthcheck);
  const stopSignal = body.StopSignal || image.StopSignal;
  const { Healthcheck: _health, ExposedPorts: _ports, ...own } = given;
  return {
    ...configDefaults,
    ...own,
    Hostname: body.Hostname || id.slice(0, 12),
    User: body.User || image.User || '',
    ...(Object.keys(ports).length === 0 ? {} : { ExposedPorts: ports }),
    Env: envOf(body.Env ?? [], image.Env ?? []),
    ...programOf(body, image),
    ...(health === undefined ? {} : { Healthcheck: health }),
    Volumes: Object.keys(volumes).length === 0 ? null : volumes,
    WorkingDir: cleanPath(body.WorkingDir || image.WorkingDir || ''),
    Labels: { ...image.Labels, ...body.Labels },
    ...(stopSignal ? { StopSignal: stopSignal } : {}),
  };
}

/** Without `.`, `..` and slashes at the end. */
function cleanPath(path: string): string {
  if (path === '') return '';
  const clean = posix.normalize(path);
  return clean.length > 1 ? clean.replace(/\/$/, '') : clean;
}

/** An entrypoint of the client's own, also an empty one, replaces the image's with its command. */
function programOf(
  body: ContainerCreateDto,
  image: ImageRunConfig,
): { Cmd: string[] | null; Entrypoint: string[] | null } {
  const { Entrypoint: entrypoint, Cmd: command } = body;
  const hasEntrypoint = entrypoint !== undefined && entrypoint !== null && entrypoint.length > 0;
  const shown = {
    Cmd: command?.length || hasEntrypoint ? (command ?? null) : (image.Cmd ?? null),
    Entrypoint: entrypoint ?? image.Entrypoint ?? null,
  };
  // `--entrypoint ""` comes as a list with one empty text.
  const clears = shown.Entrypoint?.length === 1 && shown.Entrypoint[0] === emptyEntrypoint[0];
  return clears ? { ...shown, Entrypoint: null } : shown;
}

/** The client's variables first, then those of the image that it does not name. */
function envOf(own: readonly string[], image: readonly string[]): string[] {
  const nameOf = (entry: string): string => entry.split('=', 1)[0] ?? '';
  const named = new Set(own.map(nameOf));
  return [...own, ...image.filter((entry) => !named.has(nameOf(entry)))];
}

function healthOf(
  own: ContainerCreateDto['Healthcheck'],
  image: ImageRunConfig['Healthcheck'],
): object | undefined {
  if (!own && !image) return undefined;
  const merged: Shown = { ...present(image ?? {}), ...nonZero(present(own ?? {})) };
  if (own?.Test?.length) merged['Test'] = own.Test;
  return merged;
}

export function shownHostConfig(host: HostConfigDto): Shown {
  const given = present(host as object, [...Object.keys(hostDefaults), ...hostOptional]);
  for (const name of filledTexts) if (given[name] === '') delete given[name];
  for (const name of hostOptional) if (isEmpty(given[name]) && name !== 'Init') delete given[name];
  const privileged = host.Privileged === true;
  return {
    ...hostDefaults,
    ...given,
    NetworkMode: networkModeShown(host.NetworkMode),
    LogConfig: { Type: host.LogConfig?.Type || 'json-file', Config: host.LogConfig?.Config ?? {} },
    RestartPolicy: shownRestart(host.RestartPolicy),
    PortBindings: host.PortBindings ?? {},
    ShmSize: host.ShmSize || shmBytesDefault,
    OomKillDisable: host.OomKillDisable ?? false,
    PidsLimit: host.PidsLimit && host.PidsLimit > 0 ? host.PidsLimit : null,
    MemorySwappiness: (host.MemorySwappiness ?? -1) < 0 ? null : host.MemorySwappiness,
    MemorySwap: host.Memory && !host.MemorySwap ? host.Memory * 2 : (host.MemorySwap ?? 0),
    MaskedPaths: host.MaskedPaths ?? (privileged ? null : maskedPaths),
    ReadonlyPaths: host.ReadonlyPaths ?? (privileged ? null : readOnlyPaths),
  };
}

export function shownRestart(policy: HostConfigDto['RestartPolicy']): Shown {
  return { Name: policy?.Name || 'no', MaximumRetryCount: policy?.MaximumRetryCount ?? 0 };
}

/** The default network goes by its name. */
function networkModeShown(mode: string | undefined): string {
  return mode === undefined || mode === '' || mode === 'default' ? 'bridge' : mode;
}

/** Plain data without what is undefined or null. */
function present(from: object, names?: readonly string[]): Shown {
  const plain = JSON.parse(JSON.stringify(from)) as Shown;
  return Object.fromEntries(
    Object.entries(plain).filter(
      ([name, value]) =>
        value !== null && value !== undefined && (names === undefined || names.includes(name)),
    ),
  );
}

function nonZero(values: Shown): Shown {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === 0 || value === '' || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
