/** nft scripts: one file is one transaction of the kernel, so a reader sees the old rules or the new ones. */
import type { BalancerProgram } from './program.js';
import { buildRuleset, tableName } from './ruleset.js';
import type { ElementSet, Ruleset } from './ruleset.js';

/** Elements per command: keeps single netlink messages well below what a socket buffer takes. */
const elementsPerCommandMax = 500;

function elementTexts(elements: Iterable<readonly [string, string]>): string[] {
  return [...elements].map(([key, value]) => (value === '' ? key : `${key} : ${value}`));
}

function elementCommands(verb: 'add' | 'delete', path: string, texts: readonly string[]): string[] {
  const commands: string[] = [];
  for (let start = 0; start < texts.length; start += elementsPerCommandMax) {
    const part = texts.slice(start, start + elementsPerCommandMax);
    commands.push(`${verb} element ${path} { ${part.join(', ')} }`);
  }
  return commands;
}

function declareSet(name: string, set: ElementSet): string {
  return `  ${set.kind} ${name} {\n    ${set.type}\n${set.interval ? '    flags interval\n' : ''}  }\n`;
}

/** Builds the table from nothing, whatever was there before. */
function wholeScript(next: Ruleset): string {
  const table = `ip ${next.table}`;
  const lines = [`add table ${table}`, `delete table ${table}`, `table ${table} {`];
  for (const [name, set] of next.sets) lines.push(declareSet(name, set));
  for (const [name, rules] of next.chains)
    lines.push(`  chain ${name} {`, ...rules.map((rule) => `    ${rule}`), '  }');
  lines.push(next.fixed, '}');
  for (const [name, set] of next.sets) {
    lines.push(...elementCommands('add', `${table} ${name}`, elementTexts(set.elements)));
  }
  return `${lines.join('\n')}\n`;
}

function sameElements(a: ElementSet, b: ElementSet): boolean {
  if (a.elements.size !== b.elements.size) return false;
  for (const [key, value] of a.elements) if (b.elements.get(key) !== value) return false;
  return true;
}

function sameRules(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index]);
}

interface SetChange {
  removals: string[];
  additions: string[];
}

function changeSet(path: string, before: ElementSet, after: ElementSet): SetChange {
  const gone = [...before.elements].filter(([key, value]) => after.elements.get(key) !== value);
  const come = [...after.elements].filter(([key, value]) => before.elements.get(key) !== value);
  return {
    removals: elementCommands('delete', path, elementTexts(gone)),
    additions: elementCommands('add', path, elementTexts(come)),
  };
}

/** Only what differs; the counters of untouched chains go on counting. */
function deltaScript(previous: Ruleset, next: Ruleset): string {
  const table = `ip ${next.table}`;
  const lines: string[] = [];
  for (const [name, rules] of next.chains) {
    const before = previous.chains.get(name);
    if (sameRules(before, rules)) continue;
    lines.push(`${before ? 'flush' : 'add'} chain ${table} ${name}`);
    lines.push(...rules.map((rule) => `add rule ${table} ${name} ${rule}`));
  }
  const changes: SetChange[] = [];
  let isNews = lines.length > 0 || [...previous.chains.keys()].some((name) => !next.chains.has(name));
  for (const [name, set] of next.sets) {
    const before = previous.sets.get(name);
    if (!before || sameElements(before, set)) continue;
    isNews ||= name !== 'generation';
    changes.push(changeSet(`${table} ${name}`, before, set));
  }
  // Most generations change nothing here, and every transaction waits for the kernel: they are not worth one.
  if (!isNews) return '';
  // All removals first: a chain is only deleted when no element leads to it any more.
  for (const change of changes) lines.push(...change.removals);
  for (const change of changes) lines.push(...change.additions);
  for (const name of previous.chains.keys()) {
    if (!next.chains.has(name)) lines.push(`flush chain ${table} ${name}`, `delete chain ${table} ${name}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * The script that takes the kernel from one program to the next, for `nft -f FILE`; empty when nothing but the
 * generation differs.
 * Without a previous program, or when the fixed part differs, it replaces the table whole: still one transaction, and
 * open connections stay translated, since conntrack holds them.
 */
export function diffPrograms(previous: BalancerProgram | undefined, next: BalancerProgram): string {
  return diffRulesets(previous && buildRuleset(previous), buildRuleset(next));
}

/** The same between rulesets, for a caller that keeps the last one. */
export function diffRulesets(previous: Ruleset | undefined, next: Ruleset): string {
  return previous?.table === next.table && previous.fixed === next.fixed
    ? deltaScript(previous, next)
    : wholeScript(next);
}

/** Removes the table of this tag; does nothing when there is none. */
export function removalScript(tag: string): string {
  return `add table ip ${tableName(tag)}\ndelete table ip ${tableName(tag)}\n`;
}

interface JsonElement {
  concat?: unknown;
}

/** The generation from `nft -j list set ip <table> generation`, or undefined when that is not what the text holds. */
export function readGeneration(json: string): number | undefined {
  let parsed: { nftables?: { set?: { name?: unknown; elem?: JsonElement[] } }[] };
  try {
    parsed = JSON.parse(json) as typeof parsed;
  } catch {
    return undefined;
  }
  const set = parsed.nftables?.find((entry) => entry.set?.name === 'generation')?.set;
  const concat = set?.elem?.[0]?.concat;
  if (!Array.isArray(concat) || concat.length !== 2) return undefined;
  const [high, low] = concat.map(Number) as [number, number];
  return Number.isFinite(high) && Number.isFinite(low) ? high * 2 ** 32 + low : undefined;
}
