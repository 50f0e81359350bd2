/** `POST /_enxame/leader`, from a manager that has just begun to lead. */
import type { Route } from '#libs/docker-api';
import { EnxameError, leaderOfNode } from '#libs/model';

export function leaderRoute(leaderIs: (address: string) => void): Route {
  return {
    method: 'POST',
    path: leaderOfNode,
    async handler(request, response) {
      const { address } = ((await request.json()) ?? {}) as { address?: unknown };
      if (typeof address !== 'string' || !/^[^\s:]{1,253}:\d{1,5}$/.test(address)) {
        throw new EnxameError('invalid-argument', 'invalid address: must be host:port');
      }
      leaderIs(address);
      response.empty(200);
    },
  };
}
