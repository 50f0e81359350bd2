/** Views without a log, for tests of pure code that reads a `ClusterView`. */
import type {
  Change,
  Cluster,
  ClusterView,
  Config,
  Network,
  Node,
  ObjectMeta,
  Revision,
  Secret,
  Service,
  Task,
} from '#libs/model';
import { applyTransaction, outcomeError } from './apply.js';
import { decodeEntry, encodeChanges, encodeEntry } from './entry.js';
import { freezeDeep } from './freeze.js';
import { StoreState } from './state.js';

type Plain<T extends ObjectMeta> = Omit<T, keyof ObjectMeta> & Partial<ObjectMeta>;

export interface PlainObjects {
  /** The view's index; 1 unless said. */
  index?: number;
  cluster?: Plain<Cluster>;
  nodes?: readonly Plain<Node>[];
  services?: readonly Plain<Service>[];
  revisions?: readonly Plain<Revision>[];
  tasks?: readonly Plain<Task>[];
  networks?: readonly Plain<Network>[];
  secrets?: readonly Plain<Secret>[];
  configs?: readonly Plain<Config>[];
}

/** A view that holds the objects as they are; a missing `version` is 1 and a missing time 0. */
export function viewOf(objects: PlainObjects): StoreState {
  const writer = StoreState.empty().writer();
  const meta: ObjectMeta = { version: 1, createdAtMs: 0, updatedAtMs: 0 };
  // Copies, frozen like every object of a view, so that a fixture can be used again.
  const stored = <T extends ObjectMeta>(object: Plain<T>): T =>
    freezeDeep({ ...meta, ...structuredClone(object) } as T);
  if (objects.cluster !== undefined) writer.set('clusters', stored<Cluster>(objects.cluster));
  for (const node of objects.nodes ?? []) writer.set('nodes', stored<Node>(node));
  for (const service of objects.services ?? []) writer.set('services', stored<Service>(service));
  for (const revision of objects.revisions ?? []) writer.set('revisions', stored<Revision>(revision));
  for (const task of objects.tasks ?? []) writer.set('tasks', stored<Task>(task));
  for (const network of objects.networks ?? []) writer.set('networks', stored<Network>(network));
  for (const secret of objects.secrets ?? []) writer.set('secrets', stored<Secret>(secret));
  for (const config of objects.configs ?? []) writer.set('configs', stored<Config>(config));
  return writer.finish(objects.index ?? 1);
}

/**
 * The view after one more log entry, which passes through the same bytes as a real one. Throws the EnxameError a
 * proposer would get when the changes are refused. `view` must come from this library.
 */
export function withChanges(
  view: ClusterView,
  changes: readonly Change[],
  at: { index: number; atMs: number },
): StoreState {
  if (!(view instanceof StoreState)) throw new TypeError('withChanges needs a view made by this library');
  let state = view;
  for (const transaction of decodeEntry(encodeEntry([encodeChanges(changes)], at.atMs))) {
    const { outcome, state: next } = applyTransaction(state, transaction, at.index);
    if (!outcome.ok) throw outcomeError(outcome);
    state = next;
  }
  return state;
}
