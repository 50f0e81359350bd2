/**
 * Placement constraints: `key==value` and `key!=value` over facts of a node. The scheduler filters by them, global
 * services exist where they hold, and the API refuses those that can never hold; so their one meaning is here.
 * Source: SwarmKit `manager/constraint`.
 */
import type { Node } from './objects.js';

export interface Constraint {
  key: string;
  operator: '==' | '!=';
  value: string;
}

const plainKeys = [
  'node.id',
  'node.hostname',
  'node.ip',
  'node.role',
  'node.platform.os',
  'node.platform.arch',
] as const;
const labelPrefixes = ['node.labels.', 'engine.labels.'] as const;
const keyPattern = /^[a-z_][a-z0-9\-_./]+$/i;
const valuePattern = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

/** Reads one constraint, or says in SwarmKit's words what is wrong with it. */
export function parseConstraint(text: string): Constraint | { error: string } {
  const operator = text.includes('==') ? '==' : text.includes('!=') ? '!=' : undefined;
  if (operator === undefined) return { error: 'constraint expected one operator from ==, !=' };
  const at = text.indexOf(operator);
  const key = text.slice(0, at).trim();
  const value = text.slice(at + operator.length).trim();
  if (!keyPattern.test(key)) return { error: `key '${key}' is invalid` };
  const lowerKey = key.toLowerCase();
  const isLabel = labelPrefixes.some((prefix) => lowerKey.startsWith(prefix) && key.length > prefix.length);
  // SwarmKit takes an unknown key and lets the service wait for ever; a typo is better refused at once.
  if (!isLabel && !plainKeys.some((known) => known === lowerKey)) {
    return {
      error: `key '${key}' is invalid: expected ${plainKeys.join(', ')}, node.labels.* or engine.labels.*`,
    };
  }
  if (!valuePattern.test(value)) return { error: `value '${value}' is invalid` };
  return { key, operator, value };
}

/** True when a node satisfies every one of the constraints. A constraint that does not parse is satisfied by none. */
export function satisfiesConstraints(node: Readonly<Node>, constraints: readonly string[] = []): boolean {
  return constraints.every((text) => {
    const constraint = parseConstraint(text);
    return !('error' in constraint) && matches(node, constraint);
  });
}

function matches(node: Readonly<Node>, { key, operator, value }: Constraint): boolean {
  return holdsEqual(node, key, value) === (operator === '==');
}

function holdsEqual(node: Readonly<Node>, key: string, value: string): boolean {
  const lowerKey = key.toLowerCase();
  for (const prefix of labelPrefixes) {
    if (!lowerKey.startsWith(prefix)) continue;
    const labels = prefix === 'node.labels.' ? node.spec.Labels : node.description.engine.labels;
    // The label's own name is case-sensitive, as labels are.
    return sameText(labels?.[key.slice(prefix.length)] ?? '', value);
  }
  switch (lowerKey) {
    case 'node.id':
      return sameText(node.id, value);
    case 'node.hostname':
      return sameText(node.description.hostname, value);
    case 'node.ip':
      return addressWithin(node.status.address, value);
    case 'node.role':
      return sameText(node.spec.Role, value);
    case 'node.platform.os':
      return sameText(node.description.platform.os, value);
    case 'node.platform.arch':
      return normalArchitecture(node.description.platform.architecture) === normalArchitecture(value);
    default:
      return false;
  }
}

function sameText(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** The kernel's and Go's names of one architecture are the same thing: `x86_64` is `amd64`. */
export function normalArchitecture(name: string): string {
  const lower = name.toLowerCase();
  if (lower === 'x86_64' || lower === 'x86-64') return 'amd64';
  if (lower === 'aarch64') return 'arm64';
  return lower;
}

function addressWithin(address: string, range: string): boolean {
  const [base = '', prefixText] = range.split('/');
  const prefix = prefixText === undefined ? 32 : Number(prefixText);
  const a = addressNumber(address);
  const b = addressNumber(base);
  if (a === undefined || b === undefined || !Number.isInteger(prefix) || prefix < 0 || prefix > 32)
    return false;
  const size = 2 ** (32 - prefix);
  return Math.floor(a / size) === Math.floor(b / size);
}

function addressNumber(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256))
    return undefined;
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}
