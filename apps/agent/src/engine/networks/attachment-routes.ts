/** `docker network connect` and `disconnect` for containers of this node. */
import { validateBody, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerState } from '#libs/runtime';
import { IsBoolean, IsObject, IsOptional, IsString } from 'class-validator';
import type { Notify } from '../containers/notices.js';
import { attachmentOf } from '../containers/request/attachments.js';
import { isDefaultNetwork, type ContainerNetworks } from './container-networks.js';
import type { LocalNetworks } from './local-networks.js';

class ConnectDto {
  @IsString() Container!: string;
  @IsOptional() @IsObject() EndpointConfig?: object | null;
}

class DisconnectDto {
  @IsString() Container!: string;
  @IsOptional() @IsBoolean() Force?: boolean;
}

export interface AttachmentRouteOptions {
  networks: LocalNetworks;
  containers: ContainerNetworks;
  /** Throws `not-found`. */
  findContainer(reference: string): ContainerState;
  notify: Notify;
}

export function attachmentRoutes(options: AttachmentRouteOptions): Route[] {
  const { networks, containers, notify } = options;
  const nameOf = (reference: string): { id: string; name: string } => {
    if (isDefaultNetwork(reference)) return { id: reference, name: reference };
    const record = networks.find(reference);
    if (record !== undefined) return record;
    if (reference === 'host' || reference === 'none') {
      throw new EnxameError(
        'invalid-argument',
        `container cannot be disconnected from or connected to ${reference} network`,
      );
    }
    throw new EnxameError(
      'not-found',
      `network ${reference} not found on this node: containers outside services cannot join networks of the cluster in this version`,
    );
  };
  const tell = (action: string, network: { id: string; name: string }, state: ContainerState): void =>
    notify({
      type: 'network',
      action,
      id: network.id,
      attributes: { container: state.config.id, name: network.name, type: 'bridge' },
    });
  return [
    {
      method: 'POST',
      path: '/networks/:id/connect',
      async handler(request, response) {
        const body = validateBody(ConnectDto, await request.json());
        const network = nameOf(request.params['id'] ?? '');
        const state = options.findContainer(body.Container);
        await containers.connect(state, attachmentOf(network.name, body.EndpointConfig, 'EndpointConfig'));
        tell('connect', network, state);
        response.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/networks/:id/disconnect',
      async handler(request, response) {
        const body = validateBody(DisconnectDto, await request.json());
        const network = nameOf(request.params['id'] ?? '');
        const state = options.findContainer(body.Container);
        await containers.disconnect(state, network.name);
        tell('disconnect', network, state);
        response.empty(200);
      },
    },
  ];
}
