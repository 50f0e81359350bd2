/**
 * Other people's clients of Docker's API, for the tests that use a node through them. One that cannot be had is no
 * reason to stop: why is written down, and its test says so.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const npmClients = ['dockerode@5.0.1', '@docker/node-sdk@0.0.17', 'testcontainers@11.14.0'];
const debianClients = [
  { client: 'docker-sdk-python', probe: ['python3', ['-c', 'import docker']], packages: ['python3-docker'] },
  { client: 'compose-1', probe: ['docker-compose', ['version']], packages: ['docker-compose'] },
];
/** Tools for images. What they are linked with comes with skopeo, which set-up installs. */
const imageTools = ['buildah', 'umoci'];
/** Debian 12 has version 1 of compose only. */
const composeRelease = 'trixie';

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 300_000, ...options });
  if (result.status === 0) return result.stdout;
  throw new Error(`${command} ${args[0]}: ${result.error?.message ?? result.stderr.trim().slice(-300)}`);
}

function succeeds([command, args]) {
  return spawnSync(command, args, { stdio: 'ignore', timeout: 30_000 }).status === 0;
}

function provideDebian({ probe, packages }, aptUpdate) {
  if (succeeds(probe)) return;
  aptUpdate();
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
}

/** From the next release's packages, unpacked and never installed: its lists stay in a folder of their own. */
function provideComposePlugin(folder) {
  const plugins = join(folder, 'cli-plugins');
  if (existsSync(join(plugins, 'docker-compose'))) return;
  const apt = join(folder, 'apt');
  for (const name of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, name), { recursive: true });
  const sources = join(apt, 'sources.list');
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  writeFileSync(sources, `deb [signed-by=${key}] http://deb.debian.org/debian ${composeRelease} main\n`);
  const options = [
    `Dir::Etc::sourcelist=${sources}`,
    'Dir::Etc::sourceparts=/dev/null',
    `Dir::State::lists=${join(apt, 'lists')}`,
    `Dir::Cache=${join(apt, 'cache')}`,
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  run('apt-get', [...options, 'update', '-q']);
  run('apt-get', [...options, 'download', '-q', 'docker-compose'], { cwd: apt });
  const [file] = readdirSync(apt).filter((name) => name.endsWith('.deb'));
  run('dpkg', ['-x', join(apt, file), join(apt, 'root')]);
  mkdirSync(plugins, { recursive: true });
  run('cp', [
    join(apt, 'root/usr/libexec/docker/cli-plugins/docker-compose'),
    join(plugins, 'docker-compose'),
  ]);
  rmSync(apt, { recursive: true, force: true });
}

/** One program of a package, unpacked and never installed. */
function provideUnpacked(folder, name) {
  if (existsSync(join(folder, 'bin', name))) return;
  const unpacked = join(folder, name);
  for (const path of [unpacked, join(folder, 'bin')]) mkdirSync(path, { recursive: true });
  run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-q', name], { cwd: unpacked });
  const [file] = readdirSync(unpacked).filter((entry) => entry.endsWith('.deb'));
  run('dpkg', ['-x', join(unpacked, file), unpacked]);
  if (!succeeds([join(unpacked, 'usr/bin', name), ['--version']])) throw new Error(`${name} does not run`);
  run('cp', [join(unpacked, 'usr/bin', name), join(folder, 'bin', name)]);
  rmSync(unpacked, { recursive: true, force: true });
}

/** Ansible's modules for Docker: unpacked, for they run by themselves with python3-docker beside them. */
function provideAnsible(folder, aptUpdate) {
  provideDebian(
    { probe: ['/usr/bin/python3', ['-c', 'import docker, requests']], packages: ['python3-docker'] },
    aptUpdate,
  );
  if (existsSync(join(folder, 'usr/lib/python3/dist-packages/ansible_collections/community/docker'))) return;
  const debs = join(folder, 'debs');
  mkdirSync(debs, { recursive: true });
  run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-q', 'ansible', 'ansible-core'], {
    cwd: debs,
  });
  for (const file of readdirSync(debs)) run('dpkg', ['-x', join(debs, file), folder]);
  rmSync(debs, { recursive: true, force: true });
}

function provideNpm(folder) {
  if (existsSync(join(folder, 'node_modules', 'testcontainers'))) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
  run('npm', ['install', '--save-exact', '--no-audit', '--no-fund', '--ignore-scripts', ...npmClients], {
    cwd: folder,
  });
}

/** `folder`: build/tools/clients. */
export function provideClients(folder, aptUpdate) {
  const missing = {};
  const attempt = (client, provide) => {
    try {
      provide();
    } catch (error) {
      missing[client] = error.message;
    }
  };
  for (const entry of debianClients) attempt(entry.client, () => provideDebian(entry, aptUpdate));
  attempt('compose-2', () => provideComposePlugin(folder));
  for (const name of imageTools) attempt(name, () => provideUnpacked(join(folder, 'images'), name));
  attempt('ansible', () => provideAnsible(join(folder, 'ansible'), aptUpdate));
  attempt('npm', () => provideNpm(join(folder, 'npm')));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'missing.json'), `${JSON.stringify(missing, null, 2)}\n`);
  const names = Object.keys(missing);
  return names.length === 0 ? 'present' : `without ${names.join(', ')}: see build/tools/clients/missing.json`;
}
