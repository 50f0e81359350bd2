/** What is answered beside the framework: streams, and the private routes that agents ask. */
import { streamEvents, type Route } from '#libs/docker-api';
import type { ClusterView } from '#libs/model';
import type { ApiDependencies } from './edge/providers.js';
import type { EngineClient } from './engine/engine-client.js';
import { logRoutes } from './logs/log-routes.js';
import { presentClusterInfo } from './swarm/swarm.presenter.js';

export function streamRoutes(deps: ApiDependencies, client: EngineClient): Route[] {
  return [
    ...logRoutes({ store: deps.store, client, clock: deps.clock }),
    {
      method: 'GET',
      path: '/events',
      handler: (request, response) =>
        streamEvents((options) => deps.telemetry.events(options), request, response, deps.clock.nowMs()),
    },
    {
      method: 'GET',
      path: '/_enxame/info',
      handler: async (_request, response) => response.json(200, presentInfo(deps.store.view())),
    },
  ];
}

/** The cluster's part of `GET /info`. */
export function presentInfo(view: ClusterView): Record<string, unknown> {
  const managers = [...view.nodes.all()].filter((node) => node.manager !== undefined);
  return {
    nodes: view.nodes.size,
    managers: managers.length,
    cluster: presentClusterInfo(view),
    remoteManagers: managers.map((node) => ({ nodeId: node.id, address: node.manager?.address ?? '' })),
  };
}
