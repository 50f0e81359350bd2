/** The keys of a cluster, through the stock docker CLI: the log encrypted and locked; backup and restore. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readStoredIdentity, writeNodeIdentity, type NodeIdentity } from '#libs/pki';
import { expect } from 'chai';
import { busyboxImage, loadBusybox } from './harness/busybox-image.js';
import { enxameMain, eventually, run, TestCluster } from './harness/cluster.js';

describe('keys of a cluster', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-keys', 1);
  const raftDir = `${cluster.stateDir}/node-1/raft`;
  const secretWord = 'a-word-to-look-for-on-the-disk';

  before(async () => {
    await cluster.up();
    await cluster.docker(['node', 'update', '--label-add', `word=${secretWord}`, 'node-1']);
  });
  after(() => cluster.end());

  const localState = (): Promise<string> => cluster.docker(['info', '-f', '{{.Swarm.LocalNodeState}}']);
  const untilState = (state: string): Promise<string> =>
    eventually(`node-1 is ${state}`, 20_000, async () =>
      (await localState()) === state ? state : undefined,
    );

  async function killManager(): Promise<void> {
    const pid = cluster.managerPid(1);
    process.kill(pid, 'SIGKILL');
    await eventually('another manager process', 20_000, async () => cluster.managerPid(1) !== pid);
  }

  /** What `docker swarm unlock-key` and `update --autolock` print has the key in a line of its own. */
  const keyIn = (text: string): string => /SWMKEY-1-[A-Za-z0-9+/]{43}/.exec(text)?.[0] ?? '';

  it('writes nothing of the log in the clear', () => {
    const files = readdirSync(raftDir, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(wal|snapshot)$/.test(name))
      .map((name) => join(raftDir, name));
    expect(files).to.not.deep.equal([]);
    for (const file of files) expect(readFileSync(file).includes(secretWord), file).to.equal(false);
  });

  it('gives a stack its secrets and configs, on no disk of any node in the clear', async () => {
    await loadBusybox(cluster);
    const word = 'hush-nobody-may-read-this';
    const folder = mkdtempSync(join(tmpdir(), 'enxame-secret-'));
    try {
      writeFileSync(join(folder, 'pass'), word);
      writeFileSync(join(folder, 'motd'), 'on {{.Node.Hostname}}\n');
      writeFileSync(
        join(folder, 'stack.yml'),
        `
version: "3.8"
services:
  reader:
    image: ${busyboxImage}
    command: ["sh", "-c", "cat /run/secrets/pass | sha256sum; cat /etc/motd; sleep 300"]
    stop_grace_period: 1s
    deploy: { mode: global }
    secrets: [{ source: pass, uid: "1000", mode: 0400 }]
    configs: [{ source: motd, target: /etc/motd }]
secrets: { pass: { file: ./pass } }
configs: { motd: { file: ./motd, template_driver: golang } }
`,
      );
      await cluster.docker(['stack', 'deploy', '--detach=true', '-c', join(folder, 'stack.yml'), 'keys']);
      await cluster.allRunning('keys_reader', 2);
      const digest = createHash('sha256').update(word).digest('hex');
      await eventually('what both nodes read', 10_000, async () => {
        const logs = await cluster.docker(['service', 'logs', '--raw', 'keys_reader']);
        return logs.split(digest).length === 3 && logs.includes('on node-1') && logs.includes('on node-2');
      });
      const refused = await cluster.tryDocker(['secret', 'rm', 'keys_pass']);
      expect(refused.stderr).to.contain('is in use by the following service: keys_reader');
      expect(await cluster.docker(['secret', 'inspect', 'keys_pass'])).to.not.contain(word);
      const found = await run('grep', ['-rlF', word, cluster.stateDir, `/run/enxame/${cluster.name}`]);
      expect(found.stdout).to.equal('');
      await cluster.docker(['stack', 'rm', '--detach=true', 'keys']);
      expect(await cluster.docker(['secret', 'ls', '-q'])).to.equal('');
      expect(await cluster.docker(['config', 'ls', '-q'])).to.equal('');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('shows the log of a running manager to who has its keys', async () => {
    const inspected = await run(process.execPath, [enxameMain, 'raft', 'inspect', raftDir, '--entries']);
    expect(inspected.code, inspected.stderr).to.equal(0);
    expect(inspected.stdout).to.match(/term +\d+\nvote +[0-9a-f]{16}\ncommit +\d+\nentries +1-\d+\nmembers/);
    expect(inspected.stdout).to.match(/put clusters\/\w+ \(default\), put nodes\//);
    expect(inspected.stdout).to.match(/patch nodes\/\w+ spec/);
    const json = await run(process.execPath, [
      enxameMain,
      'raft',
      'inspect',
      raftDir,
      '--entries',
      '1-5',
      '--json',
    ]);
    expect(json.stdout).to.not.contain('PRIVATE KEY').and.not.contain('SWMTKN');
    expect((JSON.parse(json.stdout) as { entryList: unknown[] }).entryList).to.have.length(5);
  });

  it('locks a manager that starts again, and lets it start with the key', async () => {
    const key = keyIn(await cluster.docker(['swarm', 'update', '--autolock=true']));
    expect(key).to.not.equal('');
    expect(await cluster.docker(['swarm', 'unlock-key', '-q'])).to.equal(key);
    expect((await cluster.tryDocker(['swarm', 'unlock'], { input: `${key}\n` })).stderr).to.contain(
      'not locked',
    );

    await killManager();
    await untilState('locked');
    const refused = await cluster.tryDocker(['node', 'ls']);
    expect(refused.code).to.equal(1);
    expect(refused.stderr).to.contain('Swarm is encrypted and needs to be unlocked before it can be used');
    const ping = await run('curl', ['-s', '-D', '-', '--unix-socket', cluster.socket, 'http://d/_ping']);
    expect(ping.stdout).to.match(/^Swarm: locked\r?$/m);
    const wrong = await cluster.tryDocker(['swarm', 'unlock'], { input: `SWMKEY-1-${'A'.repeat(43)}\n` });
    expect(wrong.stderr).to.contain('invalid key provided');
    await untilState('locked');

    await cluster.docker(['swarm', 'unlock'], { input: `${key}\n` });
    await untilState('active');
    expect(await cluster.docker(['node', 'inspect', 'self', '-f', '{{.Spec.Labels.word}}'])).to.equal(
      secretWord,
    );
  });

  it("keeps the node's own key sealed, and brings it back with the key when everything was killed", async () => {
    const key = await cluster.docker(['swarm', 'unlock-key', '-q']);
    const identity = (): string =>
      readFileSync(`${cluster.stateDir}/node-1/certificates/node-identity.pem`, 'utf8');
    const isSealed = (): boolean => identity().startsWith('-----BEGIN ENCRYPTED PRIVATE KEY-----');
    await eventually('the key is sealed', 20_000, async () => isSealed());
    const plain = await run('grep', ['-rlE', 'BEGIN (EC )?PRIVATE KEY', `${cluster.stateDir}/node-1`]);
    expect(plain.stdout).to.equal('');
    const id = await cluster.docker(['info', '-f', '{{.Swarm.NodeID}}']);
    const agent = cluster.agentPid(1);
    process.kill(agent, 'SIGKILL');
    process.kill(cluster.managerPid(1), 'SIGKILL');
    await eventually('another agent', 20_000, async () => cluster.agentPid(1) !== agent);
    await untilState('locked');
    expect(await cluster.docker(['info', '-f', '{{.Swarm.NodeID}}'])).to.equal(id);
    await cluster.docker(['swarm', 'unlock'], { input: `${key}\n` });
    await untilState('active');
    await eventually('node-1 is ready', 20_000, async () => {
      const shown = await cluster.docker(['node', 'ls', '--format', '{{.ID}} {{.Status}}']);
      return shown.includes(`${id} Ready`);
    });
    expect(isSealed()).to.equal(true);
  });

  it('takes a new unlock key, after which the old one opens nothing', async () => {
    const before = await cluster.docker(['swarm', 'unlock-key', '-q']);
    const key = keyIn(await cluster.docker(['swarm', 'unlock-key', '--rotate']));
    expect(key).to.not.equal(before);
    await sealIdentityWith(key, before);
    const agent = cluster.agentPid(1);
    process.kill(agent, 'SIGKILL');
    await killManager();
    await eventually('another agent', 20_000, async () => cluster.agentPid(1) !== agent);
    await untilState('locked');
    const old = await cluster.tryDocker(['swarm', 'unlock'], { input: `${before}\n` });
    expect(old.stderr).to.contain('invalid key provided');
    await cluster.docker(['swarm', 'unlock'], { input: `${key}\n` });
    await untilState('active');
    await opensWith(key);
  });

  const stateDir = `${cluster.stateDir}/node-1`;
  const opensWith = (key: string): Promise<NodeIdentity> =>
    eventually('the key of the node is sealed with the unlock key', 20_000, async () => {
      const stored = readStoredIdentity(stateDir);
      return stored?.kind === 'sealed' ? stored.open(key) : undefined;
    });

  /** As if everything had been killed between the two files that an unlock key seals. */
  async function sealIdentityWith(present: string, other: string): Promise<void> {
    writeNodeIdentity(stateDir, await opensWith(present), other);
  }

  it('needs no key any more once autolock is off', async () => {
    await cluster.docker(['swarm', 'update', '--autolock=false']);
    await killManager();
    await eventually(
      'the API of node-1',
      20_000,
      async () => (await cluster.tryDocker(['node', 'ls'])).code === 0,
    );
    expect(await localState()).to.equal('active');
    const identity = `${cluster.stateDir}/node-1/certificates/node-identity.pem`;
    await eventually('the key of the node lies open', 20_000, async () =>
      readFileSync(identity, 'utf8').startsWith('-----BEGIN PRIVATE KEY-----'),
    );
  });

  it('refuses a second manager on the folder of one that runs, which goes on', async () => {
    const main = enxameMain.replace('enxame.js', 'manager.js');
    const config = JSON.parse(readFileSync(`${stateDir}/manager.json`, 'utf8')) as Record<string, unknown>;
    const file = join(cluster.stateDir, 'second.json');
    const elsewhere = { clusterPort: 2399, managerSocket: join(cluster.stateDir, 'second.sock') };
    writeFileSync(file, JSON.stringify({ ...config, ...elsewhere }));
    const ended = await run(process.execPath, [main, '--config', file], { timeoutMs: 30_000 });
    expect(ended.code).to.equal(1);
    expect(ended.stdout + ended.stderr).to.contain('raft is in use by another process');
    await cluster.docker(['node', 'update', '--label-add', 'still=here', 'node-1']);
  });

  it('comes back from a backup as it was when the backup was made', async () => {
    await cluster.docker(['service', 'create', '-d', '--name', 'kept', '--replicas', '0', 'enxame/demo:1']);
    const before = await cluster.docker(['info', '-f', '{{.Swarm.Cluster.ID}}']);
    const file = join(cluster.stateDir, 'cluster.backup');
    const socket = `/run/enxame/${cluster.name}/node-1/manager.sock`;
    const made = await run(process.execPath, [
      enxameMain,
      'cluster',
      'backup',
      '--manager-socket',
      socket,
      '--output',
      file,
    ]);
    expect(made.code, made.stderr).to.equal(0);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    await cluster.docker(['service', 'rm', 'kept']);

    const dev = (...args: string[]) =>
      run(process.execPath, [enxameMain, 'dev', ...args, '--name', cluster.name], { timeoutMs: 100_000 });
    expect((await dev('down')).code).to.equal(0);
    const node = `${cluster.stateDir}/node-1`;
    const restore = () =>
      run(process.execPath, [enxameMain, 'cluster', 'restore', file, '--state-dir', node], {
        timeoutMs: 30_000,
      });
    expect((await restore()).stderr).to.contain('restore goes into an empty state folder');
    for (const name of readdirSync(node)) {
      if (name !== 'config.json') rmSync(join(node, name), { recursive: true });
    }
    writeFileSync(`${file}.cut`, readFileSync(file).subarray(0, -30));
    const cut = await run(process.execPath, [
      enxameMain,
      'cluster',
      'restore',
      `${file}.cut`,
      '--state-dir',
      node,
    ]);
    expect(cut.stderr).to.match(/cluster\.backup\.cut: the backup (broke off|is damaged)/);
    const restored = await restore();
    expect(restored.code, restored.stderr).to.equal(0);

    const up = await dev('up', '--workers', '1', '--detach');
    expect(up.code, up.stdout + up.stderr).to.equal(0);
    expect(await cluster.docker(['info', '-f', '{{.Swarm.Cluster.ID}}'])).to.equal(before);
    expect(await cluster.docker(['service', 'ls', '--format', '{{.Name}}'])).to.equal('kept');
    await eventually('both nodes are ready', 30_000, async () => {
      const format = '{{.Hostname}} {{.Status}} {{.ManagerStatus}}';
      const nodes = (await cluster.docker(['node', 'ls', '--format', format])).split('\n');
      const expected = ['node-1 Ready Leader', 'node-2 Ready'];
      return nodes
        .map((line) => line.trim())
        .sort()
        .join() === expected.join()
        ? true
        : undefined;
    });
  });
});
