/**
 * Removes whatever a local cluster left in the kernel and in /run when its own daemons could not: after a kill -9,
 * a crash or a power cut in the middle of a clean-up. Every step works on what is there and may be run again.
 */
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { createNodeNetwork } from '#libs/network';
import { tryCommand } from './command.js';
import { waitFor } from './engine-client.js';
import type { DevLayout, DevNode } from './layout.js';
import { removeUnderlay } from './underlay.js';

const cgroupRoot = '/sys/fs/cgroup';

export async function sweep(layout: DevLayout): Promise<void> {
  await endProcesses(() => [...processesOf(layout), ...cgroupFolders(layout).flatMap(processesIn)]);
  await removeNodeNetwork(layout.nodes[0] as DevNode);
  removeUnderlay(layout);
  unmountBelow(layout);
  for (const folder of cgroupFolders(layout)) await removeCgroup(folder);
  rmSync(layout.runDir, { recursive: true, force: true });
}

/** Node 1 shares the machine's namespace; the other nodes' kernel state goes with their namespaces. */
async function removeNodeNetwork(node: DevNode): Promise<void> {
  const network = createNodeNetwork({
    tag: node.config.network.tag,
    stateDir: join(node.config.stateDir, 'network'),
    linkLocalGateway: node.config.network.linkLocalGateway,
    markBase: node.config.network.markBase,
    address: node.address,
    dnsUpstreams: [],
  });
  await network.destroy();
}

/** Daemons, managers, launchers and shims of this cluster: our programs that were started with its folders. */
function processesOf(layout: DevLayout): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      if (pid === process.pid) return false;
      const line = readProcessFile(pid, 'cmdline');
      const ours =
        line.includes('enxame-') ||
        line.includes('/programs/agent.js') ||
        line.includes('/programs/manager.js');
      return ours && (line.includes(`${layout.stateDir}/`) || line.includes(`${layout.runDir}/`));
    });
}

function readProcessFile(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // The process ended while the list was walked.
    return '';
  }
}

async function endProcesses(find: () => number[]): Promise<void> {
  for (const pid of find()) signal(pid, 'SIGKILL');
  await waitFor('the end of the cluster processes', 10_000, async () => {
    const left = find();
    for (const pid of left) signal(pid, 'SIGKILL');
    return left.length === 0 ? true : undefined;
  });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The cluster's folder in every cgroup hierarchy: v1 has one per controller, v2 one in all. */
function cgroupFolders(layout: DevLayout): string[] {
  const below = join('enxame', layout.name);
  const candidates = [join(cgroupRoot, below)];
  if (existsSync(cgroupRoot)) {
    for (const name of readdirSync(cgroupRoot)) candidates.push(join(cgroupRoot, name, below));
  }
  return candidates.filter((folder) => existsSync(folder));
}

function processesIn(folder: string): number[] {
  const found: number[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) found.push(...processesIn(join(folder, entry.name)));
    else if (entry.name === 'cgroup.procs') {
      found.push(...readFileSync(join(folder, entry.name), 'utf8').split('\n').filter(Boolean).map(Number));
    }
  }
  return found;
}

async function removeCgroup(folder: string): Promise<void> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
  }
  // A process that has just died holds its cgroup for a moment.
  await waitFor(`removal of ${folder}`, 5_000, async () => {
    rmdirSync(folder);
    return true;
  });
  const parent = join(folder, '..');
  if (
    parent.endsWith('/enxame') &&
    existsSync(parent) &&
    readdirSync(parent, { withFileTypes: true }).every((entry) => !entry.isDirectory())
  ) {
    rmdirSync(parent);
  }
}

function unmountBelow(layout: DevLayout): void {
  const targets = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${layout.stateDir}/`) || target.startsWith(`${layout.runDir}/`));
  for (const target of targets.reverse()) tryCommand('umount', ['-l', target]);
}
