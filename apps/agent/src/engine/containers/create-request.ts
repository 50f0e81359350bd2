/** From the body of `docker create` and the image's own configuration to what the runtime is to do. */
import type { Image } from '#libs/images';
import {
  EnxameError,
  healthDefaults,
  memoryLimitMin,
  nanosecondsPerMillisecond,
  stopGracePeriodDefault,
  type ContainerId,
} from '#libs/model';
import type { ContainerConfig, ContainerHealth, ContainerMount, ContainerNetwork } from '#libs/runtime';
import type { ContainerCreateDto, HostConfigDto } from './container-create.dto.js';
import { sizeOf } from './mount-requests.js';

export interface CreateInput {
  body: ContainerCreateDto;
  /** As it came, for inspect. */
  raw: Record<string, unknown>;
  id: ContainerId;
  name: string;
  image: Pick<Image, 'id' | 'config'>;
  rootLayers: string[];
  mounts: ContainerMount[];
  network: ContainerNetwork;
  createdAtMs: number;
}

const shmBytesDefault = 64 * 1024 * 1024;
const logFileBytesDefault = 10 * 1024 * 1024;
const logFilesDefault = 3;

export function configOf(input: CreateInput): ContainerConfig {
  const { body, image, id } = input;
  const host = body.HostConfig ?? {};
  const health = healthOf(body.Healthcheck, image.config.Healthcheck);
  const stopSeconds = body.StopTimeout;
  return {
    id,
    name: input.name,
    labels: { ...image.config.Labels, ...stringsOf(body.Labels, 'Labels') },
    createdAtMs: input.createdAtMs,
    image: { id: image.id, reference: body.Image },
    rootLayers: input.rootLayers,
    argv: argvOf(body, image),
    env: [...(image.config.Env ?? []), ...(body.Env ?? [])],
    workdir: body.WorkingDir || image.config.WorkingDir || '/',
    user: body.User || image.config.User || '',
    groups: host.GroupAdd ?? [],
    hostname: hostnameOf(body.Hostname ?? '', id),
    tty: body.Tty ?? false,
    openStdin: body.OpenStdin ?? false,
    stopSignal: body.StopSignal || image.config.StopSignal || 'SIGTERM',
    stopGraceMs:
      stopSeconds === undefined || stopSeconds === null
        ? stopGracePeriodDefault / nanosecondsPerMillisecond
        : stopSeconds * 1_000,
    readOnlyRootfs: host.ReadonlyRootfs ?? false,
    init: host.Init ?? false,
    mounts: input.mounts,
    resources: resourcesOf(host),
    security: {
      capabilitiesAdd: host.CapAdd ?? [],
      capabilitiesDrop: host.CapDrop ?? [],
      ...securityOf(host.SecurityOpt ?? []),
      privileged: false,
    },
    network: input.network,
    ...(health === undefined ? {} : { health }),
    log: logOf(host),
    oomScoreAdj: host.OomScoreAdj ?? 0,
    ulimits: (host.Ulimits ?? []).map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard })),
    sysctls: stringsOf(host.Sysctls, 'HostConfig.Sysctls'),
    shmBytes: host.ShmSize || shmBytesDefault,
    inspect: inspectOf(input.raw, body),
  };
}

/** An entrypoint of the client's own replaces the image's command as well. */
function argvOf(body: ContainerCreateDto, image: CreateInput['image']): string[] {
  const entrypoint = body.Entrypoint ?? undefined;
  const command = body.Cmd ?? undefined;
  // `--entrypoint ""` comes as a list with one empty text.
  const clears = entrypoint !== undefined && entrypoint.every((word) => word === '');
  const argv =
    entrypoint === undefined || entrypoint.length === 0
      ? [...(image.config.Entrypoint ?? []), ...(command?.length ? command : (image.config.Cmd ?? []))]
      : [...(clears ? [] : entrypoint), ...(command ?? [])];
  if (argv.length === 0) throw new EnxameError('invalid-argument', 'no command specified');
  return argv;
}

function hostnameOf(hostname: string, id: ContainerId): string {
  if (hostname.length > 63 || !/^[a-zA-Z0-9_.-]*$/.test(hostname)) {
    throw new EnxameError('invalid-argument', `invalid Hostname: ${hostname}`);
  }
  return hostname || id.slice(0, 12);
}

function resourcesOf(host: HostConfigDto): ContainerConfig['resources'] {
  const { Memory, MemorySwap, NanoCpus, CpuShares, CpusetCpus, PidsLimit } = host;
  if (Memory && Memory < memoryLimitMin) {
    throw new EnxameError(
      'invalid-argument',
      `Minimum memory limit allowed is ${memoryLimitMin / 1024 ** 2}MB`,
    );
  }
  return {
    ...(NanoCpus ? { nanoCpus: NanoCpus } : {}),
    ...(CpuShares ? { cpuShares: CpuShares } : {}),
    ...(CpusetCpus ? { cpusetCpus: CpusetCpus } : {}),
    ...(Memory ? { memoryBytes: Memory } : {}),
    ...(MemorySwap ? { memorySwapBytes: MemorySwap } : {}),
    ...(PidsLimit && PidsLimit > 0 ? { pids: PidsLimit } : {}),
  };
}

