/** What this machine is, read once: plans depend on it and on nothing else of the node. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { release, totalmem } from 'node:os';
import { detectCgroups, type CgroupLayout } from '../cgroup/detect.js';
import type { NodeFacts } from '../plan/process-plan.js';
import { parseNodeLimits } from '../plan/ulimits.js';

export interface Node {
  facts: NodeFacts;
  cgroups: CgroupLayout;
  memoryBytes: number;
  thermalPaths: string[];
}

const cpuFolder = '/sys/devices/system/cpu';

export async function readNode(): Promise<Node> {
  const [mountInfo, limits, status, oomScoreAdj] = await Promise.all(
    ['mountinfo', 'limits', 'status', 'oom_score_adj'].map((name) => readFile(`/proc/self/${name}`, 'utf8')),
  );
  return {
    facts: {
      architecture: architecture(),
      kernelRelease: release(),
      limits: parseNodeLimits({
        limits: limits ?? '',
        status: status ?? '',
        oomScoreAdj: oomScoreAdj ?? '0',
      }),
    },
    cgroups: detectCgroups(mountInfo ?? ''),
    memoryBytes: totalmem(),
    thermalPaths: await thermalPaths(),
  };
}

function architecture(): NodeFacts['architecture'] {
  if (process.arch === 'x64') return 'amd64';
  return process.arch === 'arm64' ? 'arm64' : undefined;
}

async function thermalPaths(): Promise<string[]> {
  if (!existsSync(cpuFolder)) return [];
  return (await readdir(cpuFolder))
    .filter((name) => /^cpu\d+$/.test(name))
    .map((name) => `${cpuFolder}/${name}/thermal_throttle`)
    .filter((path) => existsSync(path));
}
