/**
 * From what the cluster says about a task and what its image says about itself to what the runtime is to do: a pure
 * translation, with Docker's rules for what overrides what.
 */
import type { Image, ImageRunConfig } from '#libs/images';
import {
  EnxameError,
  hostNetwork,
  nanosecondsPerMillisecond,
  stopGracePeriodDefault,
  type ContainerId,
  type ContainerInterface,
  type ContainerSpec,
  type Mount,
  type NodeId,
  type RevisionItem,
  type TaskItem,
} from '#libs/model';
import { containerHealthOf, type ContainerConfig, type ContainerMount } from '#libs/runtime';
import { expandTemplate, type TemplateContext } from './templates.js';

export interface TaskNode {
  id: NodeId;
  hostname: string;
  os: string;
  architecture: string;
}

export interface TranslationInput {
  task: TaskItem;
  revision: RevisionItem;
  node: TaskNode;
  containerId: ContainerId;
  createdAtMs: number;
  image: Pick<Image, 'id' | 'config'>;
  rootLayers: string[];
  network: { interfaces: ContainerInterface[]; nameservers: string[] };
  /** Folder of a local volume, by name. */
  volumeSource: (name: string) => string;
}

const shmBytesDefault = 64 * 1024 * 1024;
/** Docker's json-file driver keeps one file without bound; a full disk helps nobody. */
const logFileBytesDefault = 10 * 1024 * 1024;
const logFilesDefault = 3;
const hostnameLengthMax = 63;

/** `web.3.<task id>`, or with the node's id for a global service, whose tasks have no slot. */
export function taskNameOf(task: TaskItem, revision: RevisionItem, nodeId: NodeId): string {
  return `${revision.serviceName}.${task.slot === 0 ? nodeId : task.slot}.${task.id}`;
}

export function labelsOf(task: TaskItem, revision: RevisionItem, nodeId: NodeId): Record<string, string> {
  return {
    ...revision.taskTemplate.ContainerSpec?.Labels,
    'com.docker.swarm.node.id': nodeId,
    'com.docker.swarm.service.id': task.serviceId,
    'com.docker.swarm.service.name': revision.serviceName,
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': task.id,
    'com.docker.swarm.task.name': taskNameOf(task, revision, nodeId),
  };
}

/** The task's container spec. `not-implemented` names a part this version does not have. */
export function containerSpecOf(revision: RevisionItem): ContainerSpec {
  const { ContainerSpec: spec, Runtime } = revision.taskTemplate;
  if (!spec || (Runtime && Runtime !== 'container')) {
    throw new EnxameError('not-implemented', `task runtime ${Runtime ?? 'without a container spec'}`);
  }
  return spec;
}

export function contextOf(task: TaskItem, revision: RevisionItem, node: TaskNode): TemplateContext {
  return {
    service: { id: task.serviceId, name: revision.serviceName, labels: revision.serviceLabels },
    node,
    task: { id: task.id, name: taskNameOf(task, revision, node.id), slot: task.slot },
  };
}

/** Volumes the task needs on its node before its container is made: of its mounts and of its image. */
export interface TaskVolume {
  name: string;
  target: string;
  labels: Record<string, string>;
  /** Made for this task alone, and removed with it. */
  anonymous: boolean;
}

export function volumesOf(
  input: Pick<TranslationInput, 'task' | 'revision' | 'node' | 'containerId'> & {
    image: { config: Pick<ImageRunConfig, 'Volumes'> };
  },
): TaskVolume[] {
  const spec = containerSpecOf(input.revision);
  const context = contextOf(input.task, input.revision, input.node);
  const volumes: TaskVolume[] = [];
  for (const mount of spec.Mounts ?? []) {
    if (mount.Type !== 'volume') continue;
    const source = expandTemplate(mount.Source ?? '', context);
    volumes.push({
      name: source || anonymousVolumeName(input.containerId, mount.Target),
      target: mount.Target,
      labels: mount.VolumeOptions?.Labels ?? {},
      anonymous: source === '',
    });
  }
  const taken = new Set((spec.Mounts ?? []).map(({ Target }) => trimmed(Target)));
  for (const target of Object.keys(input.image.config.Volumes ?? {}).sort()) {
    if (taken.has(trimmed(target))) continue;
    volumes.push({
      name: anonymousVolumeName(input.containerId, target),
      target,
      labels: {},
      anonymous: true,
    });
  }
  return volumes;
}