function securityOf(
  options: readonly string[],
): Pick<ContainerConfig['security'], 'seccomp' | 'noNewPrivileges'> {
  let seccomp: ContainerConfig['security']['seccomp'] = { mode: 'default' };
  let noNewPrivileges = false;
  for (const option of options) {
    const [, name = '', value = ''] = /^([^=:]+)[=:]?([^]*)$/.exec(option) ?? [];
    if (name === 'no-new-privileges') noNewPrivileges = value === '' || value === 'true';
    else if (name === 'seccomp' && value === 'unconfined') seccomp = { mode: 'unconfined' };
    else if (name === 'seccomp' && value !== 'builtin') seccomp = { mode: 'custom', profile: value };
    else if (!isOffAnyway(name, value)) {
      throw new EnxameError(
        'not-implemented',
        `the security option ${name} is not available in this version`,
      );
    }
  }
  return { seccomp, noNewPrivileges };
}

/** This version has neither AppArmor nor SELinux, so there is nothing to turn off. */
function isOffAnyway(name: string, value: string): boolean {
  return (
    (name === 'seccomp' && value === 'builtin') ||
    (name === 'apparmor' && value === 'unconfined') ||
    (name === 'label' && value === 'disable')
  );
}

function logOf(host: HostConfigDto): ContainerConfig['log'] {
  const { Type, Config } = host.LogConfig ?? {};
  if (Type && Type !== 'json-file') {
    throw new EnxameError('not-implemented', `log driver ${Type} is not available in this version`);
  }
  const size = Config?.['max-size'];
  const files = Number(Config?.['max-file'] ?? logFilesDefault);
  if (!Number.isInteger(files) || files < 1) {
    throw new EnxameError('invalid-argument', 'invalid log option max-file: must be a whole number over 0');
  }
  return {
    fileBytesMax: size === undefined ? logFileBytesDefault : sizeOf(size, `max-size=${size}`),
    filesMax: files,
  };
}

/** The client's health check over the image's: what is left out, or zero, comes from below. */
function healthOf(
  own: ContainerCreateDto['Healthcheck'],
  image: Image['config']['Healthcheck'],
): ContainerHealth | undefined {
  const test = own?.Test?.length ? own.Test : image?.Test;
  if (!test?.length || test[0] === 'NONE') return undefined;
  const pick = (name: 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval' | 'Retries'): number =>
    own?.[name] || image?.[name] || healthDefaults[name];
  const ms = (nanoseconds: number): number => Math.round(nanoseconds / nanosecondsPerMillisecond);
  return {
    test,
    intervalMs: ms(pick('Interval')),
    timeoutMs: ms(pick('Timeout')),
    startPeriodMs: ms(pick('StartPeriod')),
    startIntervalMs: ms(pick('StartInterval')),
    retries: pick('Retries'),
  };
}

/** What the client said, word for word, for inspect. Absent or empty: what it came to instead. */
function inspectOf(raw: Record<string, unknown>, body: ContainerCreateDto): ContainerConfig['inspect'] {
  const kept = [
    'AttachStdin',
    'AttachStdout',
    'AttachStderr',
    'ExposedPorts',
    'StdinOnce',
    'Volumes',
    'Cmd',
    'Entrypoint',
  ];
  const config = Object.fromEntries(
    kept.filter((name) => raw[name] !== undefined && raw[name] !== null).map((name) => [name, raw[name]]),
  );
  const hostKept = [
    'Binds',
    'AutoRemove',
    'Mounts',
    'ConsoleSize',
    'SecurityOpt',
    'CapAdd',
    'CapDrop',
    'ExtraHosts',
  ];
  const host = (raw['HostConfig'] ?? {}) as Record<string, unknown>;
  const hostConfig = Object.fromEntries(
    hostKept
      .filter((name) => host[name] !== undefined && host[name] !== null)
      .map((name) => [name, host[name]]),
  );
  const networkMode = body.HostConfig?.NetworkMode || 'default';
  return { config, hostConfig: { ...hostConfig, NetworkMode: networkMode } };
}

export function stringsOf(
  map: Record<string, unknown> | null | undefined,
  field: string,
): Record<string, string> {
  const entries = Object.entries(map ?? {}).map(([name, value]) => {
    if (typeof value !== 'string')
      throw new EnxameError('invalid-argument', `invalid ${field}: must hold strings`);
    return [name, value] as const;
  });
  return Object.fromEntries(entries);
}

/** `host:ip` of `--add-host` as a line of /etc/hosts. */
export function hostLineOf(text: string): string {
  const at = text.search(/[:=]/);
  const address = at < 1 ? '' : text.slice(at + 1).replace(/^\[(.*)\]$/, '$1');
  if (address === 'host-gateway') {
    throw new EnxameError('not-implemented', 'host-gateway in ExtraHosts is not available in this version');
  }
  if (!/^[0-9a-fA-F:.]+$/.test(address))
    throw new EnxameError('invalid-argument', `bad format for add-host: "${text}"`);
  return `${address} ${text.slice(0, at)}`;
}
