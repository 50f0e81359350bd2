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
  RpcServer,
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
