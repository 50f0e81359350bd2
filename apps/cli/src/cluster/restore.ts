/**
 * `enxame cluster restore`: makes the state folder of a node that of the only manager of a cluster, as a backup has it.
 * The cluster keeps its id, CA, services and nodes; workers come back by their certificates, other managers have to
 * leave and join again.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Node, NodeConfig } from '#libs/model';
import {
  checkCertificateRequest,
  createCertificateRequest,
  issueNodeCertificate,
  makeStorageKey,
  signingCa,
  storageKeysFile,
  writeNodeIdentity,
  writeStorageKeys,
} from '#libs/pki';
import { foundGroup, nodeDisk } from '#libs/raft';
import { decodeSnapshot, encodeSnapshot, type StoreState } from '#libs/store';
import { UserError } from '../user-error.js';
import { readBackup } from './backup-file.js';

/** The old cluster may have gone on after the backup; what it numbered by its terms must look old. */
const termsSkipped = 100_000;

/** What makes a folder that of a node in a cluster. The mark of a restore that did not end is the last to go. */
const stateOfMember = ['swarm.json', 'certificates', 'raft', 'raft-id', storageKeysFile, 'tasks'];
const unfinished = 'restore-unfinished';

export async function restore(file: string, { stateDir }: { stateDir: string }): Promise<void> {
  const { head, state: stored } = readBackup(file);
  const config = readConfig(stateDir);
  makeRoom(stateDir);
  const raftId = randomBytes(8).toString('hex');
  const address = `${config.address}:${config.clusterPort}`;
  const state = asOnlyManager(decodeSnapshot([stored]), { nodeId: head.nodeId, raftId, address });
  const { cluster } = state;
  if (cluster === undefined) throw new UserError(`${file}: the backup holds no cluster`);

  const keys = [makeStorageKey()];
  writeStorageKeys(stateDir, keys, cluster.unlockKey || undefined);
  writeFileSync(join(stateDir, 'raft-id'), `${raftId}\n`, { mode: 0o600, flush: true });
  foundGroup(nodeDisk, {
    dir: join(stateDir, 'raft'),
    id: raftId,
    index: head.index,
    term: head.term + termsSkipped,
    chunks: encodeSnapshot(state),
    keys,
    clusterId: cluster.id,
  });
  const { keyPem, requestPem } = await createCertificateRequest();
  const certificatePem = await issueNodeCertificate({
    ca: signingCa(cluster),
    request: await checkCertificateRequest(requestPem),
    identity: { nodeId: head.nodeId, clusterId: cluster.id, role: 'manager' },
    nowMs: Date.now(),
  });
  const rootCertificatePem = cluster.rootCa.certificatePem;
  writeNodeIdentity(stateDir, { keyPem, certificatePem, rootCertificatePem }, cluster.unlockKey || undefined);
  const swarm = {
    membership: { kind: 'join', token: '', remoteAddresses: [] },
    address: config.address,
    clusterPort: config.clusterPort,
    managers: [],
  };
  writeFileSync(join(stateDir, 'swarm.json'), `${JSON.stringify(swarm, null, 2)}\n`, {
    mode: 0o600,
    flush: true,
  });
  rmSync(join(stateDir, unfinished));
  nodeDisk.syncDirectory(stateDir);
  console.log(
    `Cluster ${cluster.id} as of ${new Date(head.atMs).toISOString()} is restored into ${stateDir}.`,
  );
  console.log('Start the node: it is the only manager. Other managers of before leave and join again.');
}

function readConfig(stateDir: string): NodeConfig {
  const file = join(stateDir, 'config.json');
  if (!existsSync(file)) {
    throw new UserError(`${stateDir} is no state folder of a node: it holds no config.json`);
  }
  return JSON.parse(readFileSync(file, 'utf8')) as NodeConfig;
}

/** A restore that was interrupted begins anew; what a node has been otherwise is not touched. */
function makeRoom(stateDir: string): void {
  const mark = join(stateDir, unfinished);
  const present = stateOfMember.filter((name) => existsSync(join(stateDir, name)));
  if (present.length > 0 && !existsSync(mark)) {
    throw new UserError(
      `${stateDir} belongs to a node of a cluster (${present.join(', ')}): restore goes into an empty state folder`,
    );
  }
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  writeFileSync(mark, '', { flush: true });
  for (const name of present) rmSync(join(stateDir, name), { recursive: true });
}

/** The other managers of before are not waited for: they are workers until they have joined again. */
export function asOnlyManager(
  state: StoreState,
  own: { nodeId: string; raftId: string; address: string },
): StoreState {
  const writer = state.writer();
  for (const node of state.nodes.all()) {
    const { manager, ...rest } = node;
    if (node.id === own.nodeId) {
      writer.set('nodes', { ...node, manager: { raftId: own.raftId, address: own.address } } as Node);
    } else if (manager !== undefined || node.spec.Role === 'manager') {
      writer.set('nodes', { ...rest, spec: { ...node.spec, Role: 'worker' } } as Node);
    }
  }
  return writer.finish(state.index);
}
