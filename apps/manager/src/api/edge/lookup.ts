/** Docker's way to name an object: its id, its name, or the beginning of an id that no other begins with. */
import {
  EnxameError,
  type ClusterView,
  type Config,
  type Network,
  type Node,
  type NodeId,
  type Secret,
  type Service,
  type Task,
} from '#libs/model';

export function findService(view: ClusterView, reference: string): Readonly<Service> {
  const exact = view.services.get(reference) ?? view.serviceByName(reference);
  return exact ?? byPrefix(view.services.all(), reference, 'service');
}

export function findNetwork(view: ClusterView, reference: string): Readonly<Network> | undefined {
  const exact = view.networks.get(reference) ?? view.networkByName(reference);
  return exact ?? prefixMatches(view.networks.all(), reference)[0];
}

/** `self` is the manager's own node, as the docker CLI says it. */
export function findNode(view: ClusterView, reference: string, self: NodeId | undefined): Readonly<Node> {
  const id = reference === 'self' && self !== undefined ? self : reference;
  const exact = view.nodes.get(id);
  if (exact !== undefined) return exact;
  const named = [...view.nodes.all()].filter(
    (node) => node.description.hostname === reference || node.spec.Name === reference,
  );
  if (named.length > 1) throw ambiguous('node', reference, named.length);
  return named[0] ?? byPrefix(view.nodes.all(), reference, 'node');
}

export function findTask(view: ClusterView, reference: string): Readonly<Task> {
  return view.tasks.get(reference) ?? byPrefix(view.tasks.all(), reference, 'task');
}

export function findPayload(
  view: ClusterView,
  noun: 'secret' | 'config',
  reference: string,
): Readonly<Secret | Config> {
  if (noun === 'secret') {
    const exact = view.secrets.get(reference) ?? view.secretByName(reference);
    return exact ?? byPrefix(view.secrets.all(), reference, noun);
  }
  const exact = view.configs.get(reference) ?? view.configByName(reference);
  return exact ?? byPrefix(view.configs.all(), reference, noun);
}

function byPrefix<T extends { id: string }>(
  all: Iterable<Readonly<T>>,
  reference: string,
  noun: string,
): Readonly<T> {
  const found = prefixMatches(all, reference);
  const [first] = found;
  if (first === undefined) throw new EnxameError('not-found', `${noun} ${reference} not found`);
  if (found.length > 1) throw ambiguous(noun, reference, found.length);
  return first;
}

function prefixMatches<T extends { id: string }>(
  all: Iterable<Readonly<T>>,
  reference: string,
): Readonly<T>[] {
  if (reference === '') return [];
  return [...all].filter((object) => object.id.startsWith(reference));
}

function ambiguous(noun: string, reference: string, matches: number): EnxameError {
  return new EnxameError('invalid-argument', `${noun} ${reference} is ambiguous (${matches} matches found)`);
}

/** The `version` query of updates: the object's `Version.Index` that the client read. */
export function parseVersion(text: string | undefined): number {
  if (text === undefined || !/^\d{1,16}$/.test(text)) {
    throw new EnxameError('invalid-argument', "invalid version: must be the object's Version.Index");
  }
  return Number(text);
}
