/** A cluster's certificate authority and what its nodes show. */
import type { ClusterId, NodeId } from '#libs/model';
import {
  checkCertificateRequest,
  createCertificateRequest,
  createRootCa,
  issueNodeCertificate,
  managerServerName,
  type NodeRole,
} from '#libs/pki';
import type { PeerCredentials } from '../grpc-transport.js';

export class TestCluster {
  private constructor(
    readonly clusterId: string,
    private readonly ca: { certificatePem: string; keyPem: string },
  ) {}

  static async create(clusterId = 'cluster'): Promise<TestCluster> {
    return new TestCluster(clusterId, await createRootCa({ nowMs: Date.now() }));
  }

  async credentials(nodeId: string, role: NodeRole = 'manager'): Promise<PeerCredentials> {
    const { keyPem, requestPem } = await createCertificateRequest();
    const certificatePem = await issueNodeCertificate({
      ca: this.ca,
      request: await checkCertificateRequest(requestPem),
      identity: { nodeId: nodeId as NodeId, clusterId: this.clusterId as ClusterId, role },
      nowMs: Date.now(),
    });
    const rootCertificatePem = this.ca.certificatePem;
    return {
      clusterId: this.clusterId,
      tls: { kind: 'mutual', certificatePem, keyPem, rootCertificatePem, serverName: managerServerName },
    };
  }
}
