/** Limits of a container's processes, within what this node's own processes may give. */
import { EnxameError } from '#libs/model';
import { rlimitNumbers, type Rlimit, type RlimitName } from '../launcher/launch-plan.js';
import type { ContainerConfig } from '../port.js';
import { sysResourceCapabilityNumber } from '../sandbox/capabilities.js';

/** What this process may hand on. */
export interface NodeLimits {
  /** May raise hard limits over its own. */
  mayRaise: boolean;
  hard: ReadonlyMap<RlimitName, bigint>;
  /** A process without CAP_SYS_RESOURCE can only go up from here. */
  oomScoreAdj: number;
}

const unlimited = -1n;

/** Rows of `/proc/self/limits`, as `setrlimit` knows them. */
const procNames: Readonly<Record<RlimitName, string>> = {
  cpu: 'Max cpu time',
  fsize: 'Max file size',
  data: 'Max data size',
  stack: 'Max stack size',
  core: 'Max core file size',
  rss: 'Max resident set',
  nproc: 'Max processes',
  nofile: 'Max open files',
  memlock: 'Max locked memory',
  as: 'Max address space',
  locks: 'Max file locks',
  sigpending: 'Max pending signals',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
};

/** From `/proc/self/limits`, `/proc/self/status` and `/proc/self/oom_score_adj`. */
export function parseNodeLimits(files: { limits: string; status: string; oomScoreAdj: string }): NodeLimits {
  const hard = new Map<RlimitName, bigint>();
  for (const [name, label] of Object.entries(procNames) as [RlimitName, string][]) {
    const line = files.limits.split('\n').find((row) => row.startsWith(`${label} `));
    const [, value] = line?.slice(label.length).trim().split(/\s+/) ?? [];
    if (value !== undefined) hard.set(name, value === 'unlimited' ? unlimited : BigInt(value));
  }
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(files.status)?.[1] ?? '0';
  const mayRaise = (BigInt(`0x${effective}`) >> BigInt(sysResourceCapabilityNumber)) & 1n;
  return { mayRaise: mayRaise === 1n, hard, oomScoreAdj: Number(files.oomScoreAdj) };
}

/** Asked limits, lowered to the node's where it cannot give more. Throws `invalid-argument` for unknown names. */
export function planUlimits(ulimits: ContainerConfig['ulimits'], node: NodeLimits): Rlimit[] {
  return ulimits.map(({ name, soft, hard }) => {
    const known = (Object.keys(rlimitNumbers) as RlimitName[]).find((other) => other === name.toLowerCase());
    if (known === undefined) throw new EnxameError('invalid-argument', `invalid ulimit type: ${name}`);
    if (hard !== -1 && (soft === -1 || soft > hard)) {
      throw new EnxameError(
        'invalid-argument',
        `ulimit ${name}: soft limit must be at most the hard limit: ${soft} > ${hard}`,
      );
    }
    const ceiling = node.mayRaise ? unlimited : (node.hard.get(known) ?? unlimited);
    return {
      kind: 'rlimit',
      name: known,
      soft: lower(BigInt(soft), ceiling),
      hard: lower(BigInt(hard), ceiling),
    };
  });
}

function lower(wanted: bigint, ceiling: bigint): bigint {
  if (ceiling === unlimited) return wanted;
  return wanted === unlimited || wanted > ceiling ? ceiling : wanted;
}
