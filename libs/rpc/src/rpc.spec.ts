import { EnxameError } from '#libs/model';
import {
  createCertificateRequest,
  checkCertificateRequest,
  createRootCa,
  issueNodeCertificate,
} from '#libs/pki';
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import type { ClusterId, NodeId } from '#libs/model';
import { expect } from 'chai';
import {
  ca as caRpc,
  callerOf,
  callUnary,
  createRpcClient,
  dialLean,
  fromServiceError,
  RpcServer,
  toGrpcStatus,
  toServiceError,
  type ClientTls,
} from './index.js';

const nowMs = Date.now();

async function certificateFor(
  ca: { certificatePem: string; keyPem: string },
  nodeId: string,
  role: 'manager' | 'worker',
) {
  const { keyPem, requestPem } = await createCertificateRequest();
  const certificatePem = await issueNodeCertificate({
    ca,
    request: await checkCertificateRequest(requestPem),
    identity: { nodeId: nodeId as NodeId, clusterId: 'cluster' as ClusterId, role },
    nowMs,
  });
  return { keyPem, certificatePem, rootCertificatePem: ca.certificatePem };
}

describe('rpc', () => {
  let server: RpcServer;
  let target: string;
  let ownCa: { certificatePem: string; keyPem: string };
  let foreignCa: { certificatePem: string; keyPem: string };

  before(async () => {
    ownCa = await createRootCa({ nowMs });
    foreignCa = await createRootCa({ nowMs });
    server = new RpcServer({
      tls: await certificateFor(ownCa, 'leader', 'manager'),
      services: [
        {
          definition: caRpc.CertificateAuthorityService,
          implementation: {
            // Says who calls.
            getRootCertificate: (
              call: ServerUnaryCall<caRpc.RootCertificateRequest, caRpc.RootCertificateReply>,
              done: sendUnaryData<caRpc.RootCertificateReply>,
            ) => done(null, { rootCertificatePem: JSON.stringify(callerOf(call) ?? null) }),
            issueCertificate: (
              _call: ServerUnaryCall<caRpc.IssueRequest, caRpc.IssueReply>,
              done: sendUnaryData<caRpc.IssueReply>,
            ) => done(toServiceError(new EnxameError('version-mismatch', 'update out of sequence'))),
          },
          lean: {
            '/test.Lean/Caller': (stream, { subject }) => {
              stream.send(Buffer.from(JSON.stringify(subject)));
              stream.end(toGrpcStatus(new EnxameError('version-mismatch', 'update out of sequence')));
              return { message: () => undefined, ended: () => undefined, drained: () => undefined };
            },
          },
        },
      ],
    });
    target = `127.0.0.1:${await server.listen({ host: '127.0.0.1', port: 0 })}`;
  });

  after(() => server.close());

  async function callerSeen(tls: ClientTls): Promise<unknown> {
    const client = createRpcClient(caRpc.CertificateAuthorityClient, target, tls);
    try {
      const reply = await callUnary<caRpc.RootCertificateRequest, caRpc.RootCertificateReply>(
        client.getRootCertificate.bind(client),
        {},
        { timeoutMs: 5000 },
      );
      return JSON.parse(reply.rootCertificatePem);
    } catch (error) {
      return error;
    } finally {
      client.close();
    }
  }

  it('serves callers with and without a certificate on one port, and knows which', async () => {
    const serverName = 'swarm-manager';
    const worker = await certificateFor(ownCa, 'worker1', 'worker');
    expect(await callerSeen({ kind: 'mutual', ...worker, serverName })).to.deep.equal({
      O: 'cluster',
      OU: 'swarm-worker',
      CN: 'worker1',
    });
    expect(await callerSeen({ kind: 'unverified' })).to.equal(null);
    expect(
      await callerSeen({ kind: 'server-only', rootCertificatePem: ownCa.certificatePem, serverName }),
    ).to.equal(null);
  });

  it('refuses a certificate of another cluster, on either side, and a name the server has not', async () => {
    const serverName = 'swarm-manager';
    const foreign = await certificateFor(foreignCa, 'worker1', 'worker');
    const refused: ClientTls[] = [
      { kind: 'mutual', ...foreign, rootCertificatePem: ownCa.certificatePem, serverName },
      { kind: 'server-only', rootCertificatePem: foreignCa.certificatePem, serverName },
      { kind: 'server-only', rootCertificatePem: ownCa.certificatePem, serverName: 'swarm-worker' },
    ];
    for (const tls of refused) {
      expect(await callerSeen(tls))
        .to.be.instanceOf(EnxameError)
        .with.property('code', 'unavailable');
    }
  });

  /** What a lean call is told of its caller, and how it ended. */
  async function leanCallerSeen(tls: ClientTls): Promise<{ seen: unknown; error: EnxameError }> {
    const { client } = dialLean(target, tls);
    let seen: unknown;
    const error = await new Promise<EnxameError>((resolve) => {
      client.open('/test.Lean/Caller', {
        message: (message) => {
          seen = JSON.parse(message.toString());
        },
        ended: (status) => resolve(fromServiceError(status)),
        drained: () => undefined,
      });
    });
    client.close();
    return { seen, error };
  }

  it('serves lean calls on the same port, knows their callers and carries errors', async () => {
    const serverName = 'swarm-manager';
    const worker = await certificateFor(ownCa, 'worker1', 'worker');
    const shown = await leanCallerSeen({ kind: 'mutual', ...worker, serverName });
    expect(shown.seen).to.deep.equal({ O: 'cluster', OU: 'swarm-worker', CN: 'worker1' });
    expect(shown.error).to.deep.include({ code: 'version-mismatch', message: 'update out of sequence' });
    const foreign = await certificateFor(foreignCa, 'worker1', 'worker');
    const refused: ClientTls[] = [
      { kind: 'unverified' },
      { kind: 'mutual', ...foreign, rootCertificatePem: ownCa.certificatePem, serverName },
      { kind: 'server-only', rootCertificatePem: foreignCa.certificatePem, serverName },
      { kind: 'server-only', rootCertificatePem: ownCa.certificatePem, serverName: 'swarm-worker' },
    ];
    for (const tls of refused) {
      const { seen, error } = await leanCallerSeen(tls);
      expect([seen, error.code]).to.deep.equal([undefined, 'unavailable']);
    }
  });

  it('carries an error with its own code and words', async () => {
    const client = createRpcClient(caRpc.CertificateAuthorityClient, target, { kind: 'unverified' });
    const error = await callUnary<caRpc.IssueRequest, caRpc.IssueReply>(
      client.issueCertificate.bind(client),
      { requestPem: '', joinToken: '', hostname: '', address: '', availability: '' },
      { timeoutMs: 5000 },
    ).catch((reason: unknown) => reason);
    client.close();
    expect(error).to.be.instanceOf(EnxameError).with.property('code', 'version-mismatch');
    expect(error).to.have.property('message', 'update out of sequence');
  });
});
