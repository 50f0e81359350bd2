/** Coming to a cluster and leaving it are the node's own business, also where it has no manager. */
import { exchangeOf, queryFlag, validateBody, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { SwarmInitDto, SwarmJoinDto } from '../../swarm/swarm-requests.dto.js';
import type { ClusterForward } from './cluster-forward.js';

/** The verbs, each as the node carries it out. */
export interface SwarmVerbs {
  /** Resolves with the id of this node. */
  init(request: SwarmInitDto): Promise<string>;
  join(request: SwarmJoinDto): Promise<void>;
  leave(force: boolean): Promise<void>;
}

export function swarmRoutes(swarm: SwarmVerbs, forward: ClusterForward): Route[] {
  const verb = (path: string, handler: Route['handler']): Route => ({
    method: 'POST',
    path,
    async handler(request, response) {
      if (request.caller.kind !== 'local') {
        throw new EnxameError('forbidden', 'only this machine may bring the node to a cluster or out of it');
      }
      await handler(request, response);
    },
  });
  return [
    verb('/swarm/init', async (request, response) => {
      response.json(200, await swarm.init(validateBody(SwarmInitDto, (await request.json()) ?? {})));
    }),
    verb('/swarm/join', async (request, response) => {
      await swarm.join(validateBody(SwarmJoinDto, (await request.json()) ?? {}));
      response.empty(200);
    }),
    verb('/swarm/leave', async (request, response) => {
      await swarm.leave(queryFlag(request.query, 'force'));
      response.empty(200);
    }),
    {
      method: 'POST',
      path: '/swarm/unlock',
      handler: (request) => forward.pass(exchangeOf(request)),
    },
  ];
}
