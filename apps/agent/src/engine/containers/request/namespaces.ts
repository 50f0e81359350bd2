/** Which namespaces a container shares with the node or with another container. */
import { EnxameError, isEnxameError } from '#libs/model';
import type { ContainerConfig, ContainerNamespaces, NamespaceMode } from '#libs/runtime';
import type { ContainerCreateDto, HostConfigDto } from './create-body.dto.js';

/** The container a reference means. Throws `not-found`. */
export type FindContainer = (reference: string) => ContainerConfig;

export function namespacesOf(
  body: ContainerCreateDto,
  host: HostConfigDto,
  find: FindContainer,
): ContainerNamespaces | undefined {
  const chosen: ContainerNamespaces = {};
  const pid = modeOf(host.PidMode ?? '', 'PID', ['', 'private'], find);
  const ipc = modeOf(host.IpcMode ?? '', 'IPC', ['', 'private', 'shareable', 'none'], find);
  if (pid !== 'private') chosen.pid = pid;
  if (ipc !== 'private') chosen.ipc = ipc;
  if (host.UTSMode === 'host') {
    if (body.Hostname) throw invalid('conflicting options: hostname and the UTS mode');
    chosen.uts = 'host';
  } else if (host.UTSMode) throw invalid(`invalid UTS mode: ${host.UTSMode}`);
  if (host.CgroupnsMode === 'host') chosen.cgroup = 'host';
  else if (host.CgroupnsMode && host.CgroupnsMode !== 'private')
    throw invalid(`invalid cgroup namespace mode: ${host.CgroupnsMode}`);
  const joined = containerOf(host.NetworkMode ?? '');
  if (joined !== undefined) {
    checkJoinedNetwork(body, host);
    chosen.network = { container: find(joined).id };
  }
  if (host.UsernsMode && host.UsernsMode !== 'host')
    throw invalid(`invalid user namespace mode: ${host.UsernsMode}`);
  return Object.keys(chosen).length === 0 ? undefined : chosen;
}

/** The reference in `container:NAME`. */
export function containerOf(mode: string): string | undefined {
  if (mode !== 'container' && !mode.startsWith('container:')) return undefined;
  const reference = mode.slice('container:'.length);
  if (reference === '') throw invalid('invalid container format container:<name|id>');
  return reference;
}

function modeOf(text: string, what: string, own: readonly string[], find: FindContainer): NamespaceMode {
  if (own.includes(text)) return 'private';
  if (text === 'host') return 'host';
  const joined = text.startsWith('container:') ? text.slice('container:'.length) : '';
  if (joined === '') throw invalid(`invalid ${what} mode: ${text}`);
  return { container: named(joined, find).id };
}

/** A container that is not there is a wrong word of the request, not a missing place. */
export function named(reference: string, find: FindContainer): ContainerConfig {
  try {
    return find(reference);
  } catch (error) {
    if (!isEnxameError(error) || error.code !== 'not-found') throw error;
    throw new EnxameError('invalid-argument', error.message, { cause: error });
  }
}

function checkJoinedNetwork(body: ContainerCreateDto, host: HostConfigDto): void {
  const conflict = (what: string): EnxameError =>
    invalid(`conflicting options: ${what} and the network mode`);
  if (body.Hostname) throw conflict('hostname');
  if (host.Links?.length)
    throw invalid(
      "conflicting options: container type network can't be used with links. This would result in undefined behavior",
    );
  if (host.Dns?.length) throw conflict('dns');
  if (host.ExtraHosts?.length)
    throw invalid('conflicting options: custom host-to-IP mapping and the network mode');
  if (Object.keys(host.PortBindings ?? {}).length > 0 || host.PublishAllPorts)
    throw invalid('conflicting options: port publishing and the container type network mode');
  if (Object.keys(body.ExposedPorts ?? {}).length > 0)
    throw invalid('conflicting options: port exposing and the container type network mode');
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}
