/** `linux.namespaces` of a bundle, and what hangs on them. */
import type { IdMaps, JoinNamespace, LaunchOperation, Namespaces } from '../launcher/launch-plan.js';
import { Field } from './field.js';

const types = ['pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time'] as const;
export type NamespaceType = (typeof types)[number];

/** Which are not the node's: new ones (''), or those at a path. */
export type NamespaceSet = ReadonlyMap<NamespaceType, string>;

export function readNamespaces(linux: Field): NamespaceSet {
  const set = new Map<NamespaceType, string>();
  for (const entry of linux.at('namespaces').list()) {
    const type = entry.at('type').oneOf(types);
    if (set.has(type)) throw entry.invalid(`"${type}" is there twice`);
    const path = entry.at('path').text('');
    if (path !== '' && !path.startsWith('/')) throw entry.at('path').invalid('must be an absolute path');
    if (path !== '' && (type === 'mount' || type === 'user')) entry.at('path').refuseIfAny();
    if (type === 'time') entry.at('type').refuseIfAny();
    set.set(type, path);
  }
  if (!set.has('mount')) throw linux.at('namespaces').invalid('a container needs a mount namespace');
  return set;
}

export function planBundleNamespaces(set: NamespaceSet, linux: Field): LaunchOperation[] {
  const isNew = (type: NamespaceType): boolean => set.get(type) === '';
  return [
    {
      kind: 'namespaces',
      pid: isNew('pid'),
      network: isNew('network'),
      ipc: isNew('ipc'),
      mount: true,
      uts: isNew('uts'),
      cgroup: isNew('cgroup'),
    },
    ...(['pid', 'network', 'ipc', 'uts', 'cgroup'] as const).flatMap((namespace): JoinNamespace[] => {
      const path = set.get(namespace) ?? '';
      return path === '' ? [] : [{ kind: 'join-namespace', namespace, path }];
    }),
    ...planIdMaps(set, linux),
  ];
}

/** For a process more: all that its first process has for itself or shares with some container. */
export function enteredBundleNamespaces(set: NamespaceSet): LaunchOperation[] {
  const namespaces: Namespaces = {
    kind: 'namespaces',
    pid: set.has('pid'),
    network: set.has('network'),
    ipc: set.has('ipc'),
    mount: true,
    uts: set.has('uts'),
    cgroup: set.has('cgroup'),
  };
  return set.has('user') ? [namespaces, { kind: 'id-maps', uids: '', gids: '' }] : [namespaces];
}

function planIdMaps(set: NamespaceSet, linux: Field): IdMaps[] {
  const [uids, gids] = [linux.at('uidMappings'), linux.at('gidMappings')];
  if (!set.has('user')) {
    for (const field of [uids, gids]) {
      if (field.list().length > 0) throw field.invalid('there is no user namespace to map ids in');
    }
    return [];
  }
  return [{ kind: 'id-maps', uids: mapOf(uids), gids: mapOf(gids) }];
}

function mapOf(field: Field): string {
  const lines = field.list().map((entry) => {
    const size = entry.at('size').number();
    if (size < 1) throw entry.at('size').invalid('must be at least 1');
    return `${entry.at('containerID').number()} ${entry.at('hostID').number()} ${size}`;
  });
  if (lines.length === 0) throw field.invalid('a user namespace needs ids');
  return `${lines.join('\n')}\n`;
}
