#!/usr/bin/env node
/**
 * Makes a fresh clone ready to run: Debian packages, npm packages, the C programs, the TypeScript build and the
 * demo image. Plain JavaScript without dependencies, because it runs before anything is installed.
 *
 * A step that finds its work done does nothing, so a second run takes about a second. All output of the commands
 * goes to `build/setup.log`; a failure names the step, its last lines and that file.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { provideClients } from './clients.mjs';
import { benchPackages, benchTools, runtimePackages, testPackages, testTools } from './packages.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const buildDir = join(root, 'build');
const logFile = join(buildDir, 'setup.log');
const toolsBin = join(buildDir, 'tools', 'bin');
const forBench = process.argv.includes('--for-bench');
const forTests = forBench || process.argv.includes('--for-tests');
const packages = [...runtimePackages, ...(forTests ? testPackages : []), ...(forBench ? benchPackages : [])];
const tools = [...(forTests ? testTools : []), ...(forBench ? benchTools : [])];
const nodeVersionMin = [20, 19];
const ownCommands = [
  ['enxame', 'dist/programs/enxame.js'],
  ['enxame-runtime', 'libs/runtime/native/build/enxame-runtime'],
];

class StepFailure extends Error {}

function fail(message) {
  throw new StepFailure(message);
}

/** Runs a command with its output in the log; throws a StepFailure with the output's end. */
function run(command, args, { cwd = root, env = {} } = {}) {
  appendFileSync(logFile, `\n$ ${command} ${args.join(' ')}\n`);
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
  appendFileSync(logFile, output);
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0) {
    fail(
      `${command} ${args.join(' ')} ended with ${result.status}\n${output.trimEnd().split('\n').slice(-15).join('\n')}`,
    );
  }
  return result.stdout ?? '';
}

function inPath(command) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders.map((folder) => join(folder, command)).find((file) => existsSync(file));
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [needMajor, needMinor] = nodeVersionMin;
  if (major < needMajor || (major === needMajor && minor < needMinor)) {
    fail(`Node.js ${needMajor}.${needMinor} or newer is needed; this is ${process.versions.node}`);
  }
}

function requireRoot() {
  if (process.getuid?.() === 0) return;
  const script = process.env.npm_lifecycle_event ?? 'start';
  fail(
    `Enxame makes namespaces, mounts and cgroups, so it must run as root.\nUse: sudo npm ${script === 'start' || script === 'test' ? script : `run ${script}`}`,
  );
}

let aptIsFresh = false;
function aptUpdate() {
  if (aptIsFresh) return;
  run('apt-get', ['update', '-q'], { env: { DEBIAN_FRONTEND: 'noninteractive' } });
  aptIsFresh = true;
}

function packageIsPresent(wanted) {
  return (
    wanted.commands.every((command) => inPath(command)) &&
    (wanted.files ?? []).every((file) => existsSync(file))
  );
}

function installDebianPackages(wanted) {
  const missing = wanted.filter((entry) => !packageIsPresent(entry));
  if (missing.length === 0) return 'present';
  for (const entry of missing) console.log(`    needs ${entry.name}: ${entry.why}`);
  if (!inPath('apt-get')) {
    fail(
      `apt-get is not on this machine, so these must be installed by hand first: ${missing.map((entry) => `${entry.name} (${entry.commands.join(', ')})`).join('; ')}`,
    );
  }
  aptUpdate();
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing.map((entry) => entry.name)], {
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  });
  return `installed ${missing.map((entry) => entry.name).join(', ')}`;
}

function firstDependency(name) {
  if (name === undefined) return [];
  const listing = run('apt-cache', ['depends', name]);
  return [...listing.matchAll(/^\s*Depends: (\S+)$/gm)].slice(0, 1).map((match) => match[1]);
}

/** `boot/vmlinuz-*` below a folder: a star may stand at the end of the last part. */
function filesLike(folder, path) {
  const [directory, name] = [join(folder, dirname(path)), basename(path)];
  if (!name.endsWith('*')) return existsSync(join(directory, name)) ? [join(directory, name)] : [];
  if (!existsSync(directory)) return [];
  const found = readdirSync(directory).filter((entry) => entry.startsWith(name.slice(0, -1)));
  return found.sort().map((entry) => join(directory, entry));
}

