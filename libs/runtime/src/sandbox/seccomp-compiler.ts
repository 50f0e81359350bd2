/**
 * A seccomp profile becomes a filter. Each architecture has a balanced tree over runs of numbers with one verdict, so
 * that a call is judged in some eight comparisons; calls with conditions on arguments get their own block at a leaf.
 */
import { EnxameError } from '#libs/model';
import {
  and,
  branch,
  encode,
  giveBack,
  instructionsMax,
  load,
  opcode,
  seccompData,
  test,
  type Instruction,
} from './filter-assembler.js';
import type {
  SeccompAction,
  SeccompArgument,
  SeccompCondition,
  SeccompProfile,
  SeccompRule,
} from './seccomp-profile.js';
import { syscallNumbers, type SyscallArch } from './syscall-numbers.js';

/** The machine a filter is for, and what decides about conditional rules. */
export interface SeccompTarget {
  /** Go's name of the architecture, as profiles use it. */
  architecture: 'amd64' | 'arm64';
  /** The container's bounding set, with their `CAP_` prefix. */
  capabilities: readonly string[];
  /** `uname -r`. */
  kernelRelease: string;
}

/** AUDIT_ARCH_* of `linux/audit.h`. */
export const auditArch = { x86_64: 0xc000_003e, x86: 0x4000_0003, aarch64: 0xc000_00b7 } as const;
const x32Bit = 0x4000_0000;

/** SECCOMP_RET_* of `linux/seccomp.h`. */
const verdict = {
  killProcess: 0x8000_0000,
  killThread: 0,
  trap: 0x0003_0000,
  errno: 0x0005_0000,
  log: 0x7ffc_0000,
  allow: 0x7fff_0000,
} as const;
const eperm = 1;
const enosys = 38;
const errnoMask = 0xffff;

/** What happens to one number: conditional verdicts in order, then the one without a condition. */
interface CallPlan {
  conditional: { args: readonly SeccompArgument[]; verdict: number }[];
  otherwise: number;
}

/** The filter as `struct sock_filter[]`. Throws `invalid-argument` when the kernel would refuse it for its length. */
export function compileSeccomp(profile: SeccompProfile, target: SeccompTarget): Buffer {
  const program = [load(seccompData.arch), ...archDispatch(profile, target)];
  if (program.length > instructionsMax) {
    throw new EnxameError(
      'invalid-argument',
      `invalid seccomp profile: its filter has ${program.length} instructions, the kernel takes ${instructionsMax}`,
    );
  }
  return encode(program);
}

function archDispatch(profile: SeccompProfile, target: SeccompTarget): Instruction[] {
  const rules = profile.rules.filter((rule) => counts(rule, target));
  const section = (arch: SyscallArch): Instruction[] => treeOf(profile, rules, arch);
  const unknownArch = [giveBack(verdict.killProcess)];
  const number = load(seccompData.number);
  switch (target.architecture) {
    case 'amd64': {
      const x32 = sectionX32(profile, rules);
      const native = [number, ...branch(opcode.jumpGreaterOrEqual, x32Bit, x32, section('x86_64'))];
      const rest = branch(opcode.jumpEqual, auditArch.x86, [number, ...section('x86')], unknownArch);
      return branch(opcode.jumpEqual, auditArch.x86_64, native, rest);
    }
    case 'arm64':
      return branch(opcode.jumpEqual, auditArch.aarch64, [number, ...section('aarch64')], unknownArch);
  }
}

/** x32 shares the audit arch of x86_64; its numbers carry bit 30. */
function sectionX32(profile: SeccompProfile, rules: readonly SeccompRule[]): Instruction[] {
  return treeOf(profile, rules, 'x32', x32Bit);
}

/** Whether a rule's conditions hold for this machine and these rights. */
export function counts(rule: SeccompRule, target: SeccompTarget): boolean {
  const holds = (capability: string): boolean => target.capabilities.includes(capability);
  const { includes, excludes } = rule;
  if (excludes.arches.includes(target.architecture)) return false;
  if (excludes.caps.some(holds)) return false;
  if (isKernelAtLeast(excludes, target.kernelRelease, false)) return false;
  if (includes.arches.length > 0 && !includes.arches.includes(target.architecture)) return false;
  return includes.caps.every(holds) && isKernelAtLeast(includes, target.kernelRelease, true);
}

function isKernelAtLeast(condition: SeccompCondition, release: string, absent: boolean): boolean {
  if (condition.minKernel === undefined) return absent;
  const [major = 0, minor = 0] = condition.minKernel.split('.').map(Number);
  const [hasMajor = 0, hasMinor = 0] = release.split(/[.-]/).map(Number);
  return hasMajor > major || (hasMajor === major && hasMinor >= minor);
}

function treeOf(
  profile: SeccompProfile,
  rules: readonly SeccompRule[],
  arch: SyscallArch,
  offset = 0,
): Instruction[] {
  const fallback = verdictOf(profile.defaultAction, profile.defaultErrno);
  const plans = plansOf(rules, arch, fallback);
  const numbers = [...syscallNumbers[arch].values()];
  const newest = Math.max(...numbers);
  // As runc does: a call newer than this table does not exist, so that programs fall back instead of failing.
  const beyond =
    profile.defaultAction === 'SCMP_ACT_ERRNO' && fallback !== (verdict.errno | enosys)
      ? (verdict.errno | enosys) >>> 0
      : fallback;
  const runs: { from: number; block: Instruction[]; plain?: number }[] = [];
  const add = (from: number, block: Instruction[], plain?: number): void => {
    const last = runs.at(-1);
    if (last !== undefined && plain !== undefined && last.plain === plain) return;
    runs.push({ from: from + offset, block, ...(plain === undefined ? {} : { plain }) });
  };
  for (let number = 0; number <= newest; number++) {
    const plan = plans.get(number);
    if (plan !== undefined && plan.conditional.length > 0) add(number, conditionalBlock(plan));
    else {
      const plain = plan?.otherwise ?? fallback;
      add(number, [giveBack(plain)], plain);
    }
  }
  add(newest + 1, [giveBack(beyond)], beyond);
  return balanced(runs);
}

