/** `/networks` of the whole cluster; each node adds its own two. */
import { anyValue, labelsMatch, parseFilters } from '#libs/docker-api';
import {
  EnxameError,
  hostNetwork,
  isTerminal,
  type ClusterStore,
  type ClusterView,
  type IdSource,
  type Network,
  type NetworkId,
} from '#libs/model';
import { networksOfService } from '#libs/network';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import { bodyOf } from '../edge/body.js';
import { findNetwork } from '../edge/lookup.js';
import { idSourceToken, storeToken } from '../edge/providers.js';
import { NetworkCreateDto } from './network-create.dto.js';
import { networkSpecOf } from './network-rules.js';
import { presentHostNetwork, presentNetwork } from './network.presenter.js';

const filterNames = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

@Controller('networks')
export class NetworksController {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    @Inject(idSourceToken) private readonly newId: IdSource,
  ) {}

  @Get()
  list(@Query('filters') text: string | undefined): unknown {
    const filters = parseFilters(text, filterNames);
    const view = this.store.view();
    const matches = ({ id, spec }: Readonly<Network>): boolean =>
      anyValue(filters, 'id', (value) => id.startsWith(value)) &&
      anyValue(filters, 'name', (value) => spec.Name.includes(value)) &&
      anyValue(filters, 'driver', (value) => value === (spec.Driver ?? 'overlay')) &&
      anyValue(filters, 'scope', (value) => value === 'swarm') &&
      anyValue(filters, 'type', (value) => value === 'custom') &&
      anyValue(filters, 'dangling', (value) => isTrue(value) === (userOf(view, id) === undefined)) &&
      labelsMatch(filters, 'label', spec.Labels);
    return [...view.networks.all()].filter(matches).map(presentNetwork);
  }

  @Get(':id')
  inspect(@Param('id') reference: string): unknown {
    const view = this.store.view();
    if (reference === hostNetwork) return presentHostNetwork(view.cluster?.createdAtMs ?? 0);
    return presentNetwork(requireNetwork(view, reference));
  }

  @Post('create')
  @HttpCode(201)
  async create(@Body(bodyOf(NetworkCreateDto)) body: NetworkCreateDto): Promise<unknown> {
    const id = this.newId<NetworkId>();
    const spec = networkSpecOf(this.store.view(), body);
    await this.store.propose([{ op: 'put', table: 'networks', object: { id, spec, blocks: {} } }]);
    return { Id: id, Warning: '' };
  }

  @Delete(':id')
  @HttpCode(204)
  async remove(@Param('id') reference: string): Promise<void> {
    const view = this.store.view();
    const network = requireNetwork(view, reference);
    if (network.spec.Ingress === true) {
      throw new EnxameError('not-implemented', 'removing the ingress network is not implemented yet');
    }
    const user = userOf(view, network.id);
    if (user !== undefined) {
      throw new EnxameError(
        'failed-precondition',
        `rpc error: code = FailedPrecondition desc = network ${network.id} is in use by ${user}`,
      );
    }
    await this.store.propose([{ op: 'delete', table: 'networks', id: network.id }]);
  }
}

function requireNetwork(view: ClusterView, reference: string): Readonly<Network> {
  const network = findNetwork(view, reference);
  if (network === undefined) throw new EnxameError('not-found', `network ${reference} not found`);
  return network;
}

/** The first service or task that a network is attached to, in words. */
function userOf(view: ClusterView, id: NetworkId): string | undefined {
  for (const service of view.services.all()) {
    const attachments = networksOfService(view, service);
    if ('networks' in attachments && attachments.networks.some((network) => network.id === id)) {
      return `service ${service.id}`;
    }
  }
  for (const task of view.tasks.all()) {
    // Tasks on their way out hold nothing up: `docker stack rm` removes services and networks in one go.
    const stays = task.desiredState === 'running' || task.desiredState === 'ready';
    if (!stays || isTerminal(task.status.state)) continue;
    if (task.networks.some((network) => network.networkId === id)) return `task ${task.id}`;
  }
  return undefined;
}

function isTrue(value: string): boolean {
  return value === 'true' || value === '1';
}
