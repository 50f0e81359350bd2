/** Namespaces of a container: new ones, the node's own, or those of another container. */
import { EnxameError, type ContainerId } from '#libs/model';
import type { JoinNamespace, LaunchOperation, Namespaces } from '../launcher/launch-plan.js';
import type { ContainerConfig, NamespaceMode } from '../port.js';

/** First process of a container that runs; undefined for any other. */
export type PidOf = (id: ContainerId) => number | undefined;

/** For a new container: what is made, and what is joined instead. `conflict` when the other one does not run. */
export function planNamespaces(config: ContainerConfig, pidOf: PidOf): LaunchOperation[] {
  const { namespaces = {} } = config;
  const wanted: [keyof typeof procNames, NamespaceMode][] = [
    ['pid', namespaces.pid ?? 'private'],
    ['ipc', namespaces.ipc ?? 'private'],
    ['network', networkMode(config)],
  ];
  const joins = wanted.flatMap(([namespace, mode]): JoinNamespace[] => {
    if (typeof mode === 'string') return [];
    const pid = pidOf(mode.container);
    if (pid === undefined) {
      throw new EnxameError(
        'conflict',
        namespace === 'network'
          ? `cannot join network of a non running container: ${mode.container}`
          : `cannot join ${namespace.toUpperCase()} namespace of a non running container: container ${mode.container} is not running`,
      );
    }
    return [{ kind: 'join-namespace', namespace, path: `/proc/${pid}/ns/${procNames[namespace]}` }];
  });
  const isNew = (mode: NamespaceMode): boolean => mode === 'private';
  return [
    {
      kind: 'namespaces',
      pid: isNew(namespaces.pid ?? 'private'),
      network: isNew(networkMode(config)),
      ipc: isNew(namespaces.ipc ?? 'private'),
      mount: true,
      uts: namespaces.uts !== 'host',
      cgroup: namespaces.cgroup !== 'host',
    },
    ...joins,
  ];
}

const procNames = { pid: 'pid', ipc: 'ipc', network: 'net' } as const;

function networkMode(config: ContainerConfig): NamespaceMode {
  if (config.namespaces?.network !== undefined) return config.namespaces.network;
  return config.network.mode === 'host' ? 'host' : 'private';
}

/** For a process more: whatever its first process is in, unless that is the node's own anyway. */
export function enteredNamespaces(config: ContainerConfig): Namespaces {
  const { namespaces = {} } = config;
  return {
    kind: 'namespaces',
    pid: namespaces.pid !== 'host',
    network: networkMode(config) !== 'host',
    ipc: namespaces.ipc !== 'host',
    mount: true,
    uts: namespaces.uts !== 'host',
    cgroup: namespaces.cgroup !== 'host',
  };
}

/** Its network is nobody else's: its sysctls may be set, and its loopback is its own to bring up. */
export function ownsNetwork(config: ContainerConfig): boolean {
  return networkMode(config) === 'private';
}
