/**
 * The few numbers of a container's usage that are kept as history. Its files are the kernel's memory, which no disk
 * delays, so they are read at once: with a thousand containers, turns of the event loop would cost more than the reads.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupLayout } from './detect.js';

export interface UsageSample {
  cpuNanoseconds: number;
  memoryBytes: number;
  pids: number;
}

/** What is not controlled on this node, or has just gone, counts as 0. */
export function readUsageSample(layout: CgroupLayout, parent: string, id: string): UsageSample {
  if (layout.version === 2) {
    const folder = join(layout.root, parent, id);
    const cpu = /^usage_usec (\d+)$/m.exec(textOf(join(folder, 'cpu.stat')));
    return {
      cpuNanoseconds: Number(cpu?.[1] ?? 0) * 1_000,
      memoryBytes: Number(textOf(join(folder, 'memory.current'))),
      pids: Number(textOf(join(folder, 'pids.current'))),
    };
  }
  const { cpuacct, memory, pids } = layout.mounts;
  const read = (mount: string | undefined, file: string): number =>
    mount === undefined ? 0 : Number(textOf(join(mount, parent, id, file)));
  return {
    cpuNanoseconds: read(cpuacct, 'cpuacct.usage'),
    memoryBytes: read(memory, 'memory.usage_in_bytes'),
    pids: read(pids, 'pids.current'),
  };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
