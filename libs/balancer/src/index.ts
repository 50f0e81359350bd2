export * from './program.js';
export { buildRuleset, tableName } from './ruleset.js';
export type { ElementSet, Ruleset } from './ruleset.js';
export { diffPrograms, diffRulesets, readGeneration, removalScript } from './script.js';
