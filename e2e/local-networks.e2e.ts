/** Networks and published ports of `docker run` on one node. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect } from 'chai';
import { busyboxImage, loadBusybox } from './harness/busybox-image.js';
import { eventually, run, TestCluster } from './harness/cluster.js';

describe('networks and ports of docker run', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-nets', 0);
  const docker = (...args: string[]): Promise<string> => cluster.docker(args);
  const refusal = async (...args: string[]): Promise<string> => {
    const result = await cluster.tryDocker(args);
    return result.code === 0 ? `no refusal: ${result.stdout}` : result.stderr;
  };
  const curl = async (url: string): Promise<string> =>
    (await run('curl', ['-s', '--retry', '5', '--retry-connrefused', '-H', 'Accept: application/json', url]))
      .stdout;

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
    await loadBusybox(cluster);
  });
  after(() => cluster.end());

  it('lets containers of a network find each other by name and alias, and nobody else', async () => {
    await docker('network', 'create', '--subnet', '10.77.0.0/24', '--gateway', '10.77.0.9', 'front');
    await docker('network', 'create', '--internal', '--label', 'a=b', 'back');
    await docker(
      'run',
      '-d',
      '--name',
      'web',
      '--network',
      'front',
      '--network-alias',
      'www',
      '--ip',
      '10.77.0.33',
      'enxame/demo:1',
    );
    await docker('run', '-d', '--name', 'db', '--network', 'back', 'enxame/demo:1');
    const ask = (network: string, script: string): Promise<{ code: number; stdout: string }> =>
      cluster.tryDocker(['run', '--rm', '--network', network, busyboxImage, 'sh', '-c', script]);
    for (const name of ['web', 'www', '10.77.0.33']) {
      const answer = await ask('front', `timeout 5 wget -q -O - http://${name}:8080/json`);
      expect(answer.stdout, name).to.include('"version"');
    }
    expect((await ask('front', 'ping -c 1 -W 2 10.77.0.9')).code, 'the gateway is the node').to.equal(0);
    expect((await ask('front', 'nslookup db')).code, 'names of other networks').to.not.equal(0);
    expect((await ask('bridge', 'nslookup web')).code, 'names on bridge').to.not.equal(0);
    const db = await docker('inspect', 'db', '--format', '{{.NetworkSettings.Networks.back.IPAddress}}');
    expect(
      (await ask('front', `timeout 5 wget -q -O - http://${db}:8080/`)).code,
      'other networks',
    ).to.not.equal(0);
    expect((await ask('back', `timeout 5 wget -q -O - http://${db}:8080/json`)).stdout).to.include(
      '"version"',
    );
    expect(
      (await ask('back', 'timeout 5 wget -q -O - http://10.77.0.33:8080/')).code,
      'out of an internal one',
    ).to.not.equal(0);
  });

  it('shows them as Docker does, and refuses in its words', async () => {
    expect(
      await docker('network', 'ls', '--filter', 'label=a=b', '--format', '{{.Name}} {{.Driver}} {{.Scope}}'),
    ).to.equal('back bridge local');
    expect(
      await docker(
        'network',
        'inspect',
        'front',
        '--format',
        '{{(index .IPAM.Config 0).Subnet}} {{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}',
      ),
    ).to.equal('10.77.0.0/24 web 10.77.0.33/24');
    const table: [string[], string][] = [
      [['network', 'create', 'front'], 'network with name front already exists'],
      [
        ['network', 'create', '--subnet', '10.77.0.128/25', 'other'],
        'Pool overlaps with other one on this address space',
      ],
      [['network', 'create', '-d', 'macvlan', 'other'], 'macvlan'],
      [['network', 'rm', 'front'], 'has active endpoints'],
      [['network', 'rm', 'bridge'], 'pre-defined network'],
      [['run', '--network', 'nosuch', busyboxImage, 'true'], 'network nosuch not found'],
      [['run', '--network', 'front', '--ip', '10.77.0.33', busyboxImage, 'true'], 'Address already in use'],
      [
        ['run', '--network', 'front', '--ip', '10.78.0.1', busyboxImage, 'true'],
        'no configured subnet contains IP address',
      ],
    ];
    for (const [args, expected] of table) expect(await refusal(...args), args.join(' ')).to.include(expected);
  });

  it('publishes ports of every address, of one, any and a range, and keeps the client', async () => {
    await docker(
      'run',
      '-d',
      '--name',
      'pub',
      '-p',
      '18191:8080',
      '-p',
      '127.0.0.1:18192:8080',
      '-p',
      '18193-18195:8080',
      '-P',
      '--expose',
      '9000',
      'enxame/demo:1',
    );
    const ports = await docker('port', 'pub');
    expect(ports)
      .to.include('8080/tcp -> 0.0.0.0:18191')
      .and.include('8080/tcp -> 127.0.0.1:18192')
      .and.include('8080/tcp -> 0.0.0.0:18193');
    expect(ports).to.match(/9000\/tcp -> 0\.0\.0\.0:3\d{4}/);
    for (const url of ['http://localhost:18191/', 'http://127.0.0.1:18192/', 'http://localhost:18193/']) {
      expect(await curl(url), url).to.include('"version"');
    }
    const [{ Status }] = (await cluster.api<[{ Status: { Addr: string } }]>('GET', '/nodes')).body;
    expect(JSON.parse(await curl(`http://${Status.Addr}:18191/`)).client).to.match(
      new RegExp(`^${Status.Addr}:`),
    );
    expect(
      (await run('curl', ['-s', '-m', '3', `http://${Status.Addr}:18192/`])).code,
      'of 127.0.0.1 alone',
    ).to.not.equal(0);
    expect(await refusal('run', '-p', '18191:80', 'enxame/demo:1')).to.include(
      'Bind for 0.0.0.0:18191 failed: port is already allocated',
    );
    const server = createServer().listen(18_196);
    await once(server, 'listening');
    expect(await refusal('run', '-p', '18196:80', 'enxame/demo:1')).to.include('address already in use');
    server.close();
    await docker('stop', '-t', '0', 'pub');
    expect(
      (await run('curl', ['-s', '-m', '3', 'http://localhost:18191/'])).code,
      'after its end',
    ).to.not.equal(0);
    await docker('start', 'pub');
    expect(await curl('http://localhost:18191/')).to.include('"version"');
  });

  it('connects a running container to a further network and takes it off again', async () => {
    await docker('run', '-d', '--name', 'walker', busyboxImage, 'sleep', '1000');
    const asks = (name: string): Promise<{ code: number; stdout: string }> =>
      cluster.tryDocker([
        'exec',
        'walker',
        'timeout',
        '5',
        'wget',
        '-q',
        '-O',
        '-',
        `http://${name}:8080/json`,
      ]);
    expect((await asks('www')).code).to.not.equal(0);
    await docker('network', 'connect', '--alias', 'guest', '--ip', '10.77.0.44', 'front', 'walker');
    expect((await asks('www')).stdout).to.include('"version"');
    expect(await docker('run', '--rm', '--network', 'front', busyboxImage, 'nslookup', 'guest')).to.include(
      '10.77.0.44',
    );
    expect(await refusal('network', 'connect', 'front', 'walker')).to.include(
      'already exists in network front',
    );
    expect(await refusal('network', 'disconnect', 'back', 'walker')).to.include(
      'is not connected to network back',
    );
    await docker('network', 'disconnect', 'bridge', 'walker');
    expect((await asks('www')).stdout, 'the other one is the way out now').to.include('"version"');
    await docker('restart', '-t', '0', 'walker');
    expect((await asks('www')).stdout, 'after a restart').to.include('"version"');
    await docker('network', 'disconnect', 'front', 'walker');
    expect((await asks('10.77.0.33')).code).to.not.equal(0);
    await docker('rm', '-f', 'walker');
  });

  it('keeps networks, names and ports across a kill of the agent, and prunes what nobody uses', async () => {
    const agent = Number(cluster.agentPid(1));
    process.kill(agent, 'SIGKILL');
    expect(await curl('http://localhost:18191/'), 'while it is away').to.include('"version"');
    await eventually('a new agent', 30_000, async () => {
      const pid = cluster.agentPid(1);
      return pid !== undefined && Number(pid) !== agent && (await cluster.tryDocker(['ps'])).code === 0;
    });
    const found = await docker(
      'run',
      '--rm',
      '--network',
      'front',
      busyboxImage,
      'wget',
      '-q',
      '-O',
      '-',
      'http://www:8080/json',
    );
    expect(found).to.include('"version"');
    await docker('rm', '-f', 'web', 'db', 'pub');
    await docker('network', 'create', '-d', 'overlay', 'of-the-cluster');
    expect(await docker('network', 'prune', '-f'))
      .to.include('front')
      .and.include('back')
      .and.include('of-the-cluster');
    expect(await docker('network', 'ls', '-q', '--filter', 'name=of-the-cluster')).to.equal('');
    expect(
      await docker('network', 'ls', '-q', '--filter', 'type=custom', '--filter', 'driver=bridge'),
    ).to.equal('');
  });
});
