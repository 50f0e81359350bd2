/**
 * The part of `enxame-runtime` that is not C: it prints plans, for which it is started by the C program, and does what
 * is seldom asked. It is started anew each time, so it imports little.
 */
import { readFileSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { detectCgroups } from '../cgroup/detect.js';
import { encodeExecPlan, encodeLaunchPlan } from '../launcher/plan-codec.js';
import { planBundle, planBundleExec, rootPathOf, type BundleContext } from './bundle.js';
import { execProcess } from './exec-process.js';
import { Field } from './field.js';
import { homeIn } from './home.js';
import { features, specText } from './documents.js';
import { cpusetOf } from './node-cpuset.js';

const execOptions = {
  process: { type: 'string' },
  tty: { type: 'boolean' },
  cwd: { type: 'string' },
  env: { type: 'string', multiple: true },
  user: { type: 'string' },
  'additional-gids': { type: 'string', multiple: true },
  cap: { type: 'string', multiple: true },
  'no-new-privs': { type: 'boolean' },
  apparmor: { type: 'string' },
  'process-label': { type: 'string' },
} as const;

function readJson(path: string): unknown {
  const text = readFileSync(path, 'utf8');
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new Error(`${path}: not JSON: ${(error as Error).message}`);
  }
}

function print(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

function contextOf(id: string, bundle: string, config: unknown): BundleContext {
  const layout = detectCgroups(readFileSync('/proc/self/mountinfo', 'utf8'));
  return {
    id,
    bundle,
    noPivot: false,
    noNewKeyring: false,
    layout,
    cpuset: cpusetOf(layout, config),
    node: {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch === 'arm64' ? 'arm64' : undefined,
      kernelRelease: release(),
    },
    homeOf: (uid) => homeIn(rootPathOf(config, bundle), uid),
  };
}

function create(args: string[]): void {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      'no-pivot': { type: 'boolean' },
      'no-new-keyring': { type: 'boolean' },
    },
  });
  const [bundle = '', id = ''] = positionals;
  const config = readJson(values.config ?? join(bundle, 'config.json'));
  const plan = planBundle(config, {
    ...contextOf(id, bundle, config),
    noPivot: values['no-pivot'] === true,
    noNewKeyring: values['no-new-keyring'] === true,
  });
  print(encodeLaunchPlan(plan));
}

function exec(args: string[]): void {
  const end = args.indexOf('--');
  const { values, positionals } = parseArgs({
    args: args.slice(0, end),
    allowPositionals: true,
    options: execOptions,
  });
  const [bundle = '', id = ''] = positionals;
  const config = readJson(join(bundle, 'config.json'));
  const own = new Field(config, '').at('process');
  const wanted =
    values.process === undefined
      ? new Field(execProcess(own, args.slice(end + 1), values), 'process')
      : new Field(readJson(values.process), 'process');
  print(encodeExecPlan(planBundleExec(config, wanted, contextOf(id, bundle, config))));
}

async function run([command = '', ...args]: string[]): Promise<void> {
  switch (command) {
    case 'create':
      return create(args);
    case 'exec':
      return exec(args);
    case 'features':
      return print(Buffer.from(`${JSON.stringify(features, undefined, 2)}\n`));
    case 'spec':
      return specText(args);
    default: {
      const { update, events } = await import('./resources-command.js');
      return command === 'update' ? update(args) : events(args);
    }
  }
}

run(process.argv.slice(2)).catch((error: unknown) => {
  writeSync(2, error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
