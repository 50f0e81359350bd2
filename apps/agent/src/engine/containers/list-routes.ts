/** `docker ps` and `docker inspect`. */
import { parseFilters, queryFlag, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { containerFilterNames, selectContainers } from './container-filters.js';
import { existingContainer } from './container-lookup.js';
import { presentContainer, presentSummary } from './container-views.js';
import type { ContainerRouteDependencies } from './dependencies.js';

export function listRoutes({ runtime, images, execs, nowMs }: ContainerRouteDependencies): Route[] {
  const exposedBy = ({ config }: ContainerState): string[] =>
    Object.keys(images.find(config.image.id)?.config.ExposedPorts ?? {}).sort();
  return [
    {
      method: 'GET',
      path: '/containers/json',
      async handler(request, response) {
        const { query } = request;
        const limit = Number(query.get('limit') || 0);
        if (!Number.isInteger(limit)) {
          throw new EnxameError('invalid-argument', 'invalid limit: must be a whole number');
        }
        const chosen = selectContainers(runtime.list(), {
          filters: parseFilters(query.get('filters'), containerFilterNames),
          showAll: queryFlag(query, 'all'),
          limit,
        });
        const now = nowMs();
        response.json(
          200,
          chosen.map((state) => presentSummary(state, now, exposedBy(state))),
        );
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/json',
      async handler(request, response) {
        const state = existingContainer(runtime, request.params['id']);
        response.json(200, presentContainer(state, execs.ofContainer(state.config.id), exposedBy(state)));
      },
    },
  ];
}
