/** What the node asks of the manager beside it, in Docker's own API, when it comes to a cluster or leaves it. */
import { EnxameError } from '#libs/model';
import type { NodeStatus } from '../engine/system/node-status.js';
import { callManager, type ManagerAnswer } from '../node/manager-socket.js';
import type { ManagerCounts } from './leave-words.js';
import type { SwarmInitDto } from './swarm-requests.dto.js';

interface ApiNode {
  ID: string;
  Version: { Index: number };
  Spec: Record<string, unknown>;
  ManagerStatus?: { Reachability: string };
}

interface ApiSwarm {
  Version: { Index: number };
  Spec: Record<string, unknown>;
}

const callWaitMs = 10_000;
const countWaitMs = 3_000;
const resignWaitMs = 10_000;
const resignPollMs = 100;

export class ManagerApi {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Brings a new cluster to the settings it was asked for with. */
  async adjust(request: SwarmInitDto): Promise<void> {
    const asked = withoutZeros(request.Spec ?? {});
    if (asked !== undefined) {
      const { Spec, Version } = await this.#read<ApiSwarm>('/swarm');
      await this.#post(`/swarm/update?version=${Version.Index}`, merge(Spec, asked));
    }
    const { Availability } = request;
    if (Availability && Availability !== 'active') {
      await this.#updateSelf('self', { Availability });
    }
  }

  /** Undefined when the managers cannot say. */
  async countManagers(): Promise<ManagerCounts | undefined> {
    try {
      const nodes = await this.#read<ApiNode[]>('/nodes', countWaitMs);
      const managers = nodes.flatMap(({ ManagerStatus }) => (ManagerStatus ? [ManagerStatus] : []));
      const count = (reachability: string): number =>
        managers.filter(({ Reachability }) => Reachability === reachability).length;
      return { reachable: count('reachable'), unreachable: count('unreachable') };
    } catch (error) {
      if (error instanceof EnxameError) return undefined;
      throw error;
    }
  }

  /**
   * Hands this manager's part over to the others before it goes, so that they need not wait for one that never
   * comes back. Nothing when it is the last one, or when they do not answer in time: the user has said `--force`.
   */
  async resign(status: NodeStatus): Promise<void> {
    const { nodeId } = status;
    const counts = await this.countManagers();
    if (nodeId === undefined || counts === undefined || counts.reachable < 2) return;
    try {
      await this.#updateSelf(nodeId, { Role: 'worker' });
      const giveUpAt = performance.now() + resignWaitMs;
      while (performance.now() < giveUpAt) {
        const node = await this.#read<ApiNode>(`/nodes/${nodeId}`);
        if (node.ManagerStatus === undefined) return;
        await new Promise((resolve) => setTimeout(resolve, resignPollMs));
      }
    } catch (error) {
      // Removed from the group, this manager can not read any more: that is the end that was waited for.
      if (!(error instanceof EnxameError)) throw error;
    }
  }

  async #updateSelf(id: string, change: Record<string, unknown>): Promise<void> {
    const { Spec, Version, ID } = await this.#read<ApiNode>(`/nodes/${id}`);
    await this.#post(`/nodes/${ID}/update?version=${Version.Index}`, { ...Spec, ...change });
  }

  async #read<T>(path: string, waitMs = callWaitMs): Promise<T> {
    const answer = await callManager(this.#socketPath, { method: 'GET', path, waitMs });
    return checked(answer) as T;
  }

  async #post(path: string, body: unknown): Promise<void> {
    checked(await callManager(this.#socketPath, { method: 'POST', path, body, waitMs: callWaitMs }));
  }
}

function checked({ status, body }: ManagerAnswer): unknown {
  if (status < 300) return body;
  const { message } = (body ?? {}) as { message?: string };
  const code = status === 400 ? 'invalid-argument' : status === 501 ? 'not-implemented' : 'unavailable';
  throw new EnxameError(code, message ?? `the manager answered ${status}`);
}

/** Docker's CLI sends every field; what is zero was not asked for. Undefined when nothing is left. */
export function withoutZeros(value: unknown): unknown {
  if (value === null || value === undefined || value === 0 || value === '' || value === false)
    return undefined;
  if (Array.isArray(value)) return value.length === 0 ? undefined : value;
  if (typeof value !== 'object') return value;
  const kept = Object.entries(value).flatMap(([name, member]) => {
    const rest = withoutZeros(member);
    return rest === undefined ? [] : [[name, rest] as const];
  });
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
}

function merge(base: unknown, change: unknown): unknown {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(base) || !isObject(change)) return change;
  const merged: Record<string, unknown> = { ...base };
  for (const [name, member] of Object.entries(change)) merged[name] = merge(base[name], member);
  return merged;
}
