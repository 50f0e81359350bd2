/**
 * What a service spec must satisfy beyond the types of its fields. Pure: the view says what is taken. Every refusal
 * names the field and the rule; what Docker has and this version has not is refused as `not-implemented`.
 * Source: SwarmKit `manager/controlapi/service.go`.
 */
import { parseReference } from '#libs/images';
import {
  EnxameError,
  hostNetwork,
  memoryLimitMin,
  nanoCpusMin,
  parseConstraint,
  serviceNameLengthMax,
  serviceNamePattern,
  type ClusterView,
  type HealthConfig,
  type Placement,
  type ResourceRequirements,
  type ServiceSpec,
  type TaskSpec,
} from '#libs/model';
import { findPortConflict } from '#libs/network';
import { checkMounts } from './mount-rules.js';
import { checkPayloadReferences } from './payload-references.js';

/** One Raft entry and one assignment must hold a spec with room to spare. */
const specBytesMax = 1024 * 1024;
const healthDurationMin = 1_000_000;
const spreadPattern = /^(node|engine)\.labels\..+/i;

/** Fields as they come from the wire, beyond what the stored spec knows. */
type UncheckedTask = TaskSpec & {
  PluginSpec?: unknown;
  NetworkAttachmentSpec?: unknown;
};

export function checkServiceSpec(view: ClusterView, spec: ServiceSpec, serviceId?: string): void {
  if (JSON.stringify(spec).length > specBytesMax) {
    throw invalid(`service spec: larger than ${specBytesMax} bytes`);
  }
  checkName(spec.Name);
  checkMode(spec);
  checkTask(spec.TaskTemplate);
  checkPayloadReferences(view, spec.TaskTemplate.ContainerSpec ?? {});
  checkUpdate(spec);
  checkEndpoint(spec);
  checkHostNetwork(spec);
  const conflict = findPortConflict(view, { spec, ...(serviceId === undefined ? {} : { id: serviceId }) });
  if (conflict !== undefined) throw invalid(conflict);
}

function checkName(name: string): void {
  if (name.length > serviceNameLengthMax) {
    throw invalid(`invalid Name: name must be ${serviceNameLengthMax} characters or fewer`);
  }
  if (!serviceNamePattern.test(name)) {
    throw invalid(
      'invalid Name: name must be valid as a DNS name component (letters, digits, and - or _ between them)',
    );
  }
}

function checkMode(spec: ServiceSpec): void {
  const modes = Object.keys(spec.Mode ?? {});
  if (modes.length > 1)
    throw invalid(`invalid Mode: must specify only one service mode, not ${modes.join(' and ')}`);
  if (spec.Mode?.ReplicatedJob !== undefined || spec.Mode?.GlobalJob !== undefined) {
    throw missing('service mode replicated-job and global-job');
  }
  if (spec.Mode?.Global !== undefined && (spec.TaskTemplate.Placement?.MaxReplicas ?? 0) > 0) {
    throw invalid('invalid TaskTemplate.Placement.MaxReplicas: can only be used with replicated mode');
  }
}

function checkTask(task: UncheckedTask): void {
  if (task.PluginSpec !== undefined) throw missing('a service of plugins (TaskTemplate.PluginSpec)');
  if (task.NetworkAttachmentSpec !== undefined) {
    throw missing('a network attachment (TaskTemplate.NetworkAttachmentSpec)');
  }
  if ((task.Runtime ?? '') !== '' && task.Runtime !== 'container') {
    throw missing(`the runtime ${task.Runtime} (TaskTemplate.Runtime)`);
  }
  if (task.ContainerSpec === undefined) {
    throw invalid('invalid TaskTemplate: missing container spec (TaskTemplate.ContainerSpec)');
  }
  checkContainer(task.ContainerSpec);
  checkResources(task.Resources ?? {});
  checkPlacement(task.Placement ?? {});
  checkLogDriver(task.LogDriver);
  for (const network of task.Networks ?? []) {
    if (Object.keys(network.DriverOpts ?? {}).length > 0) {
      throw missing('driver options of a network attachment (TaskTemplate.Networks[].DriverOpts)');
    }
  }
}

function checkContainer(container: NonNullable<TaskSpec['ContainerSpec']>): void {
  const at = 'TaskTemplate.ContainerSpec';
  if ((container.Image ?? '') === '') throw invalid(`invalid ${at}.Image: image reference must be provided`);
  try {
    parseReference(container.Image);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid(`invalid ${at}.Image: "${container.Image}" is not a valid repository/tag: ${why}`);
  }
  if ((container.Isolation ?? '') !== '' && container.Isolation !== 'default') {
    throw invalid(`invalid ${at}.Isolation: only "default" exists on Linux`);
  }
  const privileges: Record<string, unknown> = { ...container.Privileges };
  if (privileges['CredentialSpec'] !== undefined) throw missing(`${at}.Privileges.CredentialSpec`);
  if (privileges['SELinuxContext'] !== undefined) throw missing(`${at}.Privileges.SELinuxContext`);
  if (container.Privileges?.Seccomp?.Mode === 'custom' && !container.Privileges.Seccomp.Profile) {
    throw invalid(`invalid ${at}.Privileges.Seccomp.Profile: mode custom needs a profile`);
  }
  for (const [index, line] of (container.Env ?? []).entries()) {
    if (line.startsWith('=') || line === '' || line.includes('\0')) {
      throw invalid(`invalid ${at}.Env[${index}]: must be NAME=value`);
    }
  }
  if (container.Dir !== undefined && container.Dir !== '' && !container.Dir.startsWith('/')) {
    throw invalid(`invalid ${at}.Dir: must be an absolute path`);
  }
  checkHealth(container.Healthcheck ?? {});
  checkMounts(container.Mounts ?? []);
}

