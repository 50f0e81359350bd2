/** Seccomp profiles in Docker's JSON format: its default, or one a user brings. */
import { EnxameError } from '#libs/model';

export const seccompActions = [
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_LOG',
] as const;
export type SeccompAction = (typeof seccompActions)[number];

export const seccompOperators = [
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
] as const;
export type SeccompOperator = (typeof seccompOperators)[number];

export interface SeccompArgument {
  /** 0 to 5. */
  index: number;
  value: bigint;
  /** With MASKED_EQ: `value` is the mask, this what remains. */
  valueTwo: bigint;
  op: SeccompOperator;
}

/** When a rule counts: every capability held (includes) or any of them (excludes); one of the architectures. */
export interface SeccompCondition {
  caps: readonly string[];
  /** Go's names: amd64, arm64, ... */
  arches: readonly string[];
  /** `4.8`: the oldest kernel. */
  minKernel?: string;
}

export interface SeccompRule {
  names: readonly string[];
  action: SeccompAction;
  errno?: number;
  args: readonly SeccompArgument[];
  includes: SeccompCondition;
  excludes: SeccompCondition;
}

export interface SeccompProfile {
  defaultAction: SeccompAction;
  defaultErrno?: number;
  rules: readonly SeccompRule[];
}

const profileBytesMax = 1024 * 1024;
const rulesMax = 5_000;
const errnoMax = 4095;

/** Reads a profile of `--security-opt seccomp=` or of a service. `invalid-argument` names the part that is wrong. */
export function parseSeccompProfile(text: string): SeccompProfile {
  if (text.length > profileBytesMax) throw invalid(`over ${profileBytesMax} bytes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new EnxameError('invalid-argument', 'invalid seccomp profile: not JSON', { cause: error });
  }
  const profile = objectAt(parsed, 'the profile');
  const rules = listAt(profile['syscalls'], 'syscalls');
  if (rules.length > rulesMax) throw invalid(`over ${rulesMax} rules`);
  return {
    defaultAction: actionAt(profile['defaultAction'], 'defaultAction'),
    ...errnoAt(profile['defaultErrnoRet'], 'defaultErrnoRet', 'defaultErrno'),
    rules: rules.map((rule, index) => ruleAt(rule, `syscalls[${index}]`)),
  };
}

function ruleAt(value: unknown, where: string): SeccompRule {
  const rule = objectAt(value, where);
  const names = stringsAt(rule['names'], `${where}.names`);
  if (typeof rule['name'] === 'string' && rule['name'] !== '') names.push(rule['name']);
  if (names.length === 0) throw invalid(`${where}.names must name a system call`);
  return {
    names,
    action: actionAt(rule['action'], `${where}.action`),
    ...errnoAt(rule['errnoRet'], `${where}.errnoRet`, 'errno'),
    args: listAt(rule['args'], `${where}.args`).map((argument, index) =>
      argumentAt(argument, `${where}.args[${index}]`),
    ),
    includes: conditionAt(rule['includes'], `${where}.includes`),
    excludes: conditionAt(rule['excludes'], `${where}.excludes`),
  };
}

function argumentAt(value: unknown, where: string): SeccompArgument {
  const argument = objectAt(value, where);
  const index = argument['index'] ?? 0;
  if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index > 5) {
    throw invalid(`${where}.index must be a whole number from 0 to 5`);
  }
  const op = seccompOperators.find((name) => name === argument['op']);
  if (op === undefined) throw invalid(`${where}.op must be one of ${seccompOperators.join(', ')}`);
  return {
    index,
    value: numberAt(argument['value'], `${where}.value`),
    valueTwo: numberAt(argument['valueTwo'], `${where}.valueTwo`),
    op,
  };
}

function conditionAt(value: unknown, where: string): SeccompCondition {
  if (value === undefined || value === null) return { caps: [], arches: [] };
  const condition = objectAt(value, where);
  const minKernel = condition['minKernel'];
  if (minKernel !== undefined && (typeof minKernel !== 'string' || !/^\d+\.\d+/.test(minKernel))) {
    throw invalid(`${where}.minKernel must be a version such as "4.8"`);
  }
  return {
    caps: stringsAt(condition['caps'], `${where}.caps`),
    arches: stringsAt(condition['arches'], `${where}.arches`),
    ...(minKernel === undefined ? {} : { minKernel }),
  };
}

function actionAt(value: unknown, where: string): SeccompAction {
  const action = seccompActions.find((name) => name === value);
  if (action === undefined) throw invalid(`${where} must be one of ${seccompActions.join(', ')}`);
  return action;
}

function errnoAt<Name extends string>(value: unknown, where: string, name: Name): { [key in Name]?: number } {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > errnoMax) {
    throw invalid(`${where} must be a whole number from 0 to ${errnoMax}`);
  }
  return { [name]: value } as { [key in Name]?: number };
}

function numberAt(value: unknown, where: string): bigint {
  if (value === undefined || value === null) return 0n;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw invalid(`${where} must be a whole number, not negative`);
  }
  return BigInt.asUintN(64, BigInt(value));
}

function objectAt(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${where} must be an object`);
  }
  return value as Record<string, unknown>;
}

function listAt(value: unknown, where: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(`${where} must be a list`);
  return value as unknown[];
}

function stringsAt(value: unknown, where: string): string[] {
  return listAt(value, where).map((item) => {
    if (typeof item !== 'string') throw invalid(`${where} must hold strings`);
    return item;
  });
}

function invalid(why: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid seccomp profile: ${why}`);
}
