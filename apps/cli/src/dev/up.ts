/** `enxame dev up`: starts a cluster of several nodes on this machine. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import {
  claimClusterIndex,
  type ClusterRecord,
  readClusterRecord,
  writeClusterRecord,
} from './cluster-index.js';
import { waitFor } from './engine-client.js';
import { clusterNamePattern, devNodesMax, runRoot, stateRoot } from './layout.js';
import { lockCluster, Supervisor } from './supervisor.js';
import { UserError } from '../user-error.js';

export interface UpOptions {
  name: string;
  managers: number;
  workers: number;
  heartbeatMs: number;
  telemetry?: string;
  /** The nodes wait for `docker swarm init` and `join`. */
  bare?: boolean;
  detach: boolean;
  /** Run when all nodes are ready: deploys the demo, prints the screen. */
  afterReady: (supervisor: Supervisor) => Promise<void>;
}

const detachedStartTimeoutMs = 90_000;
const managersMax = 7;

export function checkUpOptions(options: UpOptions): void {
  if (process.getuid?.() !== 0) {
    throw new UserError(
      `a cluster needs root (namespaces, mounts, cgroups). Use: sudo npx enxame ${process.argv.slice(2).join(' ')}`,
    );
  }
  if (!clusterNamePattern.test(options.name)) {
    throw new UserError(`--name "${options.name}": must match ${clusterNamePattern.source}`);
  }
  if (options.managers < 1 || options.managers > managersMax || options.managers % 2 === 0) {
    throw new UserError(
      `--managers ${options.managers}: must be 1, 3, 5 or ${managersMax}; an even number survives no more losses than the odd one below it`,
    );
  }
  if (options.workers < 0 || options.managers + options.workers > devNodesMax) {
    throw new UserError(
      `--workers ${options.workers}: must be between 0 and ${devNodesMax - options.managers}`,
    );
  }
}

export async function up(options: UpOptions): Promise<void> {
  checkUpOptions(options);
  if (options.detach) return upDetached(options);
  const lock = await lockCluster(options.name);
  if (!lock) throw new UserError(alreadyRunning(options.name));
  const supervisor = new Supervisor(prepareRecord(options), lock, (line) => console.log(line));
  const stopped = new Promise<void>((resolve) => {
    const end = (): void => {
      console.log('\nStopping ...');
      supervisor.stop().then(resolve, (error) => {
        console.error(`stopping: ${error instanceof Error ? error.message : error}`);
        process.exit(1);
      });
    };
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, end);
  });
  try {
    await supervisor.start();
    await options.afterReady(supervisor);
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  await stopped;
}

function alreadyRunning(name: string): string {
  const pidFile = `${runRoot}/${name}/supervisor.pid`;
  const pid = existsSync(pidFile) ? ` (process ${readFileSync(pidFile, 'utf8').trim()})` : '';
  const stop = name === 'dev' ? 'npm stop' : `npx enxame dev down --name ${name}`;
  return `cluster "${name}" is already running${pid}. Stop it with: ${stop}`;
}

/** A cluster that was made before keeps its size: its state on disk is that of those nodes. */
function prepareRecord(options: UpOptions): ClusterRecord {
  const before = readClusterRecord(options.name);
  const sameSize = before?.managers === options.managers && before.workers === options.workers;
  if (before && (!sameSize || (before.bare ?? false) !== (options.bare ?? false))) {
    throw new UserError(
      `cluster "${options.name}" was made with ${before.managers} managers and ${before.workers} workers${before.bare ? ', bare' : ''}; start it with the same, or forget it first: npx enxame dev down --purge --name ${options.name}`,
    );
  }
  const record: ClusterRecord = {
    name: options.name,
    index: claimClusterIndex(options.name),
    managers: options.managers,
    workers: options.workers,
    heartbeatPeriodMs: options.heartbeatMs,
    ...(options.bare ? { bare: true } : {}),
    ...(options.telemetry ? { telemetryUrl: options.telemetry } : {}),
  };
  writeClusterRecord(record);
  return record;
}

/** Runs this same command in the background and stays until its screen has been printed. */
async function upDetached(options: UpOptions): Promise<void> {
  const probe = await lockCluster(options.name);
  if (!probe) throw new UserError(alreadyRunning(options.name));
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  const folder = `${stateRoot}/${options.name}`;
  mkdirSync(folder, { recursive: true });
  const logFile = `${folder}/supervisor.log`;
  const log = openSync(logFile, 'w');
  const [, main = '', ...given] = process.argv;
  const args = given.filter((arg) => arg !== '--detach' && arg !== '-d');
  const child = spawn(process.execPath, [main, ...args], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ENXAME_DETACHED: '1' },
  });
  closeSync(log);
  let ended: number | null | undefined;
  child.on('exit', (code) => {
    ended = code;
  });
  let shown = 0;
  await waitFor(`start of cluster "${options.name}" (log: ${logFile})`, detachedStartTimeoutMs, async () => {
    const size = statSync(logFile).size;
    if (size > shown) {
      process.stdout.write(readFileSync(logFile, 'utf8').slice(shown));
      shown = size;
    }
    if (ended !== undefined) process.exit(ended ?? 1);
    return readFileSync(logFile, 'utf8').includes(readyMark) ? true : undefined;
  });
  child.unref();
}

/** The last line of the screen, by which a detached start knows that all is up. */
export const readyMark = 'Stop it with:';
