import { isEnxameError, type Cluster, type EnxameError, type NodeConfig } from '#libs/model';
import { createCertificateRequest, createRootCa, makeJoinToken, verifyNodeCertificate } from '#libs/pki';
import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { MemoryStore } from '../sessions/memory-store.js';
import { Membership } from './membership.js';

const nowMs = Date.UTC(2030, 0, 15, 12);
const hourMs = 3_600_000;

async function refusalOf(promise: Promise<unknown>): Promise<EnxameError> {
  try {
    await promise;
  } catch (error) {
    if (isEnxameError(error)) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('manager: who is let in', () => {
  let store: MemoryStore;
  let membership: Membership;

  before(async () => {
    store = new MemoryStore(() => nowMs);
    membership = new Membership({
      store,
      config: {
        nodeName: 'node-1',
        address: '10.0.0.1',
        clusterPort: 2377,
        membership: { kind: 'init', addressPools: ['10.0.0.0/8'], subnetSize: 24, dataPathPort: 4789 },
      } as NodeConfig,
      raftId: 'm1',
      current: () => Promise.resolve(),
      clock: { nowMs: () => nowMs },
      random: { bytes: (length) => randomBytes(length), fraction: () => 0.5 },
      log: () => undefined,
    });
    await membership.lead();
  });
  after(() => membership.stop());

  function cluster(): Readonly<Cluster> {
    const { cluster: present } = store.view();
    if (present === undefined) throw new Error('no cluster');
    return present;
  }

  async function join(token: string) {
    const { requestPem } = await createCertificateRequest();
    const facts = { hostname: 'node-2', address: '10.0.0.2', availability: '' };
    return membership.join({ requestPem, token, ...facts });
  }

  async function patch(fields: Partial<Cluster>): Promise<void> {
    await store.propose([{ op: 'patch', table: 'clusters', id: cluster().id, fields }]);
  }

  for (const role of ['worker', 'manager'] as const) {
    it(`lets a ${role} in by its token, with a certificate that says so`, async () => {
      const issued = await join(cluster().joinTokens[role]);
      const { identity } = verifyNodeCertificate({ ...issued, nowMs });
      expect(identity).to.deep.equal({ nodeId: issued.nodeId, clusterId: cluster().id, role });
      expect(store.view().nodes.get(issued.nodeId)?.spec.Role).to.equal(role);
    });
  }

  it("refuses an old token, another cluster's, and one that is none", async () => {
    const { worker, manager } = cluster().joinTokens;
    const words = 'A valid join token is necessary to join this cluster';
    const other = makeJoinToken((await createRootCa({ nowMs })).certificatePem, randomBytes(16));
    expect(await refusalOf(join(other))).to.include({ code: 'unauthorized', message: words });
    await patch({
      joinTokens: { worker: makeJoinToken(membership.rootCertificatePem(), randomBytes(16)), manager },
    });
    expect(await refusalOf(join(worker))).to.include({ code: 'unauthorized', message: words });
    await join(cluster().joinTokens.worker);
    expect((await refusalOf(join('hello'))).message).to.contain('invalid join token');
  });

  it("renews for the cluster's own nodes alone", async () => {
    const issued = await join(cluster().joinTokens.worker);
    const { requestPem } = await createCertificateRequest();
    const caller = { nodeId: issued.nodeId, clusterId: issued.clusterId, role: 'worker' as const };
    expect((await membership.renew(caller, requestPem)).nodeId).to.equal(issued.nodeId);
    const elsewhere = { ...caller, clusterId: 'x'.repeat(25) as typeof caller.clusterId };
    expect(await refusalOf(membership.renew(elsewhere, requestPem))).to.have.property('code', 'forbidden');
    await store.propose([{ op: 'delete', table: 'nodes', id: issued.nodeId }]);
    const { message } = await refusalOf(membership.renew(caller, requestPem));
    expect(message).to.contain('is not part of this cluster');
  });

  it('gives certificates for as long as the settings of the cluster say', async () => {
    const { spec } = cluster();
    await patch({ spec: { ...spec, CAConfig: { NodeCertExpiry: 2 * hourMs * 1_000_000 } } });
    const issued = await join(cluster().joinTokens.worker);
    expect(verifyNodeCertificate({ ...issued, nowMs }).notAfterMs).to.equal(nowMs + 2 * hourMs);
  });
});
