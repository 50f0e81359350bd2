/** `POST /containers/create`. */
import { validateBody, type Route } from '#libs/docker-api';
import { EnxameError, isEnxameError, type ContainerId } from '#libs/model';
import type { ContainerConfig, ContainerMount, ContainerNetwork } from '#libs/runtime';
import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import { existingContainer } from './container-lookup.js';
import { randomContainerName } from './container-name.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { checkRequest, configOf, hostLineOf } from './request/container-config.js';
import { ContainerCreateDto } from './request/create-body.dto.js';
import { mountsOf } from './request/mount-requests.js';
import { attachmentsOf } from './request/attachments.js';
import { containerOf, namespacesOf } from './request/namespaces.js';
import { checkPlatform, platformWarnings } from './request/platform.js';
import { warningsOf } from './request/resources.js';

const idBytes = 32;
const nameAttemptsMax = 8;

export function createRoute(deps: ContainerRouteDependencies): Route {
  return {
    method: 'POST',
    path: '/containers/create',
    async handler(request, response) {
      const raw = await request.json();
      const made = await createContainer(deps, asClientMeant(raw, request.version), {
        name: request.query.get('name')?.replace(/^\//, ''),
        platform: request.query.get('platform') ?? '',
      });
      response.json(201, { Id: made.id, Warnings: made.warnings });
    },
  };
}

/** Nothing about the container itself. */
function isEmptyConfig(raw: unknown): boolean {
  if (typeof raw !== 'object' || raw === null) return false;
  return Object.keys(raw).every((name) => name === 'HostConfig' || name === 'NetworkingConfig');
}

/** Clients before 1.40 share a container's memory with whoever joins, unless they say otherwise. */
function asClientMeant(raw: unknown, [, minor]: readonly [number, number]): unknown {
  const body = raw as { HostConfig?: { IpcMode?: unknown } | null } | null | undefined;
  if (minor >= 40 || typeof body !== 'object' || body === null || body.HostConfig?.IpcMode) return raw;
  return { ...body, HostConfig: { ...body.HostConfig, IpcMode: 'shareable' } };
}

/** Makes a container as the body of Docker's create asks; without a name it gets one. */
export async function createContainer(
  deps: ContainerRouteDependencies,
  raw: unknown,
  options: { name?: string | undefined; platform?: string } = {},
): Promise<{ id: ContainerId; warnings: string[] }> {
  const { images, volumes, runtime } = deps;
  if (raw === undefined || raw === null || isEmptyConfig(raw))
    throw new EnxameError('invalid-argument', 'config cannot be empty in order to create a container');
  const body = validateBody(ContainerCreateDto, raw);
  const host = body.HostConfig ?? {};
  checkRequest(body);
  const reference = body.Image ?? '';
  const hasProgram = [body.Cmd, body.Entrypoint].some((argv) => argv?.some((word) => word !== ''));
  if (reference === '' && !hasProgram) throw new EnxameError('invalid-argument', 'no command specified');
  const image = images.find(reference);
  if (image === undefined) throw new EnxameError('not-found', `No such image: ${tagged(reference)}`);
  checkPlatform(options.platform ?? '', reference, image);
  const find = (name: string): ContainerConfig => existingContainer(runtime, name).config;
  const namespaces = namespacesOf(body, host, find);
  const id = randomBytes(idBytes).toString('hex') as ContainerId;
  const before = new Set(volumes.list().map(({ name }) => name));
  const mounts = await mountsOf({
    host,
    volumeTargets: [...Object.keys(body.Volumes ?? {}), ...Object.keys(image.config.Volumes ?? {})],
    volumes,
    nodeRoot: deps.stateDir,
    find,
  });
  try {
    const base = {
      body,
      id,
      image,
      rootLayers: await images.rootLayers(image.id),
      mounts,
      namespaces,
      machine: { cpus: availableParallelism(), hostname: hostname() },
      network: networkOf(deps, id, body, [
        ...new Set([
          ...Object.keys(body.ExposedPorts ?? {}),
          ...Object.keys(image.config.ExposedPorts ?? {}),
        ]),
      ]),
      createdAtMs: deps.nowMs(),
    };
    await createNamed(deps, options.name, (name) => configOf({ ...base, name }));
  } catch (error) {
    await dropVolumes(deps, mounts, before);
    throw error;
  } finally {
    deps.networks?.settled(id);
  }
  for (const mount of mounts) {
    if (mount.type === 'volume' && !before.has(mount.name))
      deps.notify({ type: 'volume', action: 'create', id: mount.name, attributes: { driver: 'local' } });
  }
  const warnings = [...platformWarnings(options.platform ?? '', image), ...warningsOf(host)];
  return { id, warnings };
}

/** A name of the node's own choice may be taken: another one is tried then. */
async function createNamed(
  { runtime }: ContainerRouteDependencies,
  given: string | undefined,
  config: (name: string) => ContainerConfig,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await runtime.create(config(given || randomContainerName(Math.random, attempt)));
      return;
    } catch (error) {
      const isTaken = isEnxameError(error) && error.code === 'conflict';
      if (given || !isTaken || attempt === nameAttemptsMax) throw error;
    }
  }
}

/** Anonymous volumes of a container that was not made after all. */
async function dropVolumes(
  { volumes, log }: ContainerRouteDependencies,
  mounts: readonly ContainerMount[],
  before: ReadonlySet<string>,
): Promise<void> {
  for (const mount of mounts) {
    if (mount.type !== 'volume' || before.has(mount.name)) continue;
    if (volumes.get(mount.name)?.anonymous !== true) continue;
    try {
      await volumes.remove(mount.name);
    } catch (error) {
      log(error, `remove volume ${mount.name} of a container that was refused`);
    }
  }
}

/** As Docker names it when nobody said a tag. */
function tagged(reference: string): string {
  const last = reference.slice(reference.lastIndexOf('/') + 1);
  return last.includes(':') || last.includes('@') ? reference : `${reference}:latest`;
}

function networkOf(
  { networks }: ContainerRouteDependencies,
  id: ContainerId,
  body: ContainerCreateDto,
  exposed: readonly string[],
): ContainerNetwork {
  const host = body.HostConfig ?? {};
  const mode = host.NetworkMode || 'default';
  const joins = containerOf(mode) !== undefined;
  const isAlone = mode === 'none' || mode === 'host' || joins;
  const attached =
    isAlone || networks === undefined ? undefined : networks.attach(id, attachmentsOf(mode, body));
  const gateway = attached?.interfaces[0]?.gateway ?? '127.0.0.1';
  const names = {
    searchDomains: host.DnsSearch ?? [],
    resolverOptions: host.DnsOptions ?? [],
    hosts: (host.ExtraHosts ?? []).map((text) => hostLineOf(text, gateway)),
  };
  if (isAlone) {
    return {
      mode: mode === 'host' ? 'host' : 'none',
      interfaces: [],
      nameservers: host.Dns ?? [],
      ...names,
    };
  }
  if (attached === undefined || networks === undefined)
    throw new EnxameError('invalid-argument', `network ${mode} not found`);
  const isOnBridgeOnly = attached.interfaces.every(({ network }) => network === undefined);
  return {
    mode: 'routed',
    interfaces: attached.interfaces,
    // Where names are answered, the node's own server passes on what it does not know.
    nameservers: host.Dns?.length && isOnBridgeOnly ? host.Dns : attached.nameservers,
    ...names,
    ports: networks.ports(id, {
      bindings: host.PortBindings ?? {},
      publishAll: host.PublishAllPorts ?? false,
      exposed,
    }),
  };
}