function checkHealth(health: HealthConfig): void {
  const at = 'TaskTemplate.ContainerSpec.Healthcheck';
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health[field] ?? 0;
    if (value !== 0 && value < healthDurationMin) {
      throw invalid(`invalid ${at}.${field}: cannot be less than 1ms`);
    }
  }
  const [kind] = health.Test ?? [];
  if (kind === undefined || kind === '') return;
  if (!['NONE', 'CMD', 'CMD-SHELL'].includes(kind)) {
    throw invalid(`invalid ${at}.Test[0]: must be one of NONE, CMD, CMD-SHELL`);
  }
  if (kind !== 'NONE' && health.Test?.[1] === undefined) {
    throw invalid(`invalid ${at}.Test: ${kind} needs a command`);
  }
}

function checkResources(resources: ResourceRequirements): void {
  for (const part of ['Limits', 'Reservations'] as const) {
    const { NanoCPUs = 0, MemoryBytes = 0 } = resources[part] ?? {};
    const at = `TaskTemplate.Resources.${part}`;
    if (NanoCPUs !== 0 && NanoCPUs < nanoCpusMin) {
      throw invalid(
        `${at}.NanoCPUs: invalid cpu value ${NanoCPUs / 1e9}: Must be at least ${nanoCpusMin / 1e9}`,
      );
    }
    if (MemoryBytes !== 0 && MemoryBytes < memoryLimitMin) {
      throw invalid(`${at}.MemoryBytes: invalid memory value ${MemoryBytes}: Must be at least 4MiB`);
    }
  }
  if ((resources.Reservations?.GenericResources ?? []).length > 0) {
    throw missing('generic resources (TaskTemplate.Resources.Reservations.GenericResources)');
  }
  const { Limits: limits, Reservations: reserved } = resources;
  if ((limits?.MemoryBytes ?? 0) > 0 && (reserved?.MemoryBytes ?? 0) > (limits?.MemoryBytes ?? 0)) {
    throw invalid('invalid TaskTemplate.Resources.Reservations.MemoryBytes: more than the limit');
  }
}

function checkPlacement(placement: Placement): void {
  const at = 'TaskTemplate.Placement';
  for (const [index, text] of (placement.Constraints ?? []).entries()) {
    const parsed = parseConstraint(text);
    if ('error' in parsed) throw invalid(`invalid ${at}.Constraints[${index}]: ${parsed.error}`);
  }
  for (const [index, preference] of (placement.Preferences ?? []).entries()) {
    const descriptor = preference.Spread?.SpreadDescriptor ?? '';
    if (!spreadPattern.test(descriptor)) {
      throw invalid(
        `invalid ${at}.Preferences[${index}].Spread.SpreadDescriptor: must be node.labels.NAME or engine.labels.NAME`,
      );
    }
  }
}

function checkLogDriver(driver: TaskSpec['LogDriver']): void {
  const name = driver?.Name ?? '';
  if (name !== '' && name !== 'json-file') throw missing(`the log driver ${name} (TaskTemplate.LogDriver)`);
  const unknown = Object.keys(driver?.Options ?? {}).filter(
    (option) => option !== 'max-size' && option !== 'max-file',
  );
  if (unknown.length > 0)
    throw missing(`the json-file log option ${unknown[0]} (TaskTemplate.LogDriver.Options)`);
}

function checkUpdate(spec: ServiceSpec): void {
  if (spec.RollbackConfig?.FailureAction === 'rollback') {
    throw invalid('invalid RollbackConfig.FailureAction: must be pause or continue');
  }
}

/** In the node's own network a program's ports are the node's: there is nothing to publish and nothing to join. */
function checkHostNetwork(spec: ServiceSpec): void {
  const networks = spec.TaskTemplate.Networks ?? [];
  if (!networks.some(({ Target }) => Target === hostNetwork)) return;
  if (networks.length > 1) {
    throw invalid('invalid TaskTemplate.Networks: the host network cannot be combined with other networks');
  }
  if ((spec.EndpointSpec?.Ports ?? []).length > 0) {
    throw invalid('invalid EndpointSpec.Ports: a service on the host network cannot publish ports');
  }
}

function checkEndpoint(spec: ServiceSpec): void {
  const { Mode: mode, Ports: ports = [] } = spec.EndpointSpec ?? {};
  const seen = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const at = `EndpointSpec.Ports[${index}]`;
    if (port.TargetPort === undefined) throw invalid(`invalid ${at}.TargetPort: must be from 1 to 65535`);
    const publishMode = port.PublishMode ?? 'ingress';
    if (mode === 'dnsrr' && publishMode === 'ingress') {
      throw invalid(`invalid ${at}: port published with ingress mode can't be used with dnsrr mode`);
    }
    const key = `${port.Protocol ?? 'tcp'}/${port.TargetPort}/${port.PublishedPort ?? 0}/${publishMode}`;
    if (seen.has(key)) throw invalid(`invalid ${at}: duplicate published ports provided`);
    seen.add(key);
  }
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}

function missing(feature: string): EnxameError {
  return new EnxameError('not-implemented', `${feature}: not implemented yet`);
}
