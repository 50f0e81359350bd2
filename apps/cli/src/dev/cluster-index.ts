/** Gives every local cluster a small number of its own, which its kernel names and subnets derive from. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { devClusterIndexMax, runRoot, stateRoot } from './layout.js';

export interface ClusterRecord {
  name: string;
  index: number;
  managers: number;
  workers: number;
  /** Its nodes come to no cluster by themselves. */
  bare?: boolean;
  heartbeatPeriodMs: number;
  telemetryUrl?: string;
}

const claimGraceMs = 60_000;
const indexFolder = `${stateRoot}/.index`;

/** The record of a cluster that was made before, running or not. */
export function readClusterRecord(name: string): ClusterRecord | undefined {
  const file = `${stateRoot}/${name}/cluster.json`;
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as ClusterRecord) : undefined;
}

export function writeClusterRecord(record: ClusterRecord): void {
  const file = `${stateRoot}/${record.name}/cluster.json`;
  mkdirSync(`${stateRoot}/${record.name}`, { recursive: true });
  writeFileSync(`${file}.tmp`, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(`${file}.tmp`, file);
}

export function listClusterRecords(): ClusterRecord[] {
  if (!existsSync(stateRoot)) return [];
  return readdirSync(stateRoot)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) => readClusterRecord(name) ?? []);
}

/**
 * Claims the lowest free index by creating its file exclusively: two clusters started at once cannot get the same.
 * The claim lasts as long as the cluster's state does.
 */
export function claimClusterIndex(name: string): number {
  mkdirSync(indexFolder, { recursive: true });
  for (let index = 0; index <= devClusterIndexMax; index++) {
    const file = `${indexFolder}/${index}`;
    if (existsSync(file) && readFileSync(file, 'utf8') === name) return index;
  }
  forgetAbandonedClaims();
  for (let index = 0; index <= devClusterIndexMax; index++) {
    try {
      writeFileSync(`${indexFolder}/${index}`, name, { flag: 'wx' });
      return index;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  throw new Error(
    `all ${devClusterIndexMax + 1} places for local clusters are taken (${listClusterRecords()
      .map((record) => record.name)
      .join(', ')}); end one with: enxame dev down --purge --name NAME`,
  );
}

/** Somebody removed a cluster's state by hand: nothing will ever give its place back. */
function forgetAbandonedClaims(): void {
  for (const entry of readdirSync(indexFolder)) {
    const file = `${indexFolder}/${entry}`;
    const name = readFileSync(file, 'utf8');
    // A claim comes a moment before the state it is for.
    const isFresh = Date.now() - statSync(file).mtimeMs < claimGraceMs;
    if (isFresh || existsSync(`${stateRoot}/${name}`) || existsSync(`${runRoot}/${name}`)) continue;
    rmSync(file, { force: true });
  }
}

export function releaseClusterIndex(index: number): void {
  rmSync(`${indexFolder}/${index}`, { force: true });
}
