/** What is answered beside the framework: streams, and the private routes that agents ask. */
import { exchangeOf, proxyTo, streamEvents, type Route } from '#libs/docker-api';
import { describeError, managerOfNode, type ClusterView } from '#libs/model';
import type { ApiDependencies } from './edge/providers.js';
import type { EngineClient } from './engine/engine-client.js';
import { logRoutes } from './logs/log-routes.js';
import { presentClusterInfo } from './swarm/swarm.presenter.js';

const infoWaitMsMax = 1_000;

export function streamRoutes(deps: ApiDependencies, client: EngineClient): Route[] {
  return [
    ...logRoutes({ store: deps.store, client, clock: deps.clock }),
    {
      method: 'GET',
      path: '/events',
      async handler(request, response) {
        const leader = deps.leadership.leading ? undefined : deps.leadership.leaderNode();
        // What happens in the cluster comes together at its leader; only Redis has it everywhere.
        if (leader !== undefined && deps.telemetry.health().kind === 'memory') {
          const query = request.query.toString();
          const path = `${managerOfNode}/events${query === '' ? '' : `?${query}`}`;
          return proxyTo(client.target(leader.id), exchangeOf(request), { path });
        }
        return streamEvents(
          (options) => deps.telemetry.events(options),
          request,
          response,
          deps.clock.nowMs(),
        );
      },
    },
    {
      method: 'GET',
      path: '/_enxame/info',
      async handler(_request, response) {
        let error: string | undefined;
        try {
          await deps.leadership.current(infoWaitMsMax);
        } catch (cause) {
          // `docker info` tells what is known, and why that may be old.
          error = describeError(cause);
        }
        response.json(200, { ...presentInfo(deps.store.view()), ...(error === undefined ? {} : { error }) });
      },
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
