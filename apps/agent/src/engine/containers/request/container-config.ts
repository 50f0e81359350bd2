/** From the body of `docker create` and the image's own configuration to what the runtime is to do. */
import type { Image } from '#libs/images';
import {
  EnxameError,
  nanosecondsPerMillisecond,
  stopGracePeriodDefault,
  type ContainerId,
} from '#libs/model';
import {
  containerHealthOf,
  foreignRuntimes,
  signalNumber,
  type ContainerConfig,
  type ContainerMount,
  type ContainerNamespaces,
  type ContainerNetwork,
  type RestartPolicy,
} from '#libs/runtime';
import type { ContainerCreateDto, HostConfigDto, RestartPolicyDto } from './create-body.dto.js';
import { logOf } from './log-options.js';
import { resourcesOf, type MachineFacts } from './resources.js';
import { deviceRulesOf, devicesOf, securityOf } from './security.js';
import { shownConfig, shownHostConfig } from './shown-config.js';

export interface CreateInput {
  body: ContainerCreateDto;
  id: ContainerId;
  name: string;
  image: Pick<Image, 'id' | 'config'>;
  rootLayers: string[];
  mounts: ContainerMount[];
  network: ContainerNetwork;
  namespaces: ContainerNamespaces | undefined;
  machine: MachineFacts & { hostname: string };
  createdAtMs: number;
}

/** The name of our own among runtimes. */
const ownRuntime = 'enxame';
const shmBytesDefault = 64 * 1024 * 1024;
const hostnameLengthMax = 63;

export function configOf(input: CreateInput): ContainerConfig {
  const { body, image, id } = input;
  const host = body.HostConfig ?? {};
  const shown = shownConfig(body, image.config, id);
  const argv = [...(shown.Entrypoint ?? []), ...(shown.Cmd ?? [])];
  if (argv.length === 0) throw invalid('no command specified');
  const health = containerHealthOf(shown['Healthcheck'] as ContainerCreateDto['Healthcheck']);
  const restart = restartOf(host.RestartPolicy);
  const sharesName = host.UTSMode === 'host' || host.NetworkMode === 'host';
  const hostname = body.Hostname || (sharesName ? input.machine.hostname : id.slice(0, 12));
  return {
    id,
    name: input.name,
    labels: stringsOf(shown['Labels'] as Record<string, unknown>, 'Labels'),
    createdAtMs: input.createdAtMs,
    image: { id: image.id, reference: body.Image ?? '' },
    rootLayers: input.rootLayers,
    argv,
    env: shown.Env,
    workdir: String(shown['WorkingDir'] || '/'),
    user: String(shown['User']),
    groups: host.GroupAdd ?? [],
    hostname,
    ...(body.Domainname ? { domainName: body.Domainname } : {}),
    tty: body.Tty ?? false,
    openStdin: body.OpenStdin ?? false,
    stopSignal: String(shown['StopSignal'] ?? 'SIGTERM'),
    stopGraceMs: graceMsOf(body.StopTimeout),
    readOnlyRootfs: host.ReadonlyRootfs ?? false,
    init: host.Init ?? false,
    mounts: input.mounts,
    resources: resourcesOf(host, input.machine),
    security: securityOf(host),
    network: input.network,
    ...(input.namespaces === undefined ? {} : { namespaces: input.namespaces }),
    ...(host.Devices?.length ? { devices: devicesOf(host.Devices) } : {}),
    ...(host.DeviceCgroupRules?.length ? { deviceRules: deviceRulesOf(host.DeviceCgroupRules) } : {}),
    ...(host.Runtime && host.Runtime !== ownRuntime ? { runtime: host.Runtime } : {}),
    ...(restart.name === 'no' ? {} : { restart }),
    ...(health === undefined ? {} : { health }),
    log: logOf(host),
    oomScoreAdj: host.OomScoreAdj ?? 0,
    ulimits: (host.Ulimits ?? []).map(({ Name, Soft = 0, Hard = 0 }) => ({
      name: Name,
      soft: Soft,
      hard: Hard,
    })),
    sysctls: stringsOf(host.Sysctls, 'HostConfig.Sysctls'),
    shmBytes: host.ShmSize || shmBytesDefault,
    inspect: {
      config: { ...shown, Hostname: hostname },
      hostConfig: shownHostConfig(host),
    },
  };
}

