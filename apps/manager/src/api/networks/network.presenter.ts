/** A network of the cluster as `/networks` shows it. */
import { rfc3339Nano } from '#libs/docker-api';
import { hostNetwork, type Network, type NetworkId } from '#libs/model';

export function presentNetwork(network: Readonly<Network>): Record<string, unknown> {
  const { spec, subnet, vni } = network;
  const asked = spec.IPAM?.Config?.[0];
  const config = subnet === undefined ? asked : { ...asked, Subnet: subnet };
  return {
    Name: spec.Name,
    Id: network.id,
    Created: rfc3339Nano(network.createdAtMs),
    Scope: 'swarm',
    Driver: spec.Driver ?? 'overlay',
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: config === undefined ? null : [config] },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: spec.Ingress ?? false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: {
      ...spec.Options,
      ...(vni === undefined ? {} : { 'com.docker.network.driver.overlay.vxlanid_list': String(vni) }),
    },
    Labels: spec.Labels ?? {},
  };
}

/** Every node's own, under one id: what the docker CLI asks for before it makes a service with `--network host`. */
export function presentHostNetwork(createdAtMs: number): Record<string, unknown> {
  return presentNetwork({
    id: hostNetwork as NetworkId,
    spec: { Name: hostNetwork, Driver: 'host' },
    blocks: {},
    version: 0,
    createdAtMs,
    updatedAtMs: createdAtMs,
  });
}
