import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CgroupLayout } from '../cgroup/detect.js';
import { Field } from './field.js';

/** v1: what a new cpuset has to be given, as it inherits nothing: that of the nearest cgroup above that has some. */
export function cpusetOf(layout: CgroupLayout, config: unknown): { mems?: string; cpus?: string } {
  const cpu = new Field(config, '').at('linux').at('resources').at('cpu');
  const isAsked = !cpu.at('cpus').isAbsent || !cpu.at('mems').isAbsent;
  if (!isAsked || layout.version !== 1 || layout.mounts.cpuset === undefined) return {};
  const path = new Field(config, '').at('linux').at('cgroupsPath').text('');
  const valueOf = (file: string): string => {
    for (let folder = join('/', path); ; folder = dirname(folder)) {
      const value = readOrEmpty(join(layout.mounts.cpuset ?? '', folder, file)).trim();
      if (value !== '' || folder === '/') return value;
    }
  };
  return { mems: valueOf('cpuset.mems'), cpus: valueOf('cpuset.cpus') };
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
