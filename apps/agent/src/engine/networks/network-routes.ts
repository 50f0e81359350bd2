/** `/networks`: the node's predefined ones, those its users made, and the cluster's, which the manager keeps. */
import {
  exchangeOf,
  labelsMatch,
  parseFilters,
  peekJson,
  rfc3339Nano,
  validateBody,
  type Route,
} from '#libs/docker-api';
import { EnxameError, type ContainerInterface, type NodeConfig } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { ContainerConfig } from '#libs/runtime';
import { createHash } from 'node:crypto';
import type { Notify } from '../containers/notices.js';
import type { ClusterForward } from '../front-door/cluster-forward.js';
import { defaultNetworkName, type ContainerNetworks } from './container-networks.js';
import { gatewayIn } from './gateway.js';
import type { LocalNetworkRecord, LocalNetworks } from './local-networks.js';
import { checkLocalRequest, isLocalRequest, LocalNetworkCreateDto } from './network-create.dto.js';
import { prunableBy, pruneClusterNetworks, pruneFilterNames } from './network-prune.js';

const waitMs = 10_000;
const networkFilterNames = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'] as const;

export interface NetworkRouteOptions {
  config: NodeConfig;
  startedAtMs: number;
  forward: ClusterForward;
  network: Pick<NodeNetwork, 'localSubnet' | 'findSubnet'>;
  networks: LocalNetworks;
  containers: ContainerNetworks;
  notify: Notify;
  nowMs(): number;
}

type User = { config: ContainerConfig; link: ContainerInterface };

/** Any network of this node, in one shape. */
interface Own {
  id: string;
  name: string;
  driver: 'bridge' | 'host' | 'null';
  isPredefined: boolean;
  createdAtMs: number;
  record?: LocalNetworkRecord;
  users(): User[];
}

