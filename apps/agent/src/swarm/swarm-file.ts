/**
 * What this node has become, on disk: how it came to its cluster, where the others reach it, and the managers it
 * knows. Once the file is there it rules, and the configuration's `membership` and address are history.
 */
import { EnxameError, type NodeConfig } from '#libs/model';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface ManagerPeer {
  /** Empty while only its address is known. */
  nodeId: string;
  /** host:port of its cluster port. */
  address: string;
  /** Of its node; 0 or absent while it is not known. */
  enginePort?: number;
}

export interface SwarmState {
  membership: NodeConfig['membership'];
  /** Advertised to the cluster. */
  address: string;
  clusterPort: number;
  /** Where overlay traffic goes, where that is not the advertised address. */
  dataPathAddress?: string;
  managers: ManagerPeer[];
  /** The manager of this node is to begin its next start as the only one, with all that its log holds. */
  forceNewCluster?: boolean;
}

export function swarmFile(stateDir: string): string {
  return join(stateDir, 'swarm.json');
}

/** The file's content, or what the configuration says while there is none. */
export function readSwarmState(config: NodeConfig): SwarmState {
  const file = swarmFile(config.stateDir);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return configuredState(config);
  }
  try {
    return JSON.parse(text) as SwarmState;
  } catch (cause) {
    throw new EnxameError('data-damaged', `${file}: not JSON`, { cause });
  }
}

function configuredState(config: NodeConfig): SwarmState {
  const { membership, address, clusterPort } = config;
  const known = membership.kind === 'join' ? membership.remoteAddresses : [];
  return {
    membership,
    address,
    clusterPort,
    managers: known.map((manager) => ({ nodeId: '', address: manager })),
  };
}

/** Whole or not at all, and on disk when it returns. */
export function writeSwarmState(stateDir: string, state: SwarmState): void {
  const file = swarmFile(stateDir);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const fd = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeSync(fd, `${JSON.stringify(state, null, 2)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
  const folder = openSync(stateDir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The node's configuration as its cluster sees it. */
export function memberConfig(config: NodeConfig, state: SwarmState): NodeConfig {
  const { membership, address, clusterPort, dataPathAddress, forceNewCluster } = state;
  const force = forceNewCluster === true ? { forceNewCluster } : {};
  const dataPath = dataPathAddress === undefined ? {} : { dataPathAddress };
  return { ...config, membership, address, clusterPort, ...dataPath, ...force };
}
