/** The gRPC face of membership: the only calls a manager answers to a caller without a certificate. */
import { EnxameError } from '#libs/model';
import { identityFromSubject, type CertifiedIdentity } from '#libs/pki';
import { ca, callerOf, toServiceError, type RpcService } from '#libs/rpc';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import type { Membership } from './membership.js';

/** Who calls, by certificate. Undefined without one; `unauthorized` when it names no node. */
export function certifiedCaller(
  call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>,
): CertifiedIdentity | undefined {
  const subject = callerOf(call);
  if (!subject) return undefined;
  const identity = identityFromSubject(subject);
  if (!identity) throw new EnxameError('unauthorized', 'the certificate names no node');
  return identity;
}

export function certificateService(membership: Membership): RpcService {
  const implementation: ca.CertificateAuthorityServer = {
    getRootCertificate: (
      _call: ServerUnaryCall<ca.RootCertificateRequest, ca.RootCertificateReply>,
      done: sendUnaryData<ca.RootCertificateReply>,
    ) => {
      answer(async () => ({ rootCertificatePem: await membership.currentRoot() }), done);
    },
    issueCertificate: (
      call: ServerUnaryCall<ca.IssueRequest, ca.IssueReply>,
      done: sendUnaryData<ca.IssueReply>,
    ) => {
      answer(async () => {
        const caller = certifiedCaller(call);
        const { requestPem, joinToken, hostname, address, availability } = call.request;
        const issued = caller
          ? await membership.renew(caller, requestPem)
          : await membership.join({ requestPem, token: joinToken, hostname, address, availability });
        return {
          nodeId: issued.nodeId,
          certificatePem: issued.certificatePem,
          rootCertificatePem: issued.rootCertificatePem,
        };
      }, done);
    },
  };
  return { definition: ca.CertificateAuthorityService, implementation };
}

function answer<Reply>(compute: () => Promise<Reply>, done: sendUnaryData<Reply>): void {
  Promise.resolve()
    .then(compute)
    .then(
      (reply) => done(null, reply),
      (error: unknown) => done(toServiceError(error)),
    );
}
