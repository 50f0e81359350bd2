/** `docker network prune`: which networks its filters mean, and those of the cluster. */
import { labelsMatch } from '#libs/docker-api';
import { EnxameError } from '#libs/model';

export const pruneFilterNames = ['label', 'label!', 'until'] as const;

export interface PruneCandidate {
  labels: Readonly<Record<string, string>>;
  createdAtMs: number;
}

export function prunableBy(
  filters: ReadonlyMap<string, readonly string[]>,
  nowMs: number,
): (network: PruneCandidate) => boolean {
  const untilMs = untilOf(filters.get('until'), nowMs);
  const excluded = new Map([['label', filters.get('label!') ?? []]]);
  return ({ labels, createdAtMs }) =>
    createdAtMs < untilMs &&
    labelsMatch(filters, 'label', labels) &&
    !(filters.has('label!') && labelsMatch(excluded, 'label', labels));
}

/** A time in seconds, a date, or an age such as `24h`. */
function untilOf(values: readonly string[] | undefined, nowMs: number): number {
  const [text] = values ?? [];
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const age = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text);
  if (text !== '' && age !== null) {
    const [, hours = '0', minutes = '0', seconds = '0'] = age;
    return nowMs - ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
  }
  const at = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text);
  if (Number.isNaN(at)) throw new EnxameError('invalid-argument', `invalid filter 'until=${text}'`);
  return at;
}

interface ShownNetwork {
  Id: string;
  Name: string;
  Created: string;
  Ingress: boolean;
  Labels: Record<string, string> | null;
}

/** A call of the cluster's API. */
export type CallCluster = (
  method: 'GET' | 'DELETE',
  path: string,
) => Promise<{ status: number; body: unknown }>;

/** Removes what no service uses, and gives the names. The ingress network goes only when a user says so. */
export async function pruneClusterNetworks(
  call: CallCluster,
  isPrunable: (network: PruneCandidate) => boolean,
): Promise<string[]> {
  const unused = encodeURIComponent(JSON.stringify({ dangling: ['true'] }));
  const { status, body } = await call('GET', `/networks?filters=${unused}`);
  if (status !== 200 || !Array.isArray(body)) {
    throw new EnxameError('unavailable', `the manager answered ${status} for the cluster's networks`);
  }
  const removed: string[] = [];
  for (const network of body as ShownNetwork[]) {
    if (network.Ingress) continue;
    const candidate = { labels: network.Labels ?? {}, createdAtMs: Date.parse(network.Created) };
    if (!isPrunable(candidate)) continue;
    // Somebody may have begun to use it: then it is refused, and stays.
    const answer = await call('DELETE', `/networks/${network.Id}`);
    if (answer.status < 300) removed.push(network.Name);
  }
  return removed;
}
