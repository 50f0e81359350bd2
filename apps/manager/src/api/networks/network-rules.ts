/** From the body of `POST /networks/create` to a network's spec, or the words that refuse it. Pure. */
import { EnxameError, type ClusterView, type NetworkSpec } from '#libs/model';
import { findSubnetConflict } from '#libs/network';
import type { NetworkCreateDto } from './network-create.dto.js';

const predefined = ['host', 'none', 'bridge', 'default'];

export function networkSpecOf(view: ClusterView, body: NetworkCreateDto): NetworkSpec {
  refuseMissing(body);
  const name = body.Name;
  if (predefined.includes(name)) {
    throw new EnxameError('forbidden', `operation is not permitted on predefined ${name} network`);
  }
  if (view.networkByName(name) !== undefined) {
    throw new EnxameError('conflict', `network with name ${name} already exists`);
  }
  const [config] = body.IPAM?.Config ?? [];
  const spec: NetworkSpec = {
    Name: name,
    Labels: body.Labels ?? {},
    Driver: 'overlay',
    ...(body.Internal === true ? { Internal: true } : {}),
    ...(body.Attachable === true ? { Attachable: true } : {}),
    ...(body.Options === undefined ? {} : { Options: body.Options }),
    ...(config?.Subnet === undefined
      ? {}
      : {
          IPAM: {
            Driver: 'default',
            Config: [{ Subnet: config.Subnet, ...(config.Gateway ? { Gateway: config.Gateway } : {}) }],
          },
        }),
  };
  const conflict = findSubnetConflict(view, { spec });
  if (conflict !== undefined)
    throw new EnxameError('invalid-argument', `invalid IPAM.Config[0].Subnet: ${conflict}`);
  return spec;
}

function refuseMissing(body: NetworkCreateDto): void {
  const driver = body.Driver ?? '';
  if (driver !== 'overlay' && !(driver === '' && body.Scope === 'swarm')) {
    throw missing(`networks of driver ${driver === '' ? 'bridge' : driver} (use --driver overlay)`);
  }
  if (body.Scope !== undefined && body.Scope !== '' && body.Scope !== 'swarm') {
    throw new EnxameError('invalid-argument', 'invalid Scope: an overlay network has scope swarm');
  }
  if (body.Ingress === true) throw missing('another ingress network (Ingress)');
  if (body.ConfigOnly === true || (body.ConfigFrom?.Network ?? '') !== '') {
    throw missing('config-only networks (ConfigOnly, ConfigFrom)');
  }
  if (body.EnableIPv6 === true) throw missing('IPv6 in networks (EnableIPv6)');
  if (body.EnableIPv4 === false) throw missing('networks without IPv4 (EnableIPv4)');
  if (body.Options !== undefined && Object.hasOwn(body.Options, 'encrypted')) {
    throw missing('encrypted networks (Options.encrypted)');
  }
  const ipam = body.IPAM;
  if ((ipam?.Driver ?? '') !== '' && ipam?.Driver !== 'default')
    throw missing(`the IPAM driver ${ipam?.Driver}`);
  if (Object.keys(ipam?.Options ?? {}).length > 0) throw missing('IPAM.Options');
  if ((ipam?.Config ?? []).length > 1) throw missing('more than one subnet per network (IPAM.Config)');
  const [config] = ipam?.Config ?? [];
  if ((config?.IPRange ?? '') !== '') throw missing('IPAM.Config[0].IPRange');
  if (Object.keys(config?.AuxiliaryAddresses ?? {}).length > 0)
    throw missing('IPAM.Config[0].AuxiliaryAddresses');
}

function missing(feature: string): EnxameError {
  return new EnxameError('not-implemented', `${feature}: not implemented yet`);
}
