/** Which networks a container is to be on, first the one of its network mode. */
import { EnxameError } from '#libs/model';
import { isDefaultNetwork, type AttachRequest } from '../../networks/container-networks.js';
import type { ContainerCreateDto } from './create-body.dto.js';

interface EndpointSettings {
  Aliases?: unknown;
  IPAMConfig?: { IPv4Address?: unknown; IPv6Address?: unknown } | null;
  Links?: unknown;
  MacAddress?: unknown;
  DriverOpts?: unknown;
}

export function attachmentsOf(mode: string, body: ContainerCreateDto): AttachRequest[] {
  const config = objectOf(body.NetworkingConfig, 'NetworkingConfig')['EndpointsConfig'];
  const endpoints = Object.entries(objectOf(config, 'NetworkingConfig.EndpointsConfig'));
  const requests = new Map<string, AttachRequest>();
  // Older clients say `bridge` there and `default` in the mode.
  const key = (name: string): string => (isDefaultNetwork(name) ? 'bridge' : name);
  requests.set(key(mode), { network: mode, aliases: [] });
  for (const [network, value] of endpoints) {
    const at = `NetworkingConfig.EndpointsConfig.${network}`;
    requests.set(key(network), attachmentOf(network, value, at));
  }
  return [...requests.values()];
}

/** `at` names the settings in refusals. */
export function attachmentOf(network: string, value: unknown, at: string): AttachRequest {
  const settings: EndpointSettings = objectOf(value, at);
  const { Aliases: aliases, IPAMConfig: addresses } = settings;
  if (Array.isArray(settings.Links) && settings.Links.length > 0) throw missing(`${at}.Links`);
  if (settings.MacAddress) throw missing(`${at}.MacAddress`);
  if (addresses?.IPv6Address) throw missing(`${at}.IPAMConfig.IPv6Address`);
  const address = addresses?.IPv4Address;
  if (address !== undefined && typeof address !== 'string')
    throw new EnxameError('invalid-argument', `invalid ${at}.IPAMConfig.IPv4Address: must be a string`);
  const names: unknown[] = Array.isArray(aliases) ? aliases : [];
  if (names.some((name) => typeof name !== 'string'))
    throw new EnxameError('invalid-argument', `invalid ${at}.Aliases: must hold strings`);
  if (isDefaultNetwork(network) && names.length > 0) {
    throw new EnxameError(
      'invalid-argument',
      'invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks',
    );
  }
  return { network, aliases: names as string[], ...(address ? { address } : {}) };
}

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new EnxameError('invalid-argument', `invalid ${field}: must be an object`);
  return value as Record<string, unknown>;
}

function missing(what: string): EnxameError {
  return new EnxameError('not-implemented', `${what} is not available in this version`);
}
