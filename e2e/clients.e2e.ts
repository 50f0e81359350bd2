/** Other people's clients of Docker's API, each in its ordinary use of one node. */
import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { busyboxArchive } from './harness/busybox-image.js';
import { clientsFolder as clients, missing } from './harness/clients.js';
import { run, TestCluster, type CommandResult } from './harness/cluster.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const scripts = join(root, 'e2e/clients');
const image = 'busybox:latest';
/** Words of an answer that names a part of the API this version does not have. */
const notThere = /not implemented yet|is not available in this version/;

const compose = `
services:
  db:
    image: ${image}
    command: ["sh", "-c", "touch /data/ready; sleep 300"]
    volumes: ["data:/data"]
    networks: [back]
    stop_grace_period: 1s
    healthcheck:
      test: ["CMD", "test", "-f", "/data/ready"]
      interval: 1s
  app:
    image: ${image}
    command: ["sh", "-c", "echo app is up; sleep 300"]
    environment: { ROLE: app }
    networks: [back]
    stop_grace_period: 1s
    depends_on: { db: { condition: service_healthy } }
  web:
    image: ${image}
    command: ["sh", "-c", "echo web is up; sleep 300"]
    networks: [back]
    stop_grace_period: 1s
    depends_on: [app]
volumes: { data: {} }
networks: { back: {} }
`;

describe('other clients of Docker’s API', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-clients', 0);
  const folder = mkdtempSync(join(tmpdir(), 'enxame-clients-'));

  before(async () => {
    await cluster.up();
    const archive = join(folder, 'busybox.tar');
    writeFileSync(archive, await busyboxArchive(image));
    await cluster.docker(['load', '-q', '-i', archive]);
  });
  after(async () => {
    await cluster.end();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Prints how many of a client's cases pass; what this version does not have is told apart from what is wrong. */
  async function cases(client: string, command: string, args: string[]): Promise<void> {
    const result = await run(command, args, {
      timeoutMs: 110_000,
      env: {
        ...cluster.dockerEnvironment(),
        TEST_IMAGE: image,
        CLIENT_MODULES: join(clients, 'npm'),
        ANSIBLE_PACKAGES: join(clients, 'ansible/usr/lib/python3/dist-packages'),
        PYTHONDONTWRITEBYTECODE: '1',
      },
    });
    const lines = result.stdout.split('\n').filter((line) => /^(not )?ok /.test(line));
    const failed = lines.filter((line) => line.startsWith('not ok'));
    const wrong = failed.filter((line) => !notThere.test(line));
    console.log(`      ${client}: ${lines.length - failed.length} of ${lines.length} cases pass`);
    for (const line of failed) console.log(`        ${line}`);
    expect(lines.length, result.stdout + result.stderr).to.be.greaterThan(0);
    expect(wrong).to.deep.equal([]);
  }

  function client(name: string, command: string, script: string, needs: readonly string[]): void {
    it(name, async function () {
      const why = needs.map(missing).find((reason) => reason !== undefined);
      if (why !== undefined) {
        console.log(`      not installed: ${why}`);
        return this.skip();
      }
      await cases(name, command, [join(scripts, script)]);
    });
  }

  const sdk = 'docker-sdk-python';
  client('Docker SDK for Python', 'python3', 'docker_sdk.py', [sdk]);
  // Debian's own Python: the modules go with the libraries of their release.
  client('Ansible’s modules for Docker', '/usr/bin/python3', 'ansible_modules.py', [sdk, 'ansible']);
  client('dockerode', process.execPath, 'dockerode.mjs', ['npm']);
  client('@docker/node-sdk', process.execPath, 'node-sdk.mjs', ['npm']);
  client('testcontainers', process.execPath, 'testcontainers.mjs', ['npm']);

  function composeCase(name: string, key: string, command: (file: string) => [string, string[]]): void {
    it(name, async function () {
      const why = missing(key);
      if (why !== undefined) {
        console.log(`      not installed: ${why}`);
        return this.skip();
      }
      const project = join(folder, key);
      mkdirSync(project);
      const file = join(project, 'compose.yml');
      writeFileSync(file, compose);
      const [program, prefix] = command(file);
      const call = (...args: string[]): Promise<CommandResult> =>
        run(program, [...prefix, ...args], {
          timeoutMs: 90_000,
          env: { ...cluster.dockerEnvironment(), COMPOSE_PROJECT_NAME: key.replace('-', '') },
        });
      const must = async (...args: string[]): Promise<string> => {
        const result = await call(...args);
        expect(result.code, `${args.join(' ')}: ${result.stdout}${result.stderr}`).to.equal(0);
        return result.stdout + result.stderr;
      };
      const up = await call('up', '-d');
      if (up.code !== 0 && notThere.test(up.stdout + up.stderr)) {
        console.log(`      ${name}: ${up.stderr.trim().split('\n').at(-1)}`);
        return this.skip();
      }
      try {
        expect(up.code, up.stdout + up.stderr).to.equal(0);
        expect(await must('ps'))
          .to.match(/db/)
          .and.match(/app/)
          .and.match(/web/);
        expect(await must('logs', 'app')).to.contain('app is up');
        expect(await must('exec', '-T', 'app', 'sh', '-c', 'echo $ROLE')).to.contain('app');
        expect(await must('exec', '-T', 'web', 'ping', '-c', '1', '-W', '5', 'db')).to.contain('1 packets');
        await must('restart', 'web');
        await must('stop', 'web');
        await must('up', '-d');
      } finally {
        await must('down', '-v');
      }
      expect(await cluster.docker(['ps', '-aq'])).to.equal('');
      expect(await cluster.docker(['volume', 'ls', '-q'])).to.equal('');
    });
  }

  composeCase('docker compose 2', 'compose-2', (file) => {
    const plugins = join(folder, 'docker-config', 'cli-plugins');
    mkdirSync(plugins, { recursive: true });
    symlinkSync(join(clients, 'cli-plugins/docker-compose'), join(plugins, 'docker-compose'));
    return ['docker', ['--config', join(folder, 'docker-config'), 'compose', '-f', file]];
  });
  composeCase('docker-compose 1', 'compose-1', (file) => ['docker-compose', ['-f', file]]);
});
