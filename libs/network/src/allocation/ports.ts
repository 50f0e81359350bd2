/** Published ports: who has which, and the numbers of those that users left open. */
import { dynamicPortRange } from '#libs/model';
import type { ClusterView, PortConfig, Service, ServiceEndpoint, ServiceSpec } from '#libs/model';

export type ResolvedPort = ServiceEndpoint['ports'][number];
type PortKey = string;

function keyOf(port: { Protocol?: string; PublishedPort?: number }): PortKey {
  return `${port.PublishedPort ?? 0}/${port.Protocol ?? 'tcp'}`;
}

function publishMode(port: PortConfig): 'ingress' | 'host' {
  return port.PublishMode ?? 'ingress';
}

/** A service's published ports as others must respect them: what is allocated, and what its spec asks by number. */
function claimedPorts(service: Readonly<Service>): PortConfig[] {
  const asked = (service.spec.EndpointSpec?.Ports ?? []).filter((port) => port.PublishedPort);
  return [...asked, ...(service.endpoint?.ports ?? [])];
}

/**
 * The words that refuse a spec's ports, or undefined when they are free. An ingress port is taken on every node, so
 * it excludes every other use; host ports of two services may meet, and the scheduler keeps them on different nodes.
 */
export function findPortConflict(
  view: ClusterView,
  service: { id?: string; spec: ServiceSpec },
): string | undefined {
  const ingress = new Set<PortKey>();
  const host = new Set<PortKey>();
  for (const port of service.spec.EndpointSpec?.Ports ?? []) {
    if (!port.PublishedPort) continue;
    const key = keyOf(port);
    if (ingress.has(key) || host.has(key)) {
      return `EndpointSpec: duplicate published ports provided: '${key}'`;
    }
    (publishMode(port) === 'ingress' ? ingress : host).add(key);
  }
  if (ingress.size + host.size === 0) return undefined;
  for (const other of view.services.all()) {
    if (other.id === service.id) continue;
    for (const port of claimedPorts(other)) {
      const key = keyOf(port);
      const byHost = publishMode(port) === 'host';
      if (byHost ? !ingress.has(key) : !ingress.has(key) && !host.has(key)) continue;
      const how = byHost ? 'a host-published port' : 'an ingress port';
      return `port '${port.PublishedPort}' is already in use by service '${other.spec.Name}' (${other.id}) as ${how}`;
    }
  }
  return undefined;
}

/** All ports of the cluster during one allocation pass. */
export class PortRegistry {
  private readonly ingressOwner = new Map<PortKey, string>();
  private readonly hostOwners = new Map<PortKey, Set<string>>();
  private nextDynamic: number = dynamicPortRange.first;

  constructor(view: ClusterView) {
    for (const service of view.services.all()) this.claim(service.id, service.endpoint?.ports ?? []);
  }

  private claim(serviceId: string, ports: readonly ResolvedPort[]): void {
    for (const port of ports) {
      if (port.PublishedPort === 0) continue;
      const key = keyOf(port);
      if (port.PublishMode === 'ingress') {
        this.ingressOwner.set(key, serviceId);
      } else {
        const owners = this.hostOwners.get(key) ?? new Set();
        this.hostOwners.set(key, owners.add(serviceId));
      }
    }
  }

  private release(serviceId: string, ports: readonly ResolvedPort[]): void {
    for (const port of ports) {
      const key = keyOf(port);
      if (this.ingressOwner.get(key) === serviceId) this.ingressOwner.delete(key);
      this.hostOwners.get(key)?.delete(serviceId);
    }
  }

  private taken(serviceId: string, port: ResolvedPort): boolean {
    const key = keyOf(port);
    const ingressOwner = this.ingressOwner.get(key);
    if (ingressOwner !== undefined && ingressOwner !== serviceId) return true;
    if (port.PublishMode === 'host') return false;
    return [...(this.hostOwners.get(key) ?? [])].some((owner) => owner !== serviceId);
  }

  private dynamicPort(protocol: ResolvedPort['Protocol'], used: ReadonlySet<PortKey>): number | undefined {
    const span = dynamicPortRange.last - dynamicPortRange.first + 1;
    for (let tried = 0; tried < span; tried++) {
      const candidate = this.nextDynamic;
      this.nextDynamic = candidate === dynamicPortRange.last ? dynamicPortRange.first : candidate + 1;
      const key = keyOf({ Protocol: protocol, PublishedPort: candidate });
      if (!this.ingressOwner.has(key) && !this.hostOwners.get(key)?.size && !used.has(key)) return candidate;
    }
    return undefined;
  }

  /**
   * The spec's ports with every number filled in, claimed for the service; or the words for what is in the way, and
   * then the service keeps what it had. A dynamic port stays with the same target while the service lives.
   */
  resolve(service: Readonly<Service>): ResolvedPort[] | string {
    const before = service.endpoint?.ports ?? [];
    const asked = (service.spec.EndpointSpec?.Ports ?? []).map((port): ResolvedPort => {
      return {
        Protocol: port.Protocol ?? 'tcp',
        TargetPort: port.TargetPort ?? 0,
        PublishedPort: port.PublishedPort ?? 0,
        PublishMode: publishMode(port),
      };
    });
    const fixed = new Set(asked.filter((port) => port.PublishedPort !== 0).map(keyOf));
    const kept = new Set<PortKey>();
    for (const port of asked) {
      if (port.PublishedPort !== 0) {
        if (this.taken(service.id, port)) {
          return `port '${port.PublishedPort}' is already in use by another service`;
        }
        continue;
      }
      const old = before.find(
        (entry) =>
          entry.Protocol === port.Protocol &&
          entry.TargetPort === port.TargetPort &&
          entry.PublishMode === port.PublishMode &&
          entry.PublishedPort >= dynamicPortRange.first &&
          entry.PublishedPort <= dynamicPortRange.last &&
          !kept.has(keyOf(entry)) &&
          !fixed.has(keyOf(entry)),
      );
      const number = old?.PublishedPort ?? this.dynamicPort(port.Protocol, new Set([...fixed, ...kept]));
      if (number === undefined) {
        return `no ${port.Protocol} port is left between ${dynamicPortRange.first} and ${dynamicPortRange.last}`;
      }
      port.PublishedPort = number;
      kept.add(keyOf(port));
    }
    this.release(service.id, before);
    this.claim(service.id, asked);
    return asked;
  }
}
