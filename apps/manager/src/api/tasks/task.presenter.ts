/** A task as Docker's API shows it, with the template of its own revision. */
import { rfc3339Nano } from '#libs/docker-api';
import type { ClusterView, Network, Task } from '#libs/model';
import { presentMeta } from '../edge/present.js';
import { presentNetwork } from '../networks/network.presenter.js';
import { prefixLength } from '../services/service.presenter.js';

export function presentTask(view: ClusterView, task: Readonly<Task>): Record<string, unknown> {
  const revision = view.revisions.get(task.revisionId);
  return {
    ...presentMeta(task),
    Labels: {},
    Spec: revision?.taskTemplate ?? {},
    ServiceID: task.serviceId,
    ...(task.slot === 0 ? {} : { Slot: task.slot }),
    ...(task.nodeId === undefined ? {} : { NodeID: task.nodeId }),
    Status: presentStatus(view, task),
    DesiredState: task.desiredState,
    ...(task.networks.length === 0 ? {} : { NetworksAttachments: presentAttachments(view, task) }),
    GenericResources: null,
    Volumes: null,
  };
}

function presentStatus(view: ClusterView, task: Readonly<Task>): Record<string, unknown> {
  const { status } = task;
  return {
    Timestamp: rfc3339Nano(status.atMs),
    State: status.state,
    Message: status.message,
    ...(status.error === undefined ? {} : { Err: status.error }),
    ...(status.container === undefined
      ? {}
      : {
          ContainerStatus: {
            ContainerID: status.container.id,
            PID: status.container.pid,
            ExitCode: status.container.exitCode ?? 0,
          },
        }),
    PortStatus: presentHostPorts(view, task),
  };
}

/** Ports of its own node that a running task holds; those of the whole cluster are its service's. */
function presentHostPorts(view: ClusterView, task: Readonly<Task>): Record<string, unknown> {
  if (task.status.state !== 'running') return {};
  const ports = view.services
    .get(task.serviceId)
    ?.endpoint?.ports.filter(({ PublishMode }) => PublishMode === 'host');
  return ports === undefined || ports.length === 0 ? {} : { Ports: ports };
}

function presentAttachments(view: ClusterView, task: Readonly<Task>): unknown[] {
  return task.networks.map(({ networkId, address }) => {
    const network = view.networks.get(networkId);
    return {
      Network: network === undefined ? { ID: networkId } : attachedNetwork(view, network.id),
      Addresses: [`${address}/${prefixLength(view, networkId)}`],
    };
  });
}

/** Objects of the store are never changed, only replaced, and every task of a list shows the same few networks. */
const shownNetworks = new WeakMap<Readonly<Network>, Record<string, unknown>>();

/** Inside a task a network has the shape of a cluster object, unlike in `/networks`. */
function attachedNetwork(view: ClusterView, id: string): Record<string, unknown> {
  const network = view.networks.get(id);
  if (network === undefined) return { ID: id };
  let shown = shownNetworks.get(network);
  if (shown === undefined) {
    shown = presentAttachedNetwork(network);
    shownNetworks.set(network, shown);
  }
  return shown;
}

function presentAttachedNetwork(network: Readonly<Network>): Record<string, unknown> {
  const shown = presentNetwork(network);
  return {
    ...presentMeta(network),
    Spec: {
      Name: network.spec.Name,
      Labels: network.spec.Labels ?? {},
      DriverConfiguration: { Name: 'overlay' },
      ...(network.spec.Ingress === true ? { Ingress: true } : {}),
      IPAMOptions: { Driver: { Name: 'default' } },
      Scope: 'swarm',
    },
    DriverState: { Name: 'overlay', Options: shown['Options'] },
    IPAMOptions: { Driver: { Name: 'default' }, Configs: (shown['IPAM'] as { Config: unknown }).Config },
  };
}
