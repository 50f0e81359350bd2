/** Images from a real registry: pulled by every node that needs them, damaged ones refused. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { eventually, run, TestCluster } from './harness/cluster.js';
import { digestOf, layerOfProgram, RegistryGuard, TestRegistry } from './harness/registry.js';

const redisServer = join(fileURLToPath(new URL('../..', import.meta.url)), 'build/tools/bin/redis-server');

describe('images from a registry', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-registry');
  let registry: TestRegistry;
  let layer: Buffer;

  before(async () => {
    await cluster.up();
    const nodes = (
      await cluster.api<{ Description: { Hostname: string }; Status: { Addr: string } }[]>('GET', '/nodes')
    ).body;
    const address = nodes.find((node) => node.Description.Hostname === 'node-1')!.Status.Addr;
    registry = new TestRegistry(address, 15_055);
    await registry.start();
    layer = await layerOfProgram(redisServer, '/usr/bin/redis-server');
  });
  after(async () => {
    registry?.stop();
    await cluster.end();
  });

  it("runs a service of Debian's redis-server from it on every node", async () => {
    const digest = await registry.push('debian/redis', '7', layer, {
      Entrypoint: ['/usr/bin/redis-server'],
      Cmd: ['--bind', '0.0.0.0', '--protected-mode', 'no', '--save', ''],
      WorkingDir: '/data',
      User: 'redis',
      ExposedPorts: { '6379/tcp': {} },
    });
    const output = await cluster.docker([
      'service',
      'create',
      '--name',
      'cache',
      '--replicas',
      '3',
      '--publish',
      '16379:6379',
      `${registry.name}/debian/redis:7`,
    ]);
    expect(output).to.include('converged');
    expect(
      await cluster.docker([
        'service',
        'inspect',
        'cache',
        '--format',
        '{{.Spec.TaskTemplate.ContainerSpec.Image}}',
      ]),
    ).to.equal(`${registry.name}/debian/redis:7@${digest}`);
    for (let i = 0; i < 6; i++) {
      const pong = await eventually('PONG', 10_000, async () => {
        const result = await run('redis-cli', ['-h', '127.0.0.1', '-p', '16379', 'ping']);
        return result.stdout.trim() === 'PONG' ? result.stdout.trim() : undefined;
      });
      expect(pong).to.equal('PONG');
    }
    const id = await cluster.docker(['ps', '-q', '--filter', 'label=com.docker.swarm.service.name=cache']);
    expect(
      await cluster.docker(['inspect', id, '--format', '{{.Config.User}} {{.Config.WorkingDir}}']),
    ).to.equal('redis /data');
    await cluster.docker(['service', 'rm', 'cache']);
  });

  it('takes the credentials of a private registry to the nodes that pull, and shows them to nobody', async () => {
    const guard = new RegistryGuard(registry, 15_056);
    await guard.start();
    try {
      const image = `${guard.name}/debian/private:1`;
      // A layer of its own: the nodes must not find it in what they have of other images.
      const own = await layerOfProgram('/bin/busybox', '/bin/busybox-of-the-private-image');
      await registry.push('debian/private', '1', own, {
        Cmd: ['/bin/busybox-of-the-private-image', 'sleep', '1000'],
      });
      cluster.writeDockerConfig({ auths: { [guard.name]: { auth: guard.encoded } } });
      const output = await cluster.docker([
        'service',
        'create',
        '--name',
        'private',
        '--mode',
        'global',
        '--with-registry-auth',
        image,
      ]);
      expect(output).to.include('converged');
      const shown = await cluster.docker(['service', 'inspect', 'private']);
      expect(shown).to.not.match(/opensesame|registryauth/i);
      await cluster.docker(['service', 'rm', 'private']);
    } finally {
      cluster.writeDockerConfig({});
      guard.stop();
    }
  });

  it('pulls by hand with progress, by tag and by digest', async () => {
    const output = await cluster.docker(['pull', `${registry.name}/debian/redis:7`]);
    expect(output).to.match(/Status: (Downloaded newer image|Image is up to date) for/);
  });

  it("rejects a task whose image the registry does not know, in the registry's words", async () => {
    await cluster.tryDocker([
      'service',
      'create',
      '--detach',
      '--name',
      'ghost',
      '--restart-condition',
      'none',
      `${registry.name}/no/such:1`,
    ]);
    const task = await eventually('the rejection', 20_000, async () =>
      (await cluster.tasks('ghost')).find((found) => found.Status.State === 'rejected'),
    );
    expect(task.Status.Err).to.match(/manifest unknown|not found/i);
    expect(
      await cluster.docker([
        'service',
        'ps',
        '--no-trunc',
        '--format',
        '{{.CurrentState}} {{.Error}}',
        'ghost',
      ]),
    ).to.match(/Rejected.*(manifest unknown|not found)/i);
    await cluster.docker(['service', 'rm', 'ghost']);
  });

  it('refuses a damaged layer and shows nothing of the image', async () => {
    const fresh = await layerOfProgram('/bin/busybox', '/bin/busybox-of-the-damaged-image');
    await registry.push('debian/damaged', '1', fresh, { Cmd: ['/bin/busybox-of-the-damaged-image'] });
    registry.damageBlob(digestOf(gzipSync(fresh, { level: 1 })));
    const result = await cluster.tryDocker(['pull', `${registry.name}/debian/damaged:1`], { node: 2 });
    expect(result.code).to.equal(1);
    expect(result.stderr + result.stdout).to.match(/digest|verif|mismatch/i);
    expect(await cluster.docker(['images', '-q', `${registry.name}/debian/damaged`], { node: 2 })).to.equal(
      '',
    );
  });
});
