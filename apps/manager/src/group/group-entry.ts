/**
 * A manager's way into its group at every start: it tells the others who and where it is, until one of them has
 * written it down. That makes a new one a member, and brings one with a new address back.
 */
import { describeError, EnxameError, isEnxameError } from '#libs/model';
import { managerServerName } from '#libs/pki';
import { callUnary, createRpcClient, group, type ServerTls } from '#libs/rpc';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../membership/ports.js';
import type { GroupPeers } from './group-peers.js';

export interface GroupEntryOptions {
  raftId: string;
  /** host:port where the others reach this manager. */
  address: string;
  /** Managers that are known from elsewhere. */
  remoteAddresses: readonly string[];
  peers: GroupPeers;
  tls(): ServerTls;
  /** True when this manager leads: then it needs nobody. */
  leads(): boolean;
  log: Log;
}

const callWaitMs = 5_000;
const retryMsMin = 100;
const retryMsMax = 2_000;

/** Resolves when the others know this manager. Rejects only when the signal aborts or it is not to be a manager. */
export async function enterGroup(options: GroupEntryOptions, signal: AbortSignal): Promise<void> {
  const { raftId, address, peers, log } = options;
  let lastReason = '';
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    if (options.leads()) return;
    const targets = [...new Set([...peers.addresses(), ...options.remoteAddresses])].filter(
      (target) => target !== address,
    );
    const target = targets[attempt % Math.max(targets.length, 1)];
    if (target !== undefined) {
      try {
        const reply = await ask(target, options.tls(), { raftId, address });
        peers.learn(reply.peers);
        return;
      } catch (error) {
        if (isEnxameError(error) && ['failed-precondition', 'forbidden'].includes(error.code)) throw error;
        const reason = describeError(error);
        if (reason !== lastReason) log('info', 'another manager could not be told', { target, reason });
        lastReason = reason;
      }
    }
    await sleep(Math.min(retryMsMin * 2 ** Math.min(attempt, 5), retryMsMax), undefined, { signal });
  }
}

async function ask(target: string, tls: ServerTls, request: group.JoinRequest): Promise<group.JoinReply> {
  const client = createRpcClient(group.ManagerGroupClient, target, {
    kind: 'mutual',
    ...tls,
    serverName: managerServerName,
  });
  try {
    return await callUnary<group.JoinRequest, group.JoinReply>(client.join.bind(client), request, {
      timeoutMs: callWaitMs,
    });
  } catch (error) {
    throw isEnxameError(error) ? error : new EnxameError('unavailable', String(error), { cause: error });
  } finally {
    client.close();
  }
}