/** What can be refused before anything is made. Throws `invalid-argument` in Docker's words. */
export function checkRequest(body: ContainerCreateDto): void {
  const host: HostConfigDto = body.HostConfig ?? {};
  if (body.WorkingDir && !body.WorkingDir.startsWith('/')) {
    throw invalid(`the working directory '${body.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  checkHostname(body.Hostname ?? '');
  if (body.StopSignal) signalNumber(body.StopSignal);
  for (const entry of body.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) throw invalid(`invalid environment variable: ${entry}`);
  }
  checkHealth(body.Healthcheck);
  if (Object.hasOwn(host.Annotations ?? {}, ''))
    throw invalid('invalid Annotations: the empty string is not permitted as an annotation key');
  const restart = restartOf(host.RestartPolicy);
  if (host.AutoRemove && restart.name !== 'no')
    throw invalid("can't create 'AutoRemove' container with restart policy");
  if ((host.ShmSize ?? 0) < 0) throw invalid('SHM size can not be less than 0');
  const score = host.OomScoreAdj ?? 0;
  if (score < -1000 || score > 1000)
    throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  if (host.Runtime && host.Runtime !== ownRuntime && !foreignRuntimes().has(host.Runtime))
    throw invalid(`unknown or invalid runtime name: ${host.Runtime}`);
  if (host.Isolation && host.Isolation !== 'default')
    throw invalid(`invalid isolation '${host.Isolation}' on linux`);
  refuseMissing(body, host);
  for (const name of Object.keys(host.StorageOpt ?? {}))
    throw invalid(`--storage-opt is supported only for overlay over xfs with 'pquota' mount option: ${name}`);
  if (host.DeviceRequests?.length) {
    throw invalid('could not select device driver "" with capabilities: [[gpu]]');
  }
  if (host.NetworkMode === 'host') {
    for (const name of Object.keys(host.Sysctls ?? {})) {
      if (name.startsWith('net.')) throw invalid(`sysctl '${name}' not allowed in host network namespace`);
    }
  }
}

/** What this version does not have is refused by name, never left out silently. */
function refuseMissing(body: ContainerCreateDto, host: HostConfigDto): void {
  const missing = (name: string): EnxameError =>
    new EnxameError('not-implemented', `${name} is not available in this version`);
  if (host.Links?.length) throw missing('HostConfig.Links');
  if (body.MacAddress) throw missing('MacAddress');
  if (host.CgroupParent) throw missing('HostConfig.CgroupParent');
}

function checkHostname(hostname: string): void {
  if (hostname.length > hostnameLengthMax || !/^[a-zA-Z0-9_.-]*$/.test(hostname))
    throw invalid(`invalid hostname: ${hostname}`);
}

function checkHealth(health: ContainerCreateDto['Healthcheck']): void {
  if (!health) return;
  const least = 1_000_000;
  for (const name of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health[name] ?? 0;
    if (value !== 0 && value < least) throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) throw invalid('Retries in Healthcheck cannot be negative');
}

/** Docker's names and rules. Throws `invalid-argument`. */
export function restartOf(policy: RestartPolicyDto | null | undefined): RestartPolicy {
  const name = policy?.Name ?? '';
  const retriesMax = policy?.MaximumRetryCount ?? 0;
  switch (name) {
    case '':
      return { name: 'no', retriesMax: 0 };
    case 'no':
    case 'always':
    case 'unless-stopped':
      if (retriesMax !== 0) {
        const negative = retriesMax < 0 ? ' and cannot be negative' : '';
        throw invalid(
          `invalid restart policy: maximum retry count can only be used with 'on-failure'${negative}`,
        );
      }
      return { name, retriesMax };
    case 'on-failure':
      if (retriesMax < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
      return { name, retriesMax };
    default:
      throw invalid(
        `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
      );
  }
}

function graceMsOf(seconds: number | null | undefined): number {
  if (seconds === undefined || seconds === null) return stopGracePeriodDefault / nanosecondsPerMillisecond;
  return seconds < 0 ? -1 : seconds * 1_000;
}

export function stringsOf(
  map: Record<string, unknown> | null | undefined,
  field: string,
): Record<string, string> {
  const entries = Object.entries(map ?? {}).map(([name, value]) => {
    if (typeof value !== 'string') throw invalid(`invalid ${field}: must hold strings`);
    return [name, value] as const;
  });
  return Object.fromEntries(entries);
}

/** `host:ip` of `--add-host` as a line of /etc/hosts. `gateway` stands for `host-gateway`. */
export function hostLineOf(text: string, gateway: string): string {
  const at = text.search(/[:=]/);
  const given = at < 1 ? '' : text.slice(at + 1).replace(/^\[(.*)\]$/, '$1');
  const address = given === 'host-gateway' ? gateway : given;
  if (!/^[0-9a-fA-F:.]+$/.test(address)) throw invalid(`bad format for add-host: "${text}"`);
  return `${address} ${text.slice(0, at)}`;
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}
