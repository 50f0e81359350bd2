/** `GET /events`: of the whole cluster where this node has a manager, of this node elsewhere. */
import { exchangeOf, proxyTo, streamEvents, type Route } from '#libs/docker-api';
import { isEnxameError, type NodeConfig } from '#libs/model';
import type { Telemetry } from '#libs/telemetry';

export interface EventRouteDependencies {
  config: NodeConfig;
  telemetry: Telemetry;
  hasManager(): boolean;
  nowMs(): number;
}

export function eventRoutes(deps: EventRouteDependencies): Route[] {
  return [
    {
      method: 'GET',
      path: '/events',
      async handler(request, response) {
        if (request.caller.kind === 'local' && deps.hasManager()) {
          try {
            await proxyTo({ socketPath: deps.config.managerSocket }, exchangeOf(request));
            return;
          } catch (error) {
            // The manager is restarting: this node's own events are better than none.
            if (!isEnxameError(error) || error.code !== 'unavailable') throw error;
          }
        }
        await streamEvents((options) => deps.telemetry.events(options), request, response, deps.nowMs());
      },
    },
  ];
}
