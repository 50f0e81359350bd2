/** The gRPC face of the managers' group: another manager asks to be taken in, or tells its new address. */
import { EnxameError, isEnxameError, type Change, type ClusterStore, type Node } from '#libs/model';
import type { CertifiedIdentity } from '#libs/pki';
import { group, toServiceError, type RpcService } from '#libs/rpc';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import { certifiedCaller } from '../membership/certificate-service.js';
import type { Membership } from '../membership/membership.js';

export interface GroupServiceOptions {
  store: ClusterStore;
  membership: Pick<Membership, 'admit'>;
  /** Resolves when the store shows every write acknowledged before. */
  current(): Promise<unknown>;
}

const raftIdPattern = /^[0-9a-f]{16}$/;
const addressPattern = /^[^\s:]{1,253}:\d{1,5}$/;
const attemptsMax = 5;

export function groupService(options: GroupServiceOptions): RpcService {
  const implementation: group.ManagerGroupServer = {
    join: (
      call: ServerUnaryCall<group.JoinRequest, group.JoinReply>,
      done: sendUnaryData<group.JoinReply>,
    ) => {
      Promise.resolve()
        .then(() => takeIn(options, certifiedCaller(call), call.request))
        .then(
          (reply) => done(null, reply),
          (error: unknown) => done(toServiceError(error)),
        );
    },
  };
  return { definition: group.ManagerGroupService, implementation };
}

/** Writes who the caller is; the leader's keeper makes it a member. */
export async function takeIn(
  options: GroupServiceOptions,
  caller: CertifiedIdentity | undefined,
  request: group.JoinRequest,
): Promise<group.JoinReply> {
  if (caller?.role !== 'manager') {
    throw new EnxameError('forbidden', "a manager's certificate is required to join the managers");
  }
  const { raftId, address } = request;
  if (!raftIdPattern.test(raftId)) {
    throw new EnxameError('invalid-argument', 'raft_id: must be 16 hexadecimal digits');
  }
  if (!addressPattern.test(address)) {
    throw new EnxameError('invalid-argument', 'address: must be host:port');
  }
  for (let attempt = 1; ; attempt++) {
    await options.current();
    const node = options.membership.admit(caller);
    const change = admission(options.store, node, { raftId, address });
    if (change === undefined) return { peers: peersOf(options.store) };
    try {
      await options.store.propose([change]);
    } catch (error) {
      const stale = isEnxameError(error) && error.code === 'version-mismatch';
      if (!stale || attempt === attemptsMax) throw error;
    }
  }
}

function admission(
  store: ClusterStore,
  node: Readonly<Node>,
  wanted: { raftId: string; address: string },
): Change | undefined {
  if (node.spec.Role !== 'manager') {
    throw new EnxameError('failed-precondition', `node ${node.id} is not to be a manager`);
  }
  for (const other of store.view().nodes.all()) {
    if (other.id === node.id || other.manager === undefined) continue;
    if (other.manager.address === wanted.address) {
      throw new EnxameError('conflict', `address ${wanted.address} is the manager's of node ${other.id}`);
    }
    if (other.manager.raftId === wanted.raftId) {
      throw new EnxameError('conflict', `Raft id ${wanted.raftId} is the manager's of node ${other.id}`);
    }
  }
  const { manager } = node;
  if (manager?.raftId === wanted.raftId && manager.address === wanted.address) return undefined;
  return { op: 'patch', table: 'nodes', id: node.id, fields: { manager: wanted }, ifVersion: node.version };
}

function peersOf(store: ClusterStore): group.GroupPeer[] {
  const peers: group.GroupPeer[] = [];
  for (const { id, manager } of store.view().nodes.all()) {
    if (manager !== undefined) peers.push({ raftId: manager.raftId, address: manager.address, nodeId: id });
  }
  return peers;
}