function balanced(runs: readonly { from: number; block: Instruction[] }[]): Instruction[] {
  const [only] = runs;
  if (only === undefined) throw new Error('a tree over no numbers');
  if (runs.length === 1) return only.block;
  const middle = runs.length >> 1;
  const upper = runs[middle];
  if (upper === undefined) throw new Error('a tree without its middle');
  return branch(
    opcode.jumpGreaterOrEqual,
    upper.from,
    balanced(runs.slice(middle)),
    balanced(runs.slice(0, middle)),
  );
}

/** A rule without arguments decides whatever else is said about its calls; the first such rule counts. */
function plansOf(rules: readonly SeccompRule[], arch: SyscallArch, fallback: number): Map<number, CallPlan> {
  const plans = new Map<number, CallPlan>();
  const settled = new Set<number>();
  for (const rule of rules) {
    const outcome = verdictOf(rule.action, rule.errno);
    // libseccomp refuses or ignores what repeats the default, and so does this.
    if (outcome === fallback) continue;
    for (const name of rule.names) {
      const number = syscallNumbers[arch].get(name);
      if (number === undefined || settled.has(number)) continue;
      const plan = plans.get(number) ?? { conditional: [], otherwise: fallback };
      plans.set(number, plan);
      if (rule.args.length === 0) {
        plan.otherwise = outcome;
        plan.conditional = [];
        settled.add(number);
        continue;
      }
      for (const args of alternatives(rule.args)) plan.conditional.push({ args, verdict: outcome });
    }
  }
  return plans;
}

/** All conditions of a rule must hold, unless several look at one argument: then, as in runc, any of them will do. */
function alternatives(args: readonly SeccompArgument[]): (readonly SeccompArgument[])[] {
  const indexes = new Set(args.map((argument) => argument.index));
  return indexes.size === args.length ? [args] : args.map((argument) => [argument]);
}

function conditionalBlock(plan: CallPlan): Instruction[] {
  const block: Instruction[] = [];
  for (const rule of plan.conditional) {
    const steps = rule.args.map((argument) => comparison(argument));
    // Each step's `pass` falls through to the next; `fail` leaves for the instruction after this rule's return.
    let after = 1;
    const placed: Instruction[][] = [];
    for (const step of steps.reverse()) {
      placed.unshift(step(after));
      after += placed[0]?.length ?? 0;
    }
    block.push(...placed.flat(), giveBack(rule.verdict));
  }
  return [...block, giveBack(plan.otherwise)];
}

/**
 * A 64-bit comparison in two 32-bit halves. Given how many instructions follow until the place to go on failing,
 * returns instructions that fall through when the argument passes.
 */
function comparison(argument: SeccompArgument): (toFail: number) => Instruction[] {
  const { op, index } = argument;
  const compared = op === 'SCMP_CMP_MASKED_EQ' ? argument.valueTwo : argument.value;
  const high = Number(compared >> 32n);
  const low = Number(compared & 0xffff_ffffn);
  const loadHigh = load(seccompData.argumentHigh(index));
  const loadLow = load(seccompData.argumentLow(index));
  const { jumpEqual, jumpGreater, jumpGreaterOrEqual } = opcode;
  switch (op) {
    case 'SCMP_CMP_EQ':
      return (fail) => [loadHigh, test(jumpEqual, high, 0, fail + 2), loadLow, test(jumpEqual, low, 0, fail)];
    case 'SCMP_CMP_NE':
      return (fail) => [loadHigh, test(jumpEqual, high, 0, 2), loadLow, test(jumpEqual, low, fail, 0)];
    case 'SCMP_CMP_GT':
    case 'SCMP_CMP_GE': {
      const lowTest = op === 'SCMP_CMP_GT' ? jumpGreater : jumpGreaterOrEqual;
      return (fail) => [
        loadHigh,
        test(jumpGreater, high, 3, 0),
        test(jumpEqual, high, 0, fail + 2),
        loadLow,
        test(lowTest, low, 0, fail),
      ];
    }
    case 'SCMP_CMP_LT':
    case 'SCMP_CMP_LE': {
      const lowTest = op === 'SCMP_CMP_LE' ? jumpGreater : jumpGreaterOrEqual;
      return (fail) => [
        loadHigh,
        test(jumpGreater, high, fail + 3, 0),
        test(jumpEqual, high, 0, 2),
        loadLow,
        test(lowTest, low, fail, 0),
      ];
    }
    case 'SCMP_CMP_MASKED_EQ': {
      const maskHigh = Number(argument.value >> 32n);
      const maskLow = Number(argument.value & 0xffff_ffffn);
      return (fail) => [
        loadHigh,
        and(maskHigh),
        test(jumpEqual, high, 0, fail + 3),
        loadLow,
        and(maskLow),
        test(jumpEqual, low, 0, fail),
      ];
    }
  }
}

function verdictOf(action: SeccompAction, errno: number | undefined): number {
  switch (action) {
    case 'SCMP_ACT_ALLOW':
      return verdict.allow;
    case 'SCMP_ACT_LOG':
      return verdict.log;
    case 'SCMP_ACT_ERRNO':
      return (verdict.errno | ((errno ?? eperm) & errnoMask)) >>> 0;
    case 'SCMP_ACT_TRAP':
      return verdict.trap;
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return verdict.killThread;
    case 'SCMP_ACT_KILL_PROCESS':
      return verdict.killProcess;
  }
}