/** The same task asks for the same volume again after its agent was killed. */
function anonymousVolumeName(containerId: ContainerId, target: string): string {
  const place = trimmed(target).replace(/[^a-zA-Z0-9]+/g, '-');
  return `${containerId}${place}`;
}

function trimmed(path: string): string {
  return path.replace(/\/+$/, '') || '/';
}

/** Everything the runtime needs to make the task's container. Throws EnxameError with words for the task's status. */
export function containerConfigOf(input: TranslationInput): ContainerConfig {
  const { task, revision, node, image, containerId } = input;
  const spec = containerSpecOf(revision);
  const context = contextOf(task, revision, node);
  const expand = (text: string): string => expandTemplate(text, context);
  const { LogDriver, Networks, Resources } = revision.taskTemplate;
  const isOnHost = Networks?.some(({ Target }) => Target === hostNetwork) ?? false;
  const limits = Resources?.Limits;
  const health = containerHealthOf(spec.Healthcheck, image.config.Healthcheck);
  return {
    id: containerId,
    name: context.task.name,
    labels: { ...image.config.Labels, ...labelsOf(task, revision, node.id) },
    createdAtMs: input.createdAtMs,
    image: { id: image.id, reference: spec.Image },
    rootLayers: input.rootLayers,
    argv: argvOf(spec, image.config),
    env: envOf(image.config.Env ?? [], (spec.Env ?? []).map(expand)),
    workdir: spec.Dir || image.config.WorkingDir || '/',
    user: spec.User || image.config.User || '',
    groups: spec.Groups ?? [],
    hostname: hostnameOf(expand(spec.Hostname || (isOnHost ? node.hostname : '')), containerId),
    tty: spec.TTY ?? false,
    openStdin: spec.OpenStdin ?? false,
    stopSignal: spec.StopSignal || image.config.StopSignal || 'SIGTERM',
    stopGraceMs: stopGraceMsOf(revision),
    readOnlyRootfs: spec.ReadOnly ?? false,
    init: spec.Init ?? false,
    mounts: mountsOf(input, spec, expand),
    resources: {
      ...(limits?.NanoCPUs ? { nanoCpus: limits.NanoCPUs } : {}),
      ...(limits?.MemoryBytes ? { memoryBytes: limits.MemoryBytes } : {}),
      ...(limits?.Pids ? { pids: limits.Pids } : {}),
    },
    security: {
      capabilitiesAdd: spec.CapabilityAdd ?? [],
      capabilitiesDrop: spec.CapabilityDrop ?? [],
      seccomp: seccompOf(spec),
      noNewPrivileges: spec.Privileges?.NoNewPrivileges ?? false,
      privileged: false,
    },
    network: {
      mode: isOnHost ? 'host' : 'routed',
      interfaces: input.network.interfaces,
      // The cluster's own names first; what the service adds is asked when they do not answer.
      nameservers: [...(isOnHost ? [] : input.network.nameservers), ...(spec.DNSConfig?.Nameservers ?? [])],
      searchDomains: spec.DNSConfig?.Search ?? [],
      resolverOptions: spec.DNSConfig?.Options ?? ['ndots:0'],
      hosts: spec.Hosts ?? [],
    },
    ...(health ? { health } : {}),
    log: {
      fileBytesMax: bytesOf(LogDriver?.Options?.['max-size']) ?? logFileBytesDefault,
      filesMax: Number(LogDriver?.Options?.['max-file'] ?? logFilesDefault) || logFilesDefault,
    },
    oomScoreAdj: spec.OomScoreAdj ?? 0,
    ulimits: (spec.Ulimits ?? []).map(({ Name, Soft, Hard }) => ({ name: Name, soft: Soft, hard: Hard })),
    sysctls: spec.Sysctls ?? {},
    shmBytes: shmBytesDefault,
  };
}

export function stopGraceMsOf(revision: RevisionItem): number {
  const grace = revision.taskTemplate.ContainerSpec?.StopGracePeriod ?? stopGracePeriodDefault;
  return Math.round(grace / nanosecondsPerMillisecond);
}

