/** What a new user does with the stock docker CLI, command by command. */
import { expect } from 'chai';
import { eventually, run, TestCluster } from './harness/cluster.js';

describe('first use with the docker CLI', () => {
  const cluster = new TestCluster('e2e-first');

  before(async function () {
    this.timeout(120_000);
    await cluster.up();
    await cluster.loadDemo();
  });
  after(async function () {
    this.timeout(120_000);
    await cluster.end();
  });

  it('ends the start on a short screen', () => {
    expect(cluster.screen).to.include('node-1');
    expect(cluster.screen).to.include('node-3');
    expect(cluster.screen).to.include(`export DOCKER_HOST=unix://${cluster.socket}`);
    expect(cluster.screen).to.include('Stop it with: npx enxame dev down --name e2e-first');
  });

  it('answers version, info and node ls', async () => {
    expect(await cluster.docker(['version', '--format', '{{.Server.Version}} {{.Server.Os}}'])).to.match(
      /^\S+ linux$/,
    );
    const info = await cluster.docker([
      'info',
      '--format',
      '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Nodes}} {{.Swarm.Managers}}',
    ]);
    expect(info).to.equal('active true 3 1');
    const nodes = await cluster.docker([
      'node',
      'ls',
      '--format',
      '{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}',
    ]);
    expect(nodes.split('\n').map((line) => line.trimEnd())).to.deep.equal([
      'node-1 Ready Active Leader',
      'node-2 Ready Active',
      'node-3 Ready Active',
    ]);
    expect(
      await cluster.docker(['node', 'inspect', 'self', '--format', '{{.Description.Hostname}}']),
    ).to.equal('node-1');
    const plugins = '{{range .Description.Engine.Plugins}}{{if eq .Type "Network"}}{{.Name}} {{end}}{{end}}';
    const ofNode = await cluster.docker(['node', 'inspect', 'self', '--format', plugins]);
    const ofInfo = await cluster.docker(['info', '--format', '{{range .Plugins.Network}}{{.}} {{end}}']);
    expect(ofNode).to.equal(ofInfo);
  });

  it('tells a worker user to go to a manager', async () => {
    const result = await cluster.tryDocker(['service', 'ls'], { node: 2 });
    expect(result.code).to.equal(1);
    expect(result.stderr).to.include('not a swarm manager');
  });

  it('lists the loaded images', async () => {
    const images = await cluster.docker(['images', '--format', '{{.Repository}}:{{.Tag}}']);
    expect(images.split('\n')).to.include.members(['enxame/demo:1', 'enxame/demo:2', 'enxame/demo:bad']);
  });

  it('creates a service with the CLI waiting until it converged', async () => {
    const output = await cluster.docker([
      'service',
      'create',
      '--name',
      'web',
      '--replicas',
      '3',
      '--publish',
      '18080:8080',
      '--env',
      'DEMO_NODE={{.Node.Hostname}}',
      '--env',
      'DEMO_TASK={{.Task.Name}}',
      '--env',
      'DEMO_SERVICE={{.Service.Name}}',
      '--label',
      'tier=front',
      '--hostname',
      'web-{{.Task.Slot}}',
      '--stop-grace-period',
      '3s',
      '--limit-cpu',
      '0.5',
      '--limit-memory',
      '64m',
      '--reserve-memory',
      '16m',
      '--mount',
      'type=tmpfs,destination=/scratch,tmpfs-size=1048576',
      '--mount',
      'type=volume,source=web-data,destination=/data',
      '--mount',
      'type=bind,source=/etc/debian_version,destination=/debian_version,readonly',
      '--restart-delay',
      '0s',
      '--update-parallelism',
      '2',
      '--constraint',
      'node.platform.os==linux',
      'enxame/demo:1',
    ]);
    expect(output).to.include('converged');
    expect(await cluster.docker(['service', 'ls', '--format', '{{.Name}} {{.Mode}} {{.Replicas}}'])).to.equal(
      'web replicated 3/3',
    );
  });

  it('spreads the tasks over the nodes', async () => {
    const rows = await cluster.docker([
      'service',
      'ps',
      'web',
      '--format',
      '{{.Name}} {{.Node}} {{.CurrentState}} {{.Error}}',
    ]);
    expect(rows.split('\n')).to.have.length(3);
    const nodes = rows.split('\n').map((row) => row.split(' ')[1]);
    expect(nodes.sort()).to.deep.equal(['node-1', 'node-2', 'node-3']);
  });

  it('answers on the published port of every node and of localhost', async () => {
    for (const host of ['127.0.0.1', '10.98.0.1', '10.98.0.2', '10.98.0.3'].map((address) =>
      underlay(cluster, address),
    )) {
      const answer = await eventually(`an answer of ${await host}`, 5_000, async () => {
        const result = await run('curl', [
          '-s',
          '--max-time',
          '2',
          '-H',
          'Accept: application/json',
          `http://${await host}:18080/`,
        ]);
        return result.code === 0
          ? (JSON.parse(result.stdout) as { version: unknown; service: string })
          : undefined;
      });
      expect(String(answer.version)).to.equal('1');
      expect(answer.service).to.equal('web');
    }
  });

  it('inspects a service, pretty and plain', async () => {
    expect(await cluster.docker(['service', 'inspect', '--pretty', 'web'])).to.include('Replicas:');
    const ports = await cluster.docker(['service', 'inspect', 'web', '--format', '{{json .Endpoint.Ports}}']);
    expect(JSON.parse(ports)).to.deep.equal([
      { Protocol: 'tcp', TargetPort: 8080, PublishedPort: 18080, PublishMode: 'ingress' },
    ]);
  });

  it('shows the containers of a node, their details and logs', async () => {
    const id = await cluster.docker(['ps', '-q', '--filter', 'label=com.docker.swarm.service.name=web']);
    expect(id).to.match(/^[0-9a-f]{12}$/);
    const inspected = JSON.parse(await cluster.docker(['inspect', id]))[0];
    expect(inspected.State.Status).to.equal('running');
    expect(inspected.HostConfig.Memory).to.equal(64 * 1024 * 1024);
    expect(inspected.Config.Labels['com.docker.swarm.service.name']).to.equal('web');
    expect(inspected.Config.ExposedPorts).to.deep.equal({ '8080/tcp': {} });
    expect(await cluster.docker(['ps', '--format', '{{.Ports}}', '--filter', `id=${id}`])).to.equal(
      '8080/tcp',
    );
    const logs = await cluster.tryDocker(['logs', id]);
    expect(logs.code).to.equal(0);
    const serviceLogs = await cluster.tryDocker(['service', 'logs', 'web']);
    expect(serviceLogs.code).to.equal(0);
    expect(serviceLogs.stdout + serviceLogs.stderr).to.include('web.1');
  });

  it('runs a command in a container, with and without a terminal', async () => {
    const id = await cluster.docker(['ps', '-q', '--filter', 'label=com.docker.swarm.service.name=web']);
    const plain = await cluster.tryDocker(['exec', id, '/demo', 'healthcheck']);
    expect(plain.code).to.equal(0);
    const missing = await cluster.tryDocker(['exec', id, '/no-such-program']);
    expect(missing.code).to.be.oneOf([126, 127]);
    const tty = await run('script', ['-qec', `docker exec -it ${id} /demo healthcheck`, '/dev/null'], {
      env: cluster.dockerEnvironment(),
    });
    expect(tty.code).to.equal(0);
  });

  it('reaches containers of other nodes from the manager, which Swarm never could', async () => {
    const tasks = await cluster.tasks('web');
    for (const task of tasks) {
      const container = task.Status.ContainerStatus!.ContainerID;
      const result = await cluster.tryDocker(['exec', container, '/demo', 'healthcheck']);
      expect(result.code, result.stderr).to.equal(0);
    }
  });

  it('scales up and down', async () => {
    expect(await cluster.docker(['service', 'scale', 'web=10'])).to.include('converged');
    await cluster.allRunning('web', 10);
    expect(await cluster.docker(['service', 'scale', 'web=2'])).to.include('converged');
    await cluster.allRunning('web', 2);
  });

  it('updates, and rolls back by hand', async () => {
    expect(
      await cluster.docker(['service', 'update', '--image', 'enxame/demo:2', '--env-add', 'X=1', 'web']),
    ).to.include('converged');
    let tasks = await cluster.allRunning('web', 2);
    expect(tasks.every((task) => task.Spec.ContainerSpec.Image.startsWith('enxame/demo:2'))).to.equal(true);
    expect(await cluster.docker(['service', 'rollback', 'web'])).to.include('converged');
    tasks = await cluster.allRunning('web', 2);
    expect(tasks.every((task) => task.Spec.ContainerSpec.Image.startsWith('enxame/demo:1'))).to.equal(true);
    expect(await cluster.docker(['service', 'update', '--force', 'web'])).to.include('converged');
  });

  it('runs one task per node for a global service, and moves tasks off a drained node', async () => {
    expect(
      await cluster.docker([
        'service',
        'create',
        '--name',
        'everywhere',
        '--mode',
        'global',
        'enxame/demo:1',
      ]),
    ).to.include('converged');
    await cluster.allRunning('everywhere', 3);
    await cluster.docker(['node', 'update', '--availability', 'drain', 'node-3']);
    await cluster.allRunning('everywhere', 2);
    await cluster.docker(['node', 'update', '--availability', 'active', 'node-3']);
    await cluster.allRunning('everywhere', 3);
    await cluster.docker(['service', 'rm', 'everywhere']);
  });

  it('streams events of services and of containers on every node', async () => {
    const since = Math.floor(Date.now() / 1000);
    await cluster.docker(['service', 'create', '--name', 'seen', '--replicas', '3', 'enxame/demo:1']);
    await cluster.docker(['service', 'rm', 'seen']);
    const lines = await eventually('the events', 10_000, async () => {
      const text = await cluster.docker([
        'events',
        '--since',
        String(since),
        '--until',
        String(Math.ceil(Date.now() / 1000)),
        '--format',
        '{{.Type}} {{.Action}} {{index .Actor.Attributes "name"}}',
      ]);
      const starts = text.split('\n').filter((line) => line.startsWith('container start seen.'));
      return starts.length === 3 ? text.split('\n') : undefined;
    });
    expect(lines).to.include('service create seen');
    expect(lines).to.include('service remove seen');
  });

  it('says 501 and the name of what is not there yet', async () => {
    for (const [method, path, word] of [
      ['POST', '/session', 'buildkit'],
      ['POST', '/plugins/pull', 'plugin install'],
    ] as const) {
      const answer = await cluster.api<{ message: string }>(method, path, {});
      expect(answer.status, path).to.equal(501);
      expect(answer.body.message.toLowerCase()).to.include(word);
    }
  });

  it('removes a service and its containers', async () => {
    await cluster.docker(['service', 'rm', 'web']);
    expect(await cluster.docker(['service', 'ls', '-q'])).to.equal('');
    await eventually(
      'the end of its containers',
      20_000,
      async () => (await cluster.docker(['ps', '-q'])) === '',
    );
  });
});

/** The address of a node in this cluster's own underlay, whatever index the cluster got. */
async function underlay(cluster: TestCluster, address: string): Promise<string> {
  if (address.startsWith('127.')) return address;
  const nodes = (
    await cluster.api<{ Description: { Hostname: string }; Status: { Addr: string } }[]>('GET', '/nodes')
  ).body;
  const name = `node-${address.split('.')[3]}`;
  return nodes.find((node) => node.Description.Hostname === name)!.Status.Addr;
}
