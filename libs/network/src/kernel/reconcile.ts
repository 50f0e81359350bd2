/** From one kernel state to another, as lines for `ip -batch` and `bridge -batch`. Pure. */
import type { KernelState, OverlayDevice } from './desired-state.js';

/** Additions run before the balancer's rules change, removals after: no rule ever leads where there is no route. */
export interface KernelChanges {
  addIp: string[];
  addBridge: string[];
  /** Devices that were just made, for their sysctls. */
  newDevices: string[];
  removeIp: string[];
}

function sameDevice(a: OverlayDevice | undefined, b: OverlayDevice): boolean {
  return (
    a !== undefined &&
    a.vni === b.vni &&
    a.port === b.port &&
    a.localAddress === b.localAddress &&
    a.macAddress === b.macAddress
  );
}

function routeDestination(key: string): string {
  const [table = 'main', ...words] = key.split(' ');
  const destination = words.join(' ');
  return table === 'main' ? destination : `${destination} table ${table}`;
}

function deviceOf(route: string): string | undefined {
  return / dev (\S+)/.exec(` ${route}`)?.[1];
}

/**
 * `fresh`: what is observed came from the kernel's own listing, which tells keys but not every detail, so every
 * wanted object is set again; `replace` makes that harmless.
 */
export function diffKernelStates(observed: KernelState, wanted: KernelState, fresh: boolean): KernelChanges {
  const changes: KernelChanges = { addIp: [], addBridge: [], newDevices: [], removeIp: [] };
  const remade = new Set<string>();
  const leaving = new Set<string>();
  for (const [name, device] of observed.devices) {
    const next = wanted.devices.get(name);
    if (!next) leaving.add(name);
    else if (!sameDevice(device, next)) changes.addIp.push(`link del ${name}`);
  }
  for (const [name, device] of wanted.devices) {
    const before = observed.devices.get(name);
    if (!sameDevice(before, device)) {
      const { vni, port, localAddress, macAddress, mtu } = device;
      changes.addIp.push(
        `link add ${name} address ${macAddress} mtu ${mtu} type vxlan id ${vni} dstport ${port} local ${localAddress} nolearning`,
        `link set ${name} addrgenmode none`,
        `link set ${name} up`,
      );
      changes.newDevices.push(name);
      remade.add(name);
    } else if (before?.mtu !== device.mtu) {
      changes.addIp.push(`link set ${name} mtu ${device.mtu}`);
    }
  }
  const stale = (device: string | undefined): boolean =>
    fresh || (device !== undefined && remade.has(device));
  for (const [key, macAddress] of wanted.neighbours) {
    const [device = '', address = ''] = key.split(' ');
    if (!stale(device) && observed.neighbours.get(key) === macAddress) continue;
    changes.addIp.push(`neigh replace ${address} lladdr ${macAddress} dev ${device} nud permanent`);
  }
  for (const [key, underlay] of wanted.forwarding) {
    const [device = '', macAddress = ''] = key.split(' ');
    if (!stale(device) && observed.forwarding.get(key) === underlay) continue;
    changes.addBridge.push(`fdb replace ${macAddress} dev ${device} dst ${underlay} self permanent`);
  }
  for (const [key, route] of wanted.routes) {
    if (!stale(deviceOf(route)) && observed.routes.get(key) === route) continue;
    changes.addIp.push(`route replace ${routeDestination(key)} ${route}`);
  }
  for (const rule of wanted.rules) {
    if (!observed.rules.has(rule)) changes.addIp.push(`rule add pref ${rule}`);
  }
  for (const rule of observed.rules) {
    if (!wanted.rules.has(rule)) changes.removeIp.push(`rule del pref ${rule}`);
  }
  for (const [key, route] of observed.routes) {
    const device = deviceOf(route);
    // Routes and neighbours of a device go with it.
    if (wanted.routes.has(key) || (device !== undefined && (leaving.has(device) || remade.has(device))))
      continue;
    changes.removeIp.push(
      `route del ${routeDestination(key)}${device === undefined ? '' : ` dev ${device}`}`,
    );
  }
  for (const key of observed.neighbours.keys()) {
    const [device = '', address = ''] = key.split(' ');
    if (wanted.neighbours.has(key) || leaving.has(device) || remade.has(device)) continue;
    changes.removeIp.push(`neigh del ${address} dev ${device}`);
  }
  for (const name of leaving) changes.removeIp.push(`link del ${name}`);
  return changes;
}

/** Forwarding entries that must go; `bridge` is its own tool with its own batch. */
export function forwardingRemovals(observed: KernelState, wanted: KernelState): string[] {
  const lines: string[] = [];
  for (const key of observed.forwarding.keys()) {
    const [device = '', macAddress = ''] = key.split(' ');
    if (wanted.forwarding.has(key) || !wanted.devices.has(device)) continue;
    lines.push(`fdb del ${macAddress} dev ${device} self`);
  }
  return lines;
}
