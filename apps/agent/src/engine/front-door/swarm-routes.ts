/** Coming to a cluster and leaving it are the node's own business, also where it has no manager. */
import { exchangeOf, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { NodeStatus } from '../system/node-status.js';
import type { ClusterForward } from './cluster-forward.js';

const alreadyIn =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';

export function swarmRoutes(status: () => NodeStatus, forward: ClusterForward): Route[] {
  const refuse = (path: string, feature: string): Route => ({
    method: 'POST',
    path,
    async handler() {
      if (path !== '/swarm/leave' && status().state !== 'inactive') {
        throw new EnxameError('not-manager', alreadyIn);
      }
      throw new EnxameError(
        'not-implemented',
        `${feature} is not implemented yet; a node comes to its cluster by its configuration`,
      );
    },
  });
  return [
    refuse('/swarm/init', 'docker swarm init'),
    refuse('/swarm/join', 'docker swarm join'),
    refuse('/swarm/leave', 'docker swarm leave'),
    {
      method: 'POST',
      path: '/swarm/unlock',
      handler: (request) => forward.pass(exchangeOf(request)),
    },
  ];
}
