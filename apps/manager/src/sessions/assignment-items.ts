/**
 * What a node is told, computed from a picture of the store alone. Most items are the same for every node (who the
 * peers are, how services are balanced); tasks and their revisions are the node's own.
 */
import {
  type AssignmentItem,
  type AssignmentKind,
  type BalanceItem,
  type ClusterView,
  type Config,
  type DesiredState,
  type EndpointItem,
  type NetworkId,
  type NetworkItem,
  type Node,
  type NodeId,
  type PayloadItem,
  type PeerItem,
  type Revision,
  type Secret,
  type Service,
  type SettingsItem,
  type Task,
  taskStateOrder,
} from '#libs/model';

export type ItemKey = `${AssignmentKind}:${string}`;

export function keyOf(item: { kind: AssignmentKind; id: string }): ItemKey {
  return `${item.kind}:${item.id}`;
}

/** Decides what desired state a task's own node is told: see the removal gate. */
export type ShownDesiredState = (task: Readonly<Task>) => DesiredState;

/** True for a task that may take new connections. */
export function isEndpoint(task: Readonly<Task>, node: Readonly<Node> | undefined): boolean {
  return (
    task.status.state === 'running' &&
    task.desiredState === 'running' &&
    node !== undefined &&
    node.status.state !== 'down'
  );
}

export function balanceItem(view: ClusterView, service: Readonly<Service>): BalanceItem | undefined {
  if (!service.endpoint) return undefined;
  const endpoints: EndpointItem[] = [];
  for (const task of view.tasksOfService(service.id)) {
    if (task.nodeId === undefined || !isEndpoint(task, view.nodes.get(task.nodeId))) continue;
    endpoints.push({ taskId: task.id, nodeId: task.nodeId, slot: task.slot, networks: task.networks });
  }
  endpoints.sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  return {
    kind: 'balance',
    id: service.id,
    name: service.spec.Name,
    endpoint: service.endpoint,
    aliases: aliasesOf(view, service),
    endpoints,
  };
}

function aliasesOf(view: ClusterView, service: Readonly<Service>): Record<NetworkId, string[]> {
  const aliases: Record<NetworkId, string[]> = {};
  const attachments = service.spec.TaskTemplate.Networks ?? service.spec.Networks ?? [];
  for (const { Target, Aliases } of attachments) {
    if (!Target || !Aliases?.length) continue;
    const network = view.networks.get(Target) ?? view.networkByName(Target);
    if (network) aliases[network.id] = [...Aliases].sort();
  }
  return aliases;
}

export function peerItem(node: Readonly<Node>): PeerItem | undefined {
  const { address, dataPathAddress } = node.status;
  if (address === '') return undefined;
  return {
    kind: 'peer',
    id: node.id,
    hostname: node.description.hostname,
    index: node.index,
    address: dataPathAddress ?? address,
    ...(dataPathAddress === undefined ? {} : { advertisedAddress: address }),
  };
}

export function networkItem(view: ClusterView, id: string): NetworkItem | undefined {
  const network = view.networks.get(id);
  if (network?.subnet === undefined || network.vni === undefined) return undefined;
  return {
    kind: 'network',
    id: network.id,
    name: network.spec.Name,
    subnet: network.subnet,
    vni: network.vni,
    internal: network.spec.Internal ?? false,
    blocks: network.blocks,
  };
}

export function settingsItem(view: ClusterView): SettingsItem | undefined {
  const { cluster } = view;
  if (!cluster) return undefined;
  return {
    kind: 'settings',
    id: 'settings',
    dataPathPort: cluster.dataPathPort,
    addressPools: cluster.addressPools,
  };
}

/** The item of one key that every node is told alike, as it is now. Undefined when there is none. */
export function sharedItem(view: ClusterView, kind: AssignmentKind, id: string): AssignmentItem | undefined {
  switch (kind) {
    case 'settings':
      return settingsItem(view);
    case 'network':
      return networkItem(view, id);
    case 'peer': {
      const node = view.nodes.get(id);
      return node && peerItem(node);
    }
    case 'balance': {
      const service = view.services.get(id);
      return service && balanceItem(view, service);
    }
    case 'task':
    case 'revision':
    case 'secret':
    case 'config':
      return undefined;
  }
}

/** All items that every node is told alike. */
export function sharedItems(view: ClusterView): AssignmentItem[] {
  const items: AssignmentItem[] = [];
  const add = (kind: AssignmentKind, id: string): void => {
    const item = sharedItem(view, kind, id);
    if (item) items.push(item);
  };
  add('settings', 'settings');
  for (const network of view.networks.all()) add('network', network.id);
  for (const node of view.nodes.all()) add('peer', node.id);
  for (const service of view.services.all()) add('balance', service.id);
  return items;
}

/** The tasks of one node, the revisions they refer to, and the secrets and configs that these name. */
export function ownItems(view: ClusterView, nodeId: NodeId, shown: ShownDesiredState): AssignmentItem[] {
  const items: AssignmentItem[] = [];
  const revisions = new Set<string>();
  const payloads = new Map<ItemKey, PayloadItem>();
  for (const task of view.tasksOfNode(nodeId)) {
    // A task of a global service has its node from birth; it is the node's only once the scheduler agrees.
    if (taskStateOrder[task.status.state] < taskStateOrder.assigned) continue;
    if (task.status.state === 'orphaned') continue;
    items.push({
      kind: 'task',
      id: task.id,
      serviceId: task.serviceId,
      revisionId: task.revisionId,
      slot: task.slot,
      networks: task.networks,
      desiredState: shown(task),
    });
    const revision = view.revisions.get(task.revisionId);
    if (!revision || revisions.has(revision.id)) continue;
    revisions.add(revision.id);
    items.push({
      kind: 'revision',
      id: revision.id,
      serviceId: revision.serviceId,
      serviceName: revision.serviceName,
      serviceLabels: revision.serviceLabels,
      taskTemplate: revision.taskTemplate,
      ...(revision.registryAuth === undefined ? {} : { registryAuth: revision.registryAuth }),
    });
    for (const payload of payloadsOf(view, revision)) payloads.set(keyOf(payload), payload);
  }
  return [...items, ...payloads.values()];
}

/** One that is gone is left out: the node says so in the task's status. */
function payloadsOf(view: ClusterView, revision: Readonly<Revision>): PayloadItem[] {
  const { Secrets = [], Configs = [] } = revision.taskTemplate.ContainerSpec ?? {};
  const itemOf = (
    kind: PayloadItem['kind'],
    payload: Readonly<Secret | Config> | undefined,
  ): PayloadItem[] =>
    payload === undefined
      ? []
      : [
          {
            kind,
            id: payload.id,
            name: payload.spec.Name,
            data: payload.spec.Data ?? '',
            isTemplate: (payload.spec.Templating?.Name ?? '') !== '',
          },
        ];
  return [
    ...Secrets.flatMap(({ SecretID = '' }) => itemOf('secret', view.secrets.get(SecretID))),
    ...Configs.flatMap(({ ConfigID = '' }) => itemOf('config', view.configs.get(ConfigID))),
  ];
}

/** Everything one node is told. */
export function itemsForNode(view: ClusterView, nodeId: NodeId, shown: ShownDesiredState): AssignmentItem[] {
  return [...sharedItems(view), ...ownItems(view, nodeId, shown)];
}
