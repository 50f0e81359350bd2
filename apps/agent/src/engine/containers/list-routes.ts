/** `docker ps` and `docker inspect`. */
import { parseFilters, queryFlag, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerPort, ContainerState } from '#libs/runtime';
import { containerFilterNames, selectContainers } from './container-filters.js';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { presentContainer, presentSummary, type ContainerSizes } from './view/container-view.js';

export function listRoutes(deps: ContainerRouteDependencies): Route[] {
  const { runtime, images, execs, nowMs } = deps;
  const exposedBy = ({ config }: ContainerState): string[] => {
    const shown = config.inspect?.config as { ExposedPorts?: object } | undefined;
    const ports = shown?.ExposedPorts ?? images.find(config.image.id)?.config.ExposedPorts ?? {};
    return Object.keys(ports).sort();
  };
  const portsOf = ({ config }: ContainerState): ContainerPort[] => deps.networks?.portsShown(config) ?? [];
  const sizesOf = async (state: ContainerState): Promise<ContainerSizes> => ({
    written: await runtime.writtenBytes(state.config.id),
    image: images.find(state.config.image.id)?.sizeBytes ?? 0,
  });
  return [
    {
      method: 'GET',
      path: '/containers/json',
      async handler(request, response) {
        const { query } = request;
        const limit = Number(query.get('limit') || 0);
        if (!Number.isInteger(limit)) {
          throw new EnxameError(
            'invalid-argument',
            `strconv.Atoi: parsing ${JSON.stringify(query.get('limit'))}: invalid syntax`,
          );
        }
        const chosen = selectContainers(runtime.list(), {
          filters: parseFilters(query.get('filters'), containerFilterNames),
          showAll: queryFlag(query, 'all'),
          limit,
          imageId: (reference) => images.find(reference)?.id,
          exposed: exposedBy,
        });
        const withSizes = queryFlag(query, 'size');
        const now = nowMs();
        const summaries: object[] = [];
        for (const state of chosen) {
          summaries.push(
            presentSummary(state, {
              nowMs: now,
              exposed: exposedBy(state),
              ports: portsOf(state),
              image: imageShown(deps, state),
              ...(withSizes ? { sizes: await sizesOf(state) } : {}),
            }),
          );
        }
        response.json(200, summaries);
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/json',
      async handler(request, response) {
        const state = existingContainer(runtime, request.params['id']);
        const withSizes = queryFlag(request.query, 'size');
        response.json(
          200,
          presentContainer(state, {
            execIds: execs.ofContainer(state.config.id),
            exposed: exposedBy(state),
            ports: portsOf(state),
            ...(withSizes ? { sizes: await sizesOf(state) } : {}),
          }),
        );
      },
    },
  ];
}

/** The name it was made of, as long as that name still means the same image. */
function imageShown({ images }: ContainerRouteDependencies, { config }: ContainerState): string {
  const { id, reference } = config.image;
  const found = images.find(reference);
  return found === undefined || found.id !== id
    ? images.find(id) === undefined
      ? reference
      : id
    : reference;
}
