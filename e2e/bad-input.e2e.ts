/** Bad input gets a clear error that names the field and the rule, and loses nothing. */
import { expect } from 'chai';
import { eventually, TestCluster } from './harness/cluster.js';

interface Refusal {
  message: string;
}

const image = 'enxame/demo:1';

function spec(change: Record<string, unknown>): Record<string, unknown> {
  return { Name: 'bad', TaskTemplate: { ContainerSpec: { Image: image } }, ...change };
}

describe('bad input', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-bad', 1);

  before(async () => {
    await cluster.up();
    await cluster.loadDemo();
  });
  after(() => cluster.end());

  const refused: [string, unknown, number, RegExp][] = [
    ['JSON cut in the middle', '{"Name": "bad", ', 400, /json/i],
    ['an array for a spec', [], 400, /object/i],
    ['a name that is a number', spec({ Name: 7 }), 400, /Name.*string/],
    ['a name over 63 characters', spec({ Name: 'n'.repeat(64) }), 400, /Name.*63|63.*name/i],
    ['a name with a slash', spec({ Name: 'a/b' }), 400, /name/i],
    ['no image', spec({ TaskTemplate: { ContainerSpec: {} } }), 400, /Image/i],
    [
      'an env that is no list',
      spec({ TaskTemplate: { ContainerSpec: { Image: image, Env: 'A=1' } } }),
      400,
      /Env/,
    ],
    ['replicas below zero', spec({ Mode: { Replicated: { Replicas: -1 } } }), 400, /Replicas/],
    [
      'memory under 4 MiB',
      spec({
        TaskTemplate: { ContainerSpec: { Image: image }, Resources: { Limits: { MemoryBytes: 1024 } } },
      }),
      400,
      /4 ?MiB/,
    ],
    [
      'a constraint without an operator',
      spec({ TaskTemplate: { ContainerSpec: { Image: image }, Placement: { Constraints: ['node.role'] } } }),
      400,
      /constraint/i,
    ],
    [
      'an unknown constraint key',
      spec({
        TaskTemplate: { ContainerSpec: { Image: image }, Placement: { Constraints: ['node.rule==manager'] } },
      }),
      400,
      /node\.rule/,
    ],
    [
      'a port over 65535',
      spec({ EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 70000 }] } }),
      400,
      /TargetPort/,
    ],
    ['an unknown update order', spec({ UpdateConfig: { Order: 'random' } }), 400, /Order/],
    [
      'dnsrr with a published port',
      spec({
        EndpointSpec: { Mode: 'dnsrr', Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 18_090 }] },
      }),
      400,
      /dnsrr/i,
    ],
  ];

  for (const [what, body, status, words] of refused) {
    it(`refuses ${what}`, async () => {
      const answer = await cluster.api<Refusal>('POST', '/services/create', body);
      expect(answer.status, JSON.stringify(answer.body)).to.equal(status);
      expect(answer.body.message).to.match(words);
    });
  }

  it('refuses a duplicate name with 409, and a port that is taken', async () => {
    const ports = { EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 8080, PublishedPort: 18_091 }] } };
    const first = await cluster.api('POST', '/services/create', { ...spec(ports), Name: 'good' });
    expect(first.status).to.equal(201);
    const twin = await cluster.api<Refusal>('POST', '/services/create', { ...spec({}), Name: 'good' });
    expect(twin.status).to.equal(409);
    expect(twin.body.message).to.include('good');
    const taken = await cluster.api<Refusal>('POST', '/services/create', { ...spec(ports), Name: 'other' });
    expect(taken.status).to.be.oneOf([400, 409]);
    expect(taken.body.message).to.include('18091');
  });

  it('refuses an update made from an old version', async () => {
    const before = (
      await cluster.api<{ Version: { Index: number }; Spec: Record<string, unknown> }>(
        'GET',
        '/services/good',
      )
    ).body;
    const path = `/services/good/update?version=${before.Version.Index - 1}`;
    const answer = await cluster.api<Refusal>('POST', path, before.Spec);
    expect(answer.status).to.equal(500);
    expect(answer.body.message).to.include('update out of sequence');
  });

  it('explains why no node suits', async () => {
    await cluster.tryDocker([
      'service',
      'create',
      '--detach',
      '--name',
      'nowhere',
      '--constraint',
      'node.labels.zone==moon',
      image,
    ]);
    const task = await eventually('the explanation', 10_000, async () =>
      (await cluster.tasks('nowhere')).find((found) => found.Status.Err),
    );
    expect(task.Status.Err).to.match(/no suitable node \(scheduling constraints not satisfied on 2 nodes\)/);
    expect(task.Status.State).to.equal('pending');
  });

  it('shows the failure of a container that cannot start', async () => {
    await cluster.tryDocker([
      'service',
      'create',
      '--detach',
      '--name',
      'broken',
      '--restart-condition',
      'none',
      '--entrypoint',
      '/no-such-program',
      image,
    ]);
    const task = await eventually('the failure', 20_000, async () =>
      (await cluster.tasks('broken')).find((found) => ['failed', 'rejected'].includes(found.Status.State)),
    );
    expect(task.Status.Err).to.match(/no such file|not found/i);
  });

  it('tells that memory ran out', async () => {
    await cluster.docker([
      'service',
      'create',
      '--detach',
      '--name',
      'hungry',
      '--restart-condition',
      'none',
      '--limit-memory',
      '8m',
      '--env',
      'DEMO_EAT_MIB=64',
      image,
    ]);
    const task = await eventually('the end by OOM', 20_000, async () =>
      (await cluster.tasks('hungry')).find((found) => found.Status.State === 'failed'),
    );
    expect(task.Status.ContainerStatus?.ExitCode).to.equal(137);
  });

  it('answers unknown routes and objects with 404', async () => {
    expect((await cluster.api('GET', '/services/none')).status).to.equal(404);
    expect((await cluster.api('GET', '/no/such/route')).status).to.equal(404);
    expect((await cluster.api('GET', '/containers/none/json')).status).to.equal(404);
  });

  it('still works after all that', async () => {
    expect(await cluster.docker(['service', 'scale', 'good=2'])).to.include('converged');
  });
});
