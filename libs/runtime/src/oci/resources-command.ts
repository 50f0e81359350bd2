/** `update` and `events`: limits and figures of a container that runs. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { applyLimits } from '../cgroup/apply-limits.js';
import { readPids, readUsage } from '../cgroup/cgroup-files.js';
import { planCgroup } from '../cgroup/cgroup-plan.js';
import { detectCgroups, type CgroupLayout } from '../cgroup/detect.js';
import { readCgroupsPath, readResources, type CgroupPlace } from './bundle-resources.js';
import { Field } from './field.js';
import { cpusetOf } from './node-cpuset.js';

const intervalSecondsDefault = 5;

interface Found {
  layout: CgroupLayout;
  place: CgroupPlace;
  config: unknown;
}

function find(command: string, root: string, id: string | undefined): Found {
  if (id === undefined) throw new Error('no container id');
  const text = execFileSync(command, ['--root', root, 'state', id], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { bundle, status } = JSON.parse(text) as { bundle: string; status: string };
  if (status === 'stopped') throw new Error(`container ${id} is not running`);
  const config: unknown = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'));
  return {
    layout: detectCgroups(readFileSync('/proc/self/mountinfo', 'utf8')),
    place: readCgroupsPath(new Field(config, '').at('linux'), id),
    config,
  };
}

/** Flag, and where its number stands in `linux.resources`. */
const flags: Readonly<Record<string, readonly [string, string]>> = {
  memory: ['memory', 'limit'],
  'memory-reservation': ['memory', 'reservation'],
  'memory-swap': ['memory', 'swap'],
  'cpu-period': ['cpu', 'period'],
  'cpu-quota': ['cpu', 'quota'],
  'cpu-share': ['cpu', 'shares'],
  'cpu-rt-period': ['cpu', 'realtimePeriod'],
  'cpu-rt-runtime': ['cpu', 'realtimeRuntime'],
  'cpuset-cpus': ['cpu', 'cpus'],
  'cpuset-mems': ['cpu', 'mems'],
  'pids-limit': ['pids', 'limit'],
  'blkio-weight': ['blockIO', 'weight'],
};

export async function update([command = '', root = '', ...args]: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      resources: { type: 'string', short: 'r' },
      ...Object.fromEntries(Object.keys(flags).map((name) => [name, { type: 'string' as const }])),
    },
  });
  const [id] = positionals;
  const { layout, place, config } = find(command, root, id);
  const file = values.resources === '-' ? '/dev/stdin' : values.resources;
  const resources =
    file === undefined ? {} : (JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>);
  for (const [name, [group, member]] of Object.entries(flags)) {
    const text = (values as Record<string, string | undefined>)[name];
    if (text === undefined) continue;
    const value = name.startsWith('cpuset') ? text : Number(text);
    resources[group] = { ...resources[group], [member]: value };
  }
  const cpuset = cpusetOf(layout, config);
  const plan = planCgroup({
    layout,
    parent: place.parent,
    id: place.name,
    resources: readResources(new Field(resources, 'resources')),
    privileged: true,
    ...(cpuset.mems === undefined ? {} : { cpusetMems: cpuset.mems }),
    ...(cpuset.cpus === undefined ? {} : { cpusetCpus: cpuset.cpus }),
  });
  // What the request does not name stays as it is.
  const keepsSwap = new Field(resources, 'resources').at('memory').at('swap').isAbsent;
  const writes = plan.writes.filter(({ path }) => !keepsSwap || !/memory\.(memsw|swap)\./.test(path));
  await applyLimits({ ...plan, writes }, await readPids(layout, place.parent, place.name));
}

export async function events([command = '', root = '', ...args]: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { stats: { type: 'boolean' }, interval: { type: 'string' } },
  });
  const [id] = positionals;
  const { layout, place } = find(command, root, id);
  const seconds = Number.parseFloat(values.interval ?? '') || intervalSecondsDefault;
  for (;;) {
    const { detail, ...usage } = await readUsage(layout, place.parent, place.name);
    const line = {
      type: 'stats',
      id,
      data: {
        cpu: {
          usage: {
            total: usage.cpuNanoseconds,
            user: usage.cpuUserNanoseconds,
            kernel: usage.cpuSystemNanoseconds,
            ...(detail.cpuPerProcessor === undefined ? {} : { percpu: detail.cpuPerProcessor }),
          },
          throttling: {
            periods: detail.throttling.periods,
            throttledPeriods: detail.throttling.throttledPeriods,
            throttledTime: detail.throttling.throttledNanoseconds,
          },
        },
        memory: {
          usage: {
            usage: usage.memoryBytes,
            ...(usage.memoryLimitBytes === undefined ? {} : { limit: usage.memoryLimitBytes }),
            ...(detail.memoryPeakBytes === undefined ? {} : { max: detail.memoryPeakBytes }),
            failcnt: detail.memoryFailures ?? 0,
          },
          raw: detail.memory,
        },
        pids: { current: usage.pids, ...(usage.pidsLimit === undefined ? {} : { limit: usage.pidsLimit }) },
      },
    };
    writeFileSync(1, `${JSON.stringify(line)}\n`);
    if (values.stats === true) return;
    await delay(seconds * 1000);
  }
}
