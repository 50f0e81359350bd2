/** `POST /containers/create`. */
import { validateBody, type Route } from '#libs/docker-api';
import { EnxameError, isEnxameError, type ContainerId } from '#libs/model';
import type { ContainerNetwork } from '#libs/runtime';
import { randomBytes } from 'node:crypto';
import { ContainerCreateDto, type HostConfigDto } from './container-create.dto.js';
import { randomContainerName } from './container-name.js';
import { configOf, hostLineOf } from './create-request.js';
import { defaultNetworkName } from './default-network.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { refuseMissingFields } from './missing-fields.js';
import { mountsOf } from './mount-requests.js';

const idBytes = 32;
const nameAttemptsMax = 8;

export function createRoute(deps: ContainerRouteDependencies): Route {
  return {
    method: 'POST',
    path: '/containers/create',
    async handler(request, response) {
      const name = request.query.get('name')?.replace(/^\//, '');
      const id = await createContainer(deps, await request.json(), name);
      response.json(201, { Id: id, Warnings: [] });
    },
  };
}

/** Makes a container as the body of Docker's create asks; without a name it gets one. */
export async function createContainer(
  deps: ContainerRouteDependencies,
  raw: unknown,
  name: string | undefined,
): Promise<ContainerId> {
  const { runtime, images, volumes } = deps;
  const body = validateBody(ContainerCreateDto, raw);
  refuseMissingFields(raw);
  const restart = body.HostConfig?.RestartPolicy?.Name;
  if (restart && restart !== 'no') {
    throw new EnxameError(
      'not-implemented',
      `HostConfig.RestartPolicy ${restart} is not available in this version: services restart their tasks`,
    );
  }
  const image = images.find(body.Image);
  if (image === undefined) throw new EnxameError('not-found', `No such image: ${body.Image}`);
  const id = randomBytes(idBytes).toString('hex') as ContainerId;
  const mounts = await mountsOf({
    host: body.HostConfig ?? {},
    volumeTargets: [...Object.keys(body.Volumes ?? {}), ...Object.keys(image.config.Volumes ?? {})],
    volumes,
  });
  const rootLayers = await images.rootLayers(image.id);
  const base = {
    body,
    raw: raw as Record<string, unknown>,
    id,
    image,
    rootLayers,
    mounts,
    network: networkOf(deps, id, body.HostConfig ?? {}),
    createdAtMs: deps.nowMs(),
  };
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        await runtime.create(configOf({ ...base, name: name || randomContainerName(Math.random, attempt) }));
        break;
      } catch (error) {
        const isTaken = isEnxameError(error) && error.code === 'conflict';
        if (name || !isTaken || attempt === nameAttemptsMax) throw error;
      }
    }
  } finally {
    deps.defaultNetwork?.settled(id);
  }
  return id;
}

function networkOf(
  { defaultNetwork }: ContainerRouteDependencies,
  id: ContainerId,
  host: HostConfigDto,
): ContainerNetwork {
  const names = {
    searchDomains: host.DnsSearch ?? [],
    resolverOptions: host.DnsOptions ?? [],
    hosts: (host.ExtraHosts ?? []).map(hostLineOf),
  };
  const mode = host.NetworkMode || 'default';
  if (mode === 'none' || mode === 'host') {
    return { mode, interfaces: [], nameservers: host.Dns ?? [], ...names };
  }
  if ((mode === 'default' || mode === defaultNetworkName) && defaultNetwork !== undefined) {
    const { interfaces, nameservers } = defaultNetwork.attach(id);
    return {
      mode: 'routed',
      interfaces,
      nameservers: host.Dns?.length ? host.Dns : nameservers,
      ...names,
    };
  }
  throw new EnxameError(
    'not-implemented',
    `containers outside services in the network "${mode}" are not available in this version: use --network bridge, none or host, or a service`,
  );
}
