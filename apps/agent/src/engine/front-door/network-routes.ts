/** `/networks`: the node's predefined networks, and the cluster's, which the manager keeps. */
import { exchangeOf, labelsMatch, parseFilters, type Route } from '#libs/docker-api';
import { EnxameError, type NodeConfig } from '#libs/model';
import { createHash } from 'node:crypto';
import type { ClusterForward } from './cluster-forward.js';

const waitMs = 10_000;
export const networkFilterNames = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'] as const;

interface PredefinedNetwork {
  Name: 'bridge' | 'host' | 'none';
  Id: string;
  Driver: 'bridge' | 'host' | 'null';
}

export interface NetworkRouteOptions {
  config: NodeConfig;
  startedAtMs: number;
  forward: ClusterForward;
  /** Of the node's own network; absent until there is one. */
  localSubnet(): string | undefined;
}

export function networkRoutes(options: NetworkRouteOptions): Route[] {
  const { config, startedAtMs, forward } = options;
  const predefined: PredefinedNetwork[] = [
    { Name: 'bridge', Id: idOf(config, 'bridge'), Driver: 'bridge' },
    { Name: 'host', Id: idOf(config, 'host'), Driver: 'host' },
    { Name: 'none', Id: idOf(config, 'none'), Driver: 'null' },
  ];
  const present = (network: PredefinedNetwork): Record<string, unknown> => ({
    ...network,
    Created: new Date(startedAtMs).toISOString(),
    Scope: 'local',
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: network.Name === 'bridge' ? addressing() : null },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: {},
    Options: {},
    Labels: {},
  });
  const addressing = (): { Subnet: string; Gateway: string }[] => {
    const subnet = options.localSubnet();
    return subnet === undefined ? [] : [{ Subnet: subnet, Gateway: config.network.linkLocalGateway }];
  };
  const find = (reference: string): PredefinedNetwork | undefined =>
    predefined.find(({ Name, Id }) => Name === reference || Id === reference);

  return [
    {
      method: 'GET',
      path: '/networks',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), networkFilterNames);
        const own = predefined.filter(
          ({ Name, Id, Driver }) =>
            has(filters.get('name'), (value) => Name.includes(value)) &&
            has(filters.get('id'), (value) => Id.startsWith(value)) &&
            has(filters.get('driver'), (value) => Driver === value) &&
            has(filters.get('scope'), (value) => value === 'local') &&
            has(filters.get('type'), (value) => value === 'builtin') &&
            has(filters.get('dangling'), (value) => value === 'false' || value === '0') &&
            labelsMatch(filters, 'label', {}),
        );
        response.json(200, [...(await clusterNetworks(request.query)), ...own.map(present)]);
      },
    },
    {
      method: 'GET',
      path: '/networks/:id',
      async handler(request, response) {
        const reference = request.params['id'] ?? '';
        const network = request.query.get('scope') === 'swarm' ? undefined : find(reference);
        if (network !== undefined) return response.json(200, present(network));
        if (!forward.hasManager()) throw new EnxameError('not-found', `network ${reference} not found`);
        return forward.pass(exchangeOf(request));
      },
    },
    {
      method: 'POST',
      path: '/networks/create',
      // The manager tells overlay networks from those that are not there yet.
      handler: (request) => forward.pass(exchangeOf(request)),
    },
    {
      method: 'DELETE',
      path: '/networks/:id',
      async handler(request) {
        const reference = request.params['id'] ?? '';
        if (find(reference) !== undefined) {
          throw new EnxameError('forbidden', `${reference} is a pre-defined network and cannot be removed`);
        }
        return forward.pass(exchangeOf(request));
      },
    },
  ];

  async function clusterNetworks(query: URLSearchParams): Promise<unknown[]> {
    if (!forward.hasManager()) return [];
    const { status, body } = await forward.read(`/networks?${query.toString()}`, waitMs);
    if (status !== 200 || !Array.isArray(body)) {
      throw new EnxameError('unavailable', `the manager answered ${status} for the cluster's networks`);
    }
    return body;
  }
}

function has(values: readonly string[] | undefined, accepts: (value: string) => boolean): boolean {
  return values === undefined || values.some(accepts);
}

function idOf(config: NodeConfig, name: string): string {
  return createHash('sha256').update(`${config.clusterName}/${config.nodeName}/${name}`).digest('hex');
}