/** Unpacks a test-only program into build/tools, so that no service of it is ever installed or started. */
function provideTool(tool) {
  mkdirSync(toolsBin, { recursive: true });
  const link = join(toolsBin, tool.command);
  if (existsSync(link) && !(tool.ownLibraries && lstatSync(link).isSymbolicLink())) return;
  const present = tool.preferPath ? inPath(tool.command) : undefined;
  if (present) {
    rmSync(link, { force: true });
    symlinkSync(present, link);
    return;
  }
  aptUpdate();
  const folder = join(buildDir, 'tools', tool.command);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const failures = [];
  for (const name of [...tool.debianPackages, ...firstDependency(tool.dependencyOf)]) {
    try {
      run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-q', name], { cwd: folder });
    } catch (error) {
      failures.push(error.message);
    }
  }
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    run('dpkg', ['-x', file, folder], { cwd: folder });
    rmSync(join(folder, file));
  }
  const program = tool.programs.flatMap((path) => filesLike(folder, path))[0];
  if (!program) fail(`no ${tool.command} in ${tool.debianPackages.join(' or ')}\n${failures.join('\n')}`);
  rmSync(link, { force: true });
  if (tool.ownLibraries) writeFileSync(link, wrapperOf(program, folder), { mode: 0o755 });
  else symlinkSync(program, link);
}

/** For a program whose libraries were unpacked beside it, and are not where the system looks. */
function wrapperOf(program, folder) {
  const libraries = ['usr/lib', 'lib'].map((path) => join(folder, path, 'x86_64-linux-gnu')).join(':');
  return `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${program}' "$@"\n`;
}

function provideTools() {
  for (const tool of tools) provideTool(tool);
  return `${tools.map((tool) => tool.command).join(', ')} in build/tools/bin`;
}

/** npm's own record of what it installed is compared by the lock file's content, not its time. */
function installNpmPackages() {
  const stampFile = join(root, 'node_modules', '.enxame-lock-sha256');
  const hash = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(process.versions.node)
    .digest('hex');
  const present = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === hash;
  if (!present) run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund']);
  linkOwnCommands();
  if (!present) writeFileSync(stampFile, hash);
  return present ? 'present' : 'installed';
}

/**
 * `npx enxame` finds it here. Named in package.json, npx would install the whole project into its cache first, which
 * needs the network and fails for anybody but the clone's owner.
 */
function linkOwnCommands() {
  const folder = join(root, 'node_modules', '.bin');
  const present = readdirSync(folder);
  for (const [name, program] of ownCommands) {
    if (!present.includes(name)) symlinkSync(join('../..', program), join(folder, name));
  }
}

function buildNative() {
  for (const folder of ['libs/runtime/native', 'libs/images/native']) run('make', ['--silent', '-C', folder]);
  return 'built';
}

function buildTypeScript() {
  run(process.execPath, ['deploy/setup/build-typescript.mjs']);
  return 'built';
}

function buildDemoImage() {
  run(process.execPath, ['deploy/demo/build-image.mjs']);
  return 'built';
}

const steps = [
  ['Debian packages', () => installDebianPackages(packages)],
  ...(tools.length > 0 ? [['programs for tests', provideTools]] : []),
  ...(forTests
    ? [['clients for tests', () => provideClients(join(buildDir, 'tools', 'clients'), aptUpdate)]]
    : []),
  ['npm packages', installNpmPackages],
  ['C programs', buildNative],
  ['TypeScript', buildTypeScript],
  ['demo image', buildDemoImage],
];

/** Before anything is written: without these two nothing that follows can work. */
function requireGround() {
  try {
    requireNode();
    requireRoot();
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

function main() {
  requireGround();
  mkdirSync(buildDir, { recursive: true });
  if (existsSync(logFile) && statSync(logFile).size > 4 * 1024 * 1024) rmSync(logFile);
  appendFileSync(logFile, `\n=== set-up on ${new Date().toISOString()}\n`);
  console.log('Setting up');
  for (const [name, work] of steps) {
    const startedAt = performance.now();
    try {
      const outcome = work();
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      console.log(`  ${name.padEnd(20)} ${outcome} (${seconds} s)`);
    } catch (error) {
      if (!(error instanceof StepFailure)) throw error;
      console.error(`\nSet-up stopped at "${name}": ${error.message}\n\nThe whole output is in ${logFile}`);
      process.exit(1);
    }
  }
}

main();
