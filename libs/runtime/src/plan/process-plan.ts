/** The rights and surroundings of one process: the same for a container's first and for those that join it. */
import { EnxameError } from '#libs/model';
import type { LaunchOperation } from '../launcher/launch-plan.js';
import type { ContainerConfig } from '../port.js';
import { capabilityMask, resolveCapabilities } from '../sandbox/capabilities.js';
import { defaultSeccompProfile } from '../sandbox/default-profile.js';
import { compileSeccomp, type SeccompTarget } from '../sandbox/seccomp-compiler.js';
import { parseSeccompProfile, type SeccompProfile } from '../sandbox/seccomp-profile.js';
import { planUlimits, type NodeLimits } from './ulimits.js';
import type { ResolvedUser } from './users.js';

/** What the node is, as far as a plan depends on it. */
export interface NodeFacts {
  architecture: SeccompTarget['architecture'] | undefined;
  kernelRelease: string;
  limits: NodeLimits;
}

const argvItemsMax = 10_000;

export function planProcess(options: {
  config: ContainerConfig;
  user: ResolvedUser;
  argv: readonly string[];
  environment: readonly string[];
  workdir: string;
  createWorkdir: boolean;
  /** `docker exec --privileged`: more than the container itself has. */
  privileged: boolean;
  node: NodeFacts;
}): LaunchOperation[] {
  const { config, node, user, argv } = options;
  if (argv.length === 0 || argv[0] === '') throw new EnxameError('invalid-argument', 'no command specified');
  if (argv.length > argvItemsMax) {
    throw new EnxameError('invalid-argument', `the command must have at most ${argvItemsMax} arguments`);
  }
  for (const text of [...argv, ...options.environment, options.workdir]) {
    if (text.includes('\0'))
      throw new EnxameError('invalid-argument', 'command and environment must not hold a NUL byte');
  }
  if (!options.workdir.startsWith('/')) {
    throw new EnxameError(
      'invalid-argument',
      `the working directory '${options.workdir}' is invalid, it needs to be an absolute path`,
    );
  }
  const { security } = config;
  const privileged = options.privileged || security.privileged;
  const capabilities = resolveCapabilities({
    add: security.capabilitiesAdd,
    drop: security.capabilitiesDrop,
    privileged,
  });
  const mask = capabilityMask(capabilities);
  const program = privileged ? undefined : seccompProgram(config, capabilities, node);
  return [
    ...planUlimits(config.ulimits, node.limits),
    ...oomScore(config, node.limits),
    ...(security.noNewPrivileges ? [{ kind: 'no-new-privileges' } as const] : []),
    { kind: 'capabilities', bounding: mask, effective: mask, permitted: mask, inheritable: 0n },
    { kind: 'user', uid: user.uid, gid: user.gid, groups: user.groups },
    ...(program === undefined ? [] : [{ kind: 'seccomp', program } as const]),
    { kind: 'workdir', path: options.workdir, create: options.createWorkdir },
    { kind: 'environment', variables: options.environment },
    { kind: 'exec', argv },
  ];
}

/** Below its own score a node can set only what it has the right to. */
function oomScore(config: ContainerConfig, limits: NodeLimits): LaunchOperation[] {
  const value = limits.mayRaise ? config.oomScoreAdj : Math.max(config.oomScoreAdj, limits.oomScoreAdj);
  return value === limits.oomScoreAdj ? [] : [{ kind: 'oom-score', value }];
}

const compiledMax = 64;
/** Nearly every container has the same capabilities and profile, and so the same filter. */
const compiled = new Map<string, Buffer>();

/** Undefined: unconfined. */
export function seccompProfileOf(
  seccomp: ContainerConfig['security']['seccomp'],
): SeccompProfile | undefined {
  if (seccomp.mode === 'unconfined') return undefined;
  return seccomp.mode === 'custom' ? parseSeccompProfile(seccomp.profile) : defaultSeccompProfile;
}

function seccompProgram(
  config: ContainerConfig,
  capabilities: readonly string[],
  node: NodeFacts,
): Buffer | undefined {
  const { seccomp } = config.security;
  if (seccomp.mode === 'unconfined') return undefined;
  if (node.architecture === undefined) {
    throw new EnxameError(
      'not-implemented',
      'seccomp profiles are available on amd64 and arm64 only in this version',
    );
  }
  const text = seccomp.mode === 'custom' ? seccomp.profile : '';
  const key = `${node.architecture} ${node.kernelRelease} ${capabilities.join(',')} ${text}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const profile = seccompProfileOf(seccomp) ?? defaultSeccompProfile;
  const program = compileSeccomp(profile, {
    architecture: node.architecture,
    capabilities,
    kernelRelease: node.kernelRelease,
  });
  if (compiled.size >= compiledMax) compiled.clear();
  compiled.set(key, program);
  return program;
}
