/** Makes one transaction of what several loops want, each of them on top of the ones before. */
import type { Change, ClusterView, TableName } from '#libs/model';

/**
 * At most one change for each object: patches of one object become one patch, patches of a new object become part of
 * it, and what is made and deleted again is never made. Guards are taken over as the version in `base`, the picture
 * that the store really holds.
 *
 * The order lets the list be cut anywhere: networks and services first (their guards refuse all that was built on
 * them), templates before the tasks that refer to them, deletions of templates last.
 */
export function foldChanges(base: ClusterView, changes: readonly Change[]): Change[] {
  const folded = new Map<string, Change>();
  for (const change of changes) {
    const key = `${change.table} ${change.op === 'put' ? change.object.id : change.id}`;
    const before = folded.get(key);
    const after = before === undefined ? change : foldTwo(before, change);
    if (after === undefined) folded.delete(key);
    else folded.set(key, after);
  }
  return [...folded.values()].map((change) => guardByBase(base, change)).sort((a, b) => rank(a) - rank(b));
}

function foldTwo(before: Change, after: Change): Change | undefined {
  if (after.op === 'put' || before.op === 'delete') {
    throw new Error(`a plan changes ${after.table} after it deleted or before it made it`);
  }
  if (after.op === 'delete') return before.op === 'put' ? undefined : after;
  if (before.op === 'put') {
    const object: Record<string, unknown> = { ...before.object };
    for (const [name, value] of Object.entries(after.fields)) {
      if (value === undefined || value === null) delete object[name];
      else object[name] = value;
    }
    return { ...before, object } as unknown as Change;
  }
  const ifVersion = after.ifVersion ?? before.ifVersion;
  return {
    ...before,
    fields: { ...before.fields, ...after.fields },
    ...(ifVersion === undefined ? {} : { ifVersion }),
  } as Change;
}

function guardByBase(base: ClusterView, change: Change): Change {
  if (change.op === 'put' || change.ifVersion === undefined) return change;
  const { cluster } = base;
  const object = change.table === 'clusters' ? cluster : base[change.table].get(change.id);
  return object === undefined ? change : { ...change, ifVersion: object.version };
}

const tableRank = {
  clusters: 0,
  nodes: 0,
  networks: 1,
  secrets: 1,
  configs: 1,
  services: 2,
  revisions: 3,
  tasks: 4,
} as const satisfies Record<TableName, number>;

function rank(change: Change): number {
  return change.table === 'revisions' && change.op === 'delete' ? 5 : tableRank[change.table];
}
