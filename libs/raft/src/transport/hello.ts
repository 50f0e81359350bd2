/** Who may speak: a manager of this cluster, of this protocol version, that means this member. */
import { EnxameError } from '#libs/model';
import type { CallerSubject, raft } from '#libs/rpc';
import type { MemberId } from '../core/types.js';
import { protocolError } from './peer-stream.js';

export const protocolVersion = 1;

/** What a certificate says of its holder. */
export interface PeerIdentity {
  nodeId: string;
  clusterId: string;
  role: string;
}

/**
 * Whose certificate it is. Throws `unauthorized` without one and `forbidden` for one that is not a manager's of this
 * cluster.
 */
export function checkCertificate(
  subject: CallerSubject | undefined,
  clusterId: string,
  identify: (subject: CallerSubject) => PeerIdentity | undefined,
): PeerIdentity {
  if (subject === undefined) throw new EnxameError('unauthorized', 'raft: a manager certificate is required');
  const identity = identify(subject);
  if (identity === undefined) {
    throw new EnxameError('forbidden', 'raft: the certificate names no node of a cluster');
  }
  if (identity.clusterId !== clusterId) {
    throw new EnxameError('forbidden', `raft: the certificate is for another cluster, ${identity.clusterId}`);
  }
  if (identity.role !== 'manager') {
    throw new EnxameError(
      'forbidden',
      `raft: the certificate is a ${identity.role}'s, only managers may take part`,
    );
  }
  return identity;
}

/**
 * A manager speaks for its own member alone. `holder` is the node that has the member, where that is known: a member
 * that has only just joined learns it with the log.
 */
export function checkHolder(
  member: MemberId,
  { nodeId }: Pick<PeerIdentity, 'nodeId'>,
  holder: string | undefined,
): void {
  if (holder === undefined || holder === nodeId) return;
  throw new EnxameError(
    'forbidden',
    `raft: the certificate of node ${nodeId} is not the one of member ${member}, which is on node ${holder}`,
  );
}

/** Throws `failed-precondition` with the rule that is broken. */
export function checkHello(
  hello: raft.Hello | undefined,
  expected: { clusterId: string; self: MemberId; from?: MemberId; to?: MemberId },
): raft.Hello {
  if (hello === undefined) throw protocolError('a hello is missing');
  if (hello.protocolVersion !== protocolVersion) {
    throw protocolError(
      `the peer speaks protocol version ${hello.protocolVersion}, this member speaks ${protocolVersion}`,
    );
  }
  if (hello.clusterId !== expected.clusterId) {
    throw protocolError(`the peer belongs to another cluster, ${hello.clusterId}`);
  }
  if (hello.from === '') throw protocolError('the peer does not say who it is');
  if (hello.from === expected.self) throw protocolError(`the peer has this member's own id ${hello.from}`);
  if (expected.from !== undefined && hello.from !== expected.from) {
    throw protocolError(`here is member ${hello.from}, not ${expected.from}`);
  }
  if (expected.to !== undefined && hello.to !== expected.to) {
    throw protocolError(`this is member ${expected.to}, not ${hello.to}`);
  }
  return hello;
}
