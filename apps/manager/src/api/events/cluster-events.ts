/** Docker's events of cluster objects, made from the changes of the store. Pure. */
import type {
  AppliedChange,
  ClusterEvent,
  Config,
  Network,
  Node,
  Secret,
  Service,
  StoreEvent,
} from '#libs/model';
import { isDeepStrictEqual } from 'node:util';

export function eventsOf({ atMs, changes }: StoreEvent): ClusterEvent[] {
  return changes.flatMap((change) => {
    const described = describe(change);
    if (described === undefined || isHousekeeping(change)) return [];
    const { type, id, attributes } = described;
    return [
      {
        Type: type,
        Action: actionOf(change),
        Actor: { ID: id, Attributes: attributes },
        scope: 'swarm' as const,
        time: Math.floor(atMs / 1000),
        timeNano: atMs * 1_000_000,
      },
    ];
  });
}

interface Described {
  type: string;
  id: string;
  attributes: Record<string, string>;
}

function describe(change: AppliedChange): Described | undefined {
  switch (change.table) {
    case 'services':
      return { type: 'service', id: change.id, attributes: serviceAttributes(change.before, change.after) };
    case 'nodes':
      return { type: 'node', id: change.id, attributes: nodeAttributes(change.before, change.after) };
    case 'networks':
      return { type: 'network', id: change.id, attributes: networkAttributes(change.after ?? change.before) };
    case 'secrets':
    case 'configs': {
      const { spec } = (change.after ?? change.before) as Readonly<Secret | Config>;
      const type = change.table === 'secrets' ? 'secret' : 'config';
      return { type, id: change.id, attributes: { name: spec.Name } };
    }
    case 'tasks':
    case 'revisions':
    case 'clusters':
      // Docker has no events of these; a task shows in those of its container.
      return undefined;
  }
}

/** The leader's own notes, such as addresses it has given out, are no news to anybody who watches the cluster. */
function isHousekeeping(change: AppliedChange): boolean {
  const { before, after } = change;
  if (before === undefined || after === undefined) return false;
  switch (change.table) {
    case 'services':
      return (
        isDeepStrictEqual(change.before?.spec, change.after?.spec) &&
        isDeepStrictEqual(change.before?.updateStatus, change.after?.updateStatus)
      );
    case 'networks':
      return isDeepStrictEqual(change.before?.spec, change.after?.spec);
    default:
      return false;
  }
}

function actionOf({ before, after }: AppliedChange): 'create' | 'update' | 'remove' {
  if (before === undefined) return 'create';
  return after === undefined ? 'remove' : 'update';
}

function serviceAttributes(
  before: Readonly<Service> | undefined,
  after: Readonly<Service> | undefined,
): Record<string, string> {
  const service = after ?? before;
  return {
    name: service?.spec.Name ?? '',
    ...changed('image', imageOf(before), imageOf(after)),
    ...changed('replicas', replicasOf(before), replicasOf(after)),
    ...changed('updatestate', before?.updateStatus?.state, after?.updateStatus?.state),
  };
}

function nodeAttributes(
  before: Readonly<Node> | undefined,
  after: Readonly<Node> | undefined,
): Record<string, string> {
  const node = after ?? before;
  return {
    name: node?.description.hostname ?? '',
    ...changed('state', before?.status.state, after?.status.state),
    ...changed('availability', before?.spec.Availability, after?.spec.Availability),
    ...changed('role', before?.spec.Role, after?.spec.Role),
  };
}

function networkAttributes(network: Readonly<Network> | undefined): Record<string, string> {
  return { name: network?.spec.Name ?? '', type: network?.spec.Driver ?? 'overlay' };
}

function imageOf(service: Readonly<Service> | undefined): string | undefined {
  return service?.spec.TaskTemplate.ContainerSpec?.Image;
}

function replicasOf(service: Readonly<Service> | undefined): string | undefined {
  const replicas = service?.spec.Mode?.Replicated?.Replicas;
  return replicas === undefined ? undefined : String(replicas);
}

/** `replicas.old` and `replicas.new`, when an object that stays has changed in it. */
function changed(
  name: string,
  before: string | undefined,
  after: string | undefined,
): Record<string, string> {
  if (before === after || (before === undefined && name !== 'updatestate') || after === undefined) return {};
  return { ...(before === undefined ? {} : { [`${name}.old`]: before }), [`${name}.new`]: after };
}