export function networkRoutes(options: NetworkRouteOptions): Route[] {
  const { config, startedAtMs, forward, networks, containers, notify } = options;
  const predefined: Own[] = (['bridge', 'host', 'null'] as const).map((driver) => {
    const name = driver === 'null' ? 'none' : driver;
    return {
      id: idOf(config, name),
      name,
      driver,
      isPredefined: true,
      createdAtMs: startedAtMs,
      users: () => (name === defaultNetworkName ? containers.usersOfBridge() : []),
    };
  });
  const ownOf = (record: LocalNetworkRecord): Own => ({
    ...record,
    driver: 'bridge',
    isPredefined: false,
    record,
    users: () => containers.usersOf(record),
  });
  const find = (reference: string): Own | undefined => {
    const fixed = predefined.find(({ name, id }) => name === reference || id === reference);
    const record = fixed === undefined ? networks.find(reference) : undefined;
    return fixed ?? (record && ownOf(record));
  };
  const addressing = (own: Own): object[] | null => {
    const { record } = own;
    if (record !== undefined) return [{ Subnet: record.subnet, Gateway: record.gateway }];
    if (own.driver !== 'bridge') return null;
    const subnet = options.network.localSubnet();
    return subnet === undefined ? [] : [{ Subnet: subnet, Gateway: config.network.linkLocalGateway }];
  };
  const present = (own: Own, withUsers: boolean): Record<string, unknown> => ({
    Name: own.name,
    Id: own.id,
    Created: rfc3339Nano(own.createdAtMs),
    Scope: 'local',
    Driver: own.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: own.record ? {} : null, Config: addressing(own) },
    Internal: own.record?.internal ?? false,
    Attachable: own.record?.attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: withUsers ? Object.fromEntries(own.users().map(presentUser)) : {},
    Options: own.record?.options ?? {},
    Labels: own.record?.labels ?? {},
  });

  const list: Route['handler'] = async (request, response) => {
    const filters = parseFilters(request.query.get('filters'), networkFilterNames);
    const own = [...predefined, ...networks.list().map(ownOf)].filter(
      ({ name, id, driver, isPredefined, record, users }) =>
        has(filters.get('name'), (value) => name.includes(value)) &&
        has(filters.get('id'), (value) => id.startsWith(value)) &&
        has(filters.get('driver'), (value) => driver === value) &&
        has(filters.get('scope'), (value) => value === 'local') &&
        has(filters.get('type'), (value) => value === (isPredefined ? 'builtin' : 'custom')) &&
        has(
          filters.get('dangling'),
          (value) => (value === 'true' || value === '1') === (!isPredefined && users().length === 0),
        ) &&
        labelsMatch(filters, 'label', record?.labels ?? {}),
    );
    const cluster = await clusterNetworks(request.query);
    response.json(200, [...cluster, ...own.map((each) => present(each, false))]);
  };

  return [
    { method: 'GET', path: '/networks', handler: list },
    // Docker answers this one of its lists with a slash behind, too.
    { method: 'GET', path: '/networks/', handler: list },
    {
      method: 'GET',
      path: '/networks/:id',
      async handler(request, response) {
        const reference = request.params['id'] ?? '';
        const own = request.query.get('scope') === 'swarm' ? undefined : find(reference);
        if (own !== undefined) return response.json(200, present(own, true));
        if (!forward.hasManager()) throw new EnxameError('not-found', `network ${reference} not found`);
        return forward.pass(exchangeOf(request));
      },
    },
    {
      method: 'POST',
      path: '/networks/create',
      async handler(request, response) {
        const { body, exchange } = await peekJson(request);
        if (!isLocalRequest((body ?? {}) as { Driver?: unknown })) return forward.pass(exchange);
        response.json(201, { Id: await create(validateBody(LocalNetworkCreateDto, body)), Warning: '' });
      },
    },
    {
      method: 'POST',
      path: '/networks/prune',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), pruneFilterNames);
        const prunable = prunableBy(filters, options.nowMs());
        const ofCluster = forward.hasManager()
          ? await pruneClusterNetworks((method, path) => forward.call(method, path, waitMs), prunable)
          : [];
        const unused = networks
          .list()
          .filter((record) => containers.usersOf(record).length === 0 && prunable(record));
        for (const record of unused) await remove(record);
        response.json(200, { NetworksDeleted: [...ofCluster, ...unused.map(({ name }) => name)] });
      },
    },
    {
      method: 'DELETE',
      path: '/networks/:id',
      async handler(request, response) {
        const reference = request.params['id'] ?? '';
        const own = find(reference);
        if (own?.isPredefined) {
          throw new EnxameError('forbidden', `${reference} is a pre-defined network and cannot be removed`);
        }
        if (own?.record === undefined) return forward.pass(exchangeOf(request));
        const users = own.users();
        if (users.length > 0) {
          const names = users.map((user) => `name:"${user.config.name}" id:"${user.config.id.slice(0, 12)}"`);
          throw new EnxameError(
            'forbidden',
            `error while removing network: network ${own.name} has active endpoints (${names.join(', ')})`,
          );
        }
        await remove(own.record);
        response.empty(204);
      },
    },
  ];

  async function create(body: LocalNetworkCreateDto): Promise<string> {
    checkLocalRequest(body);
    if (predefined.some(({ name }) => name === body.Name)) {
      throw new EnxameError('forbidden', `operation is not permitted on predefined ${body.Name} network`);
    }
    const [asked] = body.IPAM?.Config ?? [];
    const subnet = await options.network.findSubnet(asked?.Subnet || undefined);
    const record = networks.add({
      name: body.Name,
      subnet,
      gateway: gatewayIn(subnet, asked?.Gateway),
      internal: body.Internal ?? false,
      attachable: body.Attachable ?? false,
      labels: body.Labels ?? {},
      options: body.Options ?? {},
      createdAtMs: options.nowMs(),
    });
    try {
      await containers.apply();
    } catch (error) {
      networks.remove(record.id);
      throw error;
    }
    tell(record, 'create');
    return record.id;
  }

  async function remove(record: LocalNetworkRecord): Promise<void> {
    networks.remove(record.id);
    await containers.apply();
    tell(record, 'destroy');
  }

  function tell({ id, name }: LocalNetworkRecord, action: string): void {
    notify({ type: 'network', action, id, attributes: { name, type: 'bridge' } });
  }

  async function clusterNetworks(query: URLSearchParams): Promise<unknown[]> {
    if (!forward.hasManager()) return [];
    const { status, body } = await forward.read(`/networks?${query.toString()}`, waitMs);
    if (status !== 200 || !Array.isArray(body)) {
      throw new EnxameError('unavailable', `the manager answered ${status} for the cluster's networks`);
    }
    return body;
  }
}

function presentUser({ config, link }: User): [string, Record<string, unknown>] {
  const length = link.subnet.split('/')[1] ?? '32';
  return [
    config.id,
    {
      Name: config.name,
      EndpointID: endpointId(config.id, link.network?.id ?? ''),
      MacAddress: '',
      IPv4Address: `${link.address}/${length}`,
      IPv6Address: '',
    },
  ];
}

export function endpointId(containerId: string, networkId: string): string {
  return createHash('sha256').update(`${containerId}/${networkId}`).digest('hex');
}

function has(values: readonly string[] | undefined, accepts: (value: string) => boolean): boolean {
  return values === undefined || values.some(accepts);
}

function idOf(config: NodeConfig, name: string): string {
  return createHash('sha256').update(`${config.clusterName}/${config.nodeName}/${name}`).digest('hex');
}
