/**
 * What `npm test` runs after set-up: static checks, unit and simulation tests, then the end-to-end tests on real
 * clusters. The last line is `N passed, N failed`. Arguments choose parts: `node dist/e2e/run.js unit`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const totalsFile = join(root, 'build', 'test-totals.json');
const node = process.execPath;

interface Totals {
  passes: number;
  failures: number;
  pending: number;
}

const parts: Record<string, () => Totals> = {
  types: () =>
    check('types', [
      node,
      'node_modules/@typescript/native/bin/tsc',
      '-p',
      '.',
      '--noEmit',
      '--incremental',
      'false',
    ]),
  lint: () => check('lint', [node, 'node_modules/oxlint/bin/oxlint', '--deny-warnings']),
  format: () => check('format', [node, 'node_modules/@biomejs/biome/bin/biome', 'format', '.']),
  unit: () =>
    mocha(
      ['dist/apps/**/*.spec.js', 'dist/libs/**/*.spec.js', 'dist/e2e/tidy.spec.js'],
      20_000,
      simulationSeed(),
    ),
  e2e: () => mocha(['dist/e2e/**/*.e2e.js'], 120_000),
};

/** Chosen by name only: the whole run has them already. */
const excerpts: typeof parts = {
  v2: () => mocha(['dist/e2e/cgroup-v2.e2e.js'], 120_000),
};

function runCommand(command: string[], environment: Record<string, string> = {}): number | null {
  const [program, ...args] = command;
  const result = spawnSync(program as string, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      PATH: `${join(root, 'build/tools/bin')}${delimiter}${process.env.PATH ?? ''}${delimiter}/usr/sbin:/sbin`,
      ENXAME_TEST_TOTALS: totalsFile,
      // Fresh worlds of the Raft simulation, besides the fixed ones.
      ENXAME_SIM_SECONDS: process.env.ENXAME_SIM_SECONDS ?? '60',
      ...environment,
    },
  });
  return result.status;
}

/**
 * Worlds that are new for every state of the Raft library, and the same for everybody who tests that state: a red run
 * elsewhere can be run again here. Other worlds are a `npm run sim` away.
 */
function simulationSeed(): Record<string, string> {
  const tree = spawnSync('git', ['rev-parse', 'HEAD:libs/raft/src'], { cwd: root, encoding: 'utf8' });
  const seed = Number.parseInt(tree.stdout?.slice(0, 7) ?? '', 16);
  return Number.isNaN(seed) ? {} : { ENXAME_SIM_SEED: String(seed) };
}

/** A static check counts as one test. */
function check(name: string, command: string[]): Totals {
  const passed = runCommand(command) === 0;
  console.log(`${passed ? 'passed' : 'FAILED'}: ${name}`);
  return { passes: passed ? 1 : 0, failures: passed ? 0 : 1, pending: 0 };
}

function mocha(files: string[], timeoutMs: number, environment: Record<string, string> = {}): Totals {
  rmSync(totalsFile, { force: true });
  const options = ['--no-config', '--enable-source-maps', '--exit', '--timeout', String(timeoutMs)];
  const reporter = ['--reporter', 'e2e/harness/count-reporter.cjs'];
  const status = runCommand(
    [node, 'node_modules/mocha/bin/mocha.js', ...options, ...reporter, ...files],
    environment,
  );
  // A runner that died before its end has run no test that can be counted, and that is a failure.
  if (!existsSync(totalsFile)) return { passes: 0, failures: 1, pending: 0 };
  const totals = JSON.parse(readFileSync(totalsFile, 'utf8')) as Totals;
  if (status !== 0 && totals.failures === 0) totals.failures = 1;
  return totals;
}

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(parts);
const sum: Totals = { passes: 0, failures: 0, pending: 0 };
for (const name of chosen) {
  const part = parts[name] ?? excerpts[name];
  if (!part) {
    console.error(`unknown part "${name}"; parts are ${Object.keys({ ...parts, ...excerpts }).join(', ')}`);
    process.exit(2);
  }
  const startedAt = performance.now();
  console.log(`\n== ${name}`);
  const totals = part();
  console.log(`== ${name}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  sum.passes += totals.passes;
  sum.failures += totals.failures;
  sum.pending += totals.pending;
}
if (sum.pending > 0) console.log(`${sum.pending} skipped (each says why above)`);
console.log(`${sum.passes} passed, ${sum.failures} failed`);
process.exit(sum.failures === 0 && sum.passes > 0 ? 0 : 1);
