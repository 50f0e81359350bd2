/** `process` of a bundle, or of an exec: who the program is and what it may do. */
import {
  rlimitNumbers,
  type LaunchOperation,
  type Rlimit,
  type RlimitName,
} from '../launcher/launch-plan.js';
import type { NodeFacts } from '../plan/process-plan.js';
import { capabilityMask } from '../sandbox/capabilities.js';
import { compileSeccomp } from '../sandbox/seccomp-compiler.js';
import { parseSeccompProfile } from '../sandbox/seccomp-profile.js';
import type { Field } from './field.js';

const unlimitedFrom = 2 ** 63;
const umaskMax = 0o777;

export interface ProcessContext {
  node: Pick<NodeFacts, 'architecture' | 'kernelRelease'>;
  /** `linux.seccomp` of the container. */
  seccomp: Field;
  /** Home folder of a user id, by the container's own passwd file. */
  homeOf: (uid: number) => string;
  createWorkdir: boolean;
  noNewKeyring: boolean;
}

export function planStdio(process: Field): LaunchOperation {
  const size = process.at('consoleSize');
  return {
    kind: 'stdio',
    tty: process.at('terminal').truth(),
    stdin: true,
    stdinOnce: false,
    rows: size.at('height').number(0),
    columns: size.at('width').number(0),
  };
}

export function planBundleProcess(process: Field, context: ProcessContext): LaunchOperation[] {
  const args = process.at('args').texts();
  if (args.length === 0 || args[0] === '') throw process.at('args').invalid('must name a program');
  for (const name of ['apparmorProfile', 'selinuxLabel'])
    process.at(name).refuseIfAny((value) => value === '');
  for (const name of ['scheduler', 'ioPriority', 'execCPUAffinity']) process.at(name).refuseIfAny();
  const capabilities = process.at('capabilities');
  const mask = (set: string): bigint => capabilityMask(capabilities.at(set).texts());
  const user = process.at('user');
  const uid = user.at('uid').number(0);
  const umask = user.at('umask');
  const score = process.at('oomScoreAdj').numberIfAny();
  return [
    ...planRlimits(process.at('rlimits')),
    ...(score === undefined ? [] : [{ kind: 'oom-score', value: score } as const]),
    ...(process.at('noNewPrivileges').truth() ? [{ kind: 'no-new-privileges' } as const] : []),
    ...(context.noNewKeyring ? [{ kind: 'no-keyring' } as const] : []),
    {
      kind: 'capabilities',
      bounding: mask('bounding'),
      effective: mask('effective'),
      permitted: mask('permitted'),
      inheritable: mask('inheritable'),
      ambient: mask('ambient'),
    },
    {
      kind: 'user',
      uid,
      gid: user.at('gid').number(0),
      groups: user
        .at('additionalGids')
        .list()
        .map((gid) => gid.number()),
    },
    ...(umask.isAbsent ? [] : [{ kind: 'umask', mask: checkedUmask(umask) } as const]),
    ...planSeccomp(context),
    { kind: 'workdir', path: process.at('cwd').absolutePath(), create: context.createWorkdir },
    { kind: 'environment', variables: environmentOf(process.at('env').texts(), uid, context) },
    { kind: 'exec', argv: args },
  ];
}

function checkedUmask(field: Field): number {
  const mask = field.number();
  if (mask < 0 || mask > umaskMax) throw field.invalid('must be from 0 to 0777');
  return mask;
}

/** A program can count on HOME, as it can with every other runtime. */
function environmentOf(given: string[], uid: number, context: ProcessContext): string[] {
  return given.some((item) => item.startsWith('HOME=')) ? given : [...given, `HOME=${context.homeOf(uid)}`];
}

function planRlimits(limits: Field): Rlimit[] {
  const seen = new Set<string>();
  return limits.list().map((limit) => {
    const type = limit.at('type').text();
    const name = (Object.keys(rlimitNumbers) as RlimitName[]).find(
      (one) => `RLIMIT_${one.toUpperCase()}` === type,
    );
    if (name === undefined) throw limit.at('type').invalid(`"${type}" is no limit of Linux`);
    if (seen.has(type)) throw limit.at('type').invalid(`${type} is there twice`);
    seen.add(type);
    const valueOf = (field: Field): bigint => {
      const value = field.number();
      return value < 0 || value >= unlimitedFrom ? -1n : BigInt(value);
    };
    const [soft, hard] = [valueOf(limit.at('soft')), valueOf(limit.at('hard'))];
    if (hard !== -1n && (soft === -1n || soft > hard)) throw limit.at('soft').invalid('must be at most hard');
    return { kind: 'rlimit', name, soft, hard };
  });
}

function planSeccomp({ seccomp, node }: ProcessContext): LaunchOperation[] {
  if (seccomp.isAbsent) return [];
  for (const name of ['listenerPath', 'listenerMetadata'])
    seccomp.at(name).refuseIfAny((value) => value === '');
  for (const flag of seccomp.at('flags').list())
    flag.oneOf(['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW']);
  if (node.architecture === undefined) seccomp.refuseIfAny();
  const profile = parseSeccompProfile(JSON.stringify(seccomp.value));
  const program = compileSeccomp(profile, {
    architecture: node.architecture ?? 'amd64',
    capabilities: [],
    kernelRelease: node.kernelRelease,
  });
  return [{ kind: 'seccomp', program }];
}