/** A command of the service replaces the image's entrypoint and with it the image's command. */
function argvOf(spec: ContainerSpec, image: ImageRunConfig): string[] {
  const argv = spec.Command?.length
    ? [...spec.Command, ...(spec.Args ?? [])]
    : [...(image.Entrypoint ?? []), ...(spec.Args?.length ? spec.Args : (image.Cmd ?? []))];
  if (argv.length === 0) throw new EnxameError('invalid-argument', 'no command specified');
  return argv;
}

/** Later entries replace earlier ones of the same name in place; a name without `=` removes the variable. */
function envOf(image: readonly string[], spec: readonly string[]): string[] {
  const env = new Map<string, string>();
  for (const entry of [...image, ...spec]) {
    const at = entry.indexOf('=');
    if (at > 0) env.set(entry.slice(0, at), entry);
    else env.delete(entry);
  }
  return [...env.values()];
}

function hostnameOf(hostname: string, containerId: ContainerId): string {
  if (hostname.length > hostnameLengthMax) {
    throw new EnxameError(
      'invalid-argument',
      `hostname "${hostname}": must be at most ${hostnameLengthMax} characters`,
    );
  }
  return hostname || containerId.slice(0, 12);
}

function seccompOf(spec: ContainerSpec): ContainerConfig['security']['seccomp'] {
  const { Mode, Profile } = spec.Privileges?.Seccomp ?? {};
  if (Mode === 'custom')
    return { mode: 'custom', profile: Buffer.from(Profile ?? '', 'base64').toString('utf8') };
  return { mode: Mode === 'unconfined' ? 'unconfined' : 'default' };
}

function mountsOf(
  input: TranslationInput,
  spec: ContainerSpec,
  expand: (text: string) => string,
): ContainerMount[] {
  const volumes = new Map(volumesOf(input).map((volume) => [trimmed(volume.target), volume]));
  const mounts: ContainerMount[] = [];
  for (const mount of spec.Mounts ?? []) {
    const target = mount.Target;
    if (!target.startsWith('/') || trimmed(target) === '/') {
      throw new EnxameError('invalid-argument', `mount target "${target}": must be an absolute path below /`);
    }
    if (mount.Type === 'volume') continue;
    mounts.push(plainMount(mount, target, expand));
  }
  const requested = new Map((spec.Mounts ?? []).map((mount) => [trimmed(mount.Target), mount]));
  for (const [target, volume] of volumes) {
    const mount = requested.get(target);
    mounts.push({
      type: 'volume',
      name: volume.name,
      source: input.volumeSource(volume.name),
      target: volume.target,
      readOnly: mount?.ReadOnly ?? false,
      copyUp: !(mount?.VolumeOptions?.NoCopy ?? false),
    });
  }
  // Outer mounts before the ones inside them.
  return mounts.sort((a, b) => (a.target < b.target ? -1 : a.target > b.target ? 1 : 0));
}

function plainMount(mount: Mount, target: string, expand: (text: string) => string): ContainerMount {
  const readOnly = mount.ReadOnly ?? false;
  switch (mount.Type) {
    case 'bind': {
      const source = expand(mount.Source ?? '');
      if (!source.startsWith('/')) {
        throw new EnxameError('invalid-argument', `mount source "${source}": must be an absolute path`);
      }
      const propagation = mount.BindOptions?.Propagation;
      return {
        type: 'bind',
        source,
        target,
        readOnly,
        recursive: !(mount.BindOptions?.NonRecursive ?? false),
        ...(propagation ? { propagation } : {}),
      };
    }
    case 'tmpfs': {
      const { SizeBytes, Mode } = mount.TmpfsOptions ?? {};
      return {
        type: 'tmpfs',
        target,
        readOnly,
        ...(SizeBytes ? { bytesMax: SizeBytes } : {}),
        ...(Mode === undefined ? {} : { mode: Mode }),
      };
    }
    case 'volume':
    case 'npipe':
    case 'cluster':
    case 'image':
      throw new EnxameError(
        'not-implemented',
        `mounts of type ${mount.Type} are not available in this version`,
      );
  }
}

/** `10m`, `512k`, `1g` as Docker's log options have them. */
function bytesOf(text: string | undefined): number | undefined {
  const match = /^(\d+)\s*([kmg]?)b?$/i.exec(text ?? '');
  if (!match) return undefined;
  const factor = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[(match[2] ?? '').toLowerCase()] ?? 1;
  return Number(match[1]) * factor;
}
