import type { Service, ServiceSpec } from '#libs/model';
import type { PlainObjects } from '#libs/store';
import { expect } from 'chai';
import { openTestApi, smallCluster, type TestApi } from '../test-api.js';

/** What `docker service create --name web --replicas 2 demo:1` sends. */
const web = {
  Name: 'web',
  Labels: {},
  TaskTemplate: {
    ContainerSpec: { Image: 'demo:1', Init: false, DNSConfig: {} },
    Resources: { Limits: {}, Reservations: {} },
    Placement: {},
    ForceUpdate: 0,
  },
  Mode: { Replicated: { Replicas: 2 } },
  EndpointSpec: { Mode: 'vip' as const },
} satisfies ServiceSpec;

type Sent = Record<string, unknown>;
const withContainer = (fields: Sent): Sent => ({
  ...web,
  TaskTemplate: { ...web.TaskTemplate, ContainerSpec: { ...web.TaskTemplate.ContainerSpec, ...fields } },
});
const withTask = (fields: Sent): Sent => ({ ...web, TaskTemplate: { ...web.TaskTemplate, ...fields } });
const withPorts = (...Ports: Sent[]): Sent => ({ ...web, EndpointSpec: { Mode: 'vip', Ports } });

describe('/services', () => {
  let api: TestApi;
  let cluster: PlainObjects;

  before(async () => {
    cluster = await smallCluster();
    api = await openTestApi(cluster);
  });
  beforeEach(() => {
    api.store.reset(cluster);
  });
  after(() => api.close());

  async function create(body: unknown = web): Promise<string> {
    const answer = await api.call('POST', '/services/create', body);
    expect(answer.status, JSON.stringify(answer.body)).to.equal(201);
    return (answer.body as { ID: string }).ID;
  }
  const stored = (id: string): Readonly<Service> => api.store.view().services.get(id) as Service;
  const version = (id: string): number => stored(id).version;
  const update = (id: string, body: unknown, query = ''): Promise<{ status: number; body: unknown }> =>
    api.call('POST', `/services/${id}/update?version=${version(id)}${query}`, body);

  it('stores the spec as sent with a revision of its template, and drops what it does not know', async () => {
    const id = await create({ ...web, Surprise: 1, TaskTemplate: { ...web.TaskTemplate, Odd: true } });
    const service = stored(id);
    expect(service.spec).to.deep.equal(web);
    expect(api.store.view().revisions.get(service.revisionId)).to.deep.include({
      serviceId: id,
      serviceName: 'web',
      taskTemplate: web.TaskTemplate,
    });
  });

  it('shows a service as Docker does', async () => {
    const id = await create();
    const { body } = await api.call('GET', '/services/web?insertDefaults=false');
    expect(body).to.deep.equal({
      ID: id,
      Version: { Index: 2 },
      CreatedAt: '2026-03-01T12:00:00.25Z',
      UpdatedAt: '2026-03-01T12:00:00.25Z',
      Spec: web,
      Endpoint: { Spec: { Mode: 'vip' } },
    });
    const list = await api.call('GET', '/services?status=true');
    expect((list.body as Record<string, unknown>[])[0]?.['ServiceStatus']).to.deep.equal({
      RunningTasks: 0,
      DesiredTasks: 2,
      CompletedTasks: 0,
    });
    const full = await api.call('GET', '/services/web?insertDefaults=true');
    expect(full.body).to.have.nested.property('Spec.UpdateConfig.Parallelism', 1);
    expect(full.body).to.have.nested.property('Spec.TaskTemplate.RestartPolicy.Condition', 'any');
  });

  it('filters lists by name, id, label and mode', async () => {
    const id = await create({ ...web, Labels: { tier: 'front' } });
    await create({ ...web, Name: 'agent', Mode: { Global: {} } });
    const names = async (filters: unknown): Promise<string[]> => {
      const { body } = await api.call(
        'GET',
        `/services?filters=${encodeURIComponent(JSON.stringify(filters))}`,
      );
      return (body as { Spec: { Name: string } }[]).map((service) => service.Spec.Name);
    };
    expect(await names({ name: { we: true } })).to.deep.equal(['web']);
    expect(await names({ id: [id] })).to.deep.equal(['web']);
    expect(await names({ label: ['tier=front'] })).to.deep.equal(['web']);
    expect(await names({ mode: ['global'] })).to.deep.equal(['agent']);
    expect((await api.call('GET', '/services?filters={"nam":["a"]}')).status).to.equal(400);
  });

  it('gives a service without a name one', async () => {
    const id = await create({ ...web, Name: '' });
    expect(stored(id).spec.Name).to.match(/^[a-z]+_[a-z]+$/);
  });

  it('refuses a second service of one name with 409', async () => {
    await create();
    const answer = await api.call('POST', '/services/create', web);
    expect(answer.status).to.equal(409);
    expect(answer.body).to.have.property('message').that.contains('service web already exists');
  });

  it('updates: keeps the spec before, makes a revision only for another template', async () => {
    const id = await create();
    const first = stored(id).revisionId;
    expect((await update(id, { ...web, Mode: { Replicated: { Replicas: 5 } } })).status).to.equal(200);
    expect(stored(id)).to.deep.include({ revisionId: first, previousSpec: web });
    await update(id, withContainer({ Image: 'demo:2' }));
    expect(stored(id).revisionId).not.to.equal(first);
    expect(stored(id).previousRevisionId).to.equal(first);
  });

  it('keeps registry credentials for the nodes and shows them to nobody', async () => {
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const auth = { username: 'anna', password: 'opensesame' };
    const send = (path: string, body: unknown, header: string): ReturnType<TestApi['call']> =>
      api.call('POST', path, body, { 'x-registry-auth': header });
    const created = await send('/services/create', web, encode({ ...auth, serveraddress: 'r:5000' }));
    const { ID: id } = created.body as { ID: string };
    const revision = (): unknown => api.store.view().revisions.get(stored(id).revisionId)?.registryAuth;
    expect(revision()).to.deep.equal(auth);
    expect(JSON.stringify((await api.call('GET', `/services/${id}`)).body)).to.not.include('opensesame');

    await update(id, withContainer({ Image: 'demo:2' }));
    expect(revision(), 'kept by an update without').to.deep.equal(auth);
    const newer = { username: 'anna', password: 'changed' };
    const first = stored(id).revisionId;
    await send(
      `/services/${id}/update?version=${version(id)}`,
      withContainer({ Image: 'demo:2' }),
      encode(newer),
    );
    expect(stored(id).revisionId, 'new credentials alone change no task').to.equal(first);
    expect(revision()).to.deep.equal(newer);
    await update(id, withContainer({ Image: 'demo:3' }));
    await update(id, withContainer({ Image: 'demo:4' }), '&registryAuthFrom=previous-spec');
    expect(revision()).to.deep.equal(newer);

    const anonymous = await send('/services/create', { ...web, Name: 'free' }, 'e30=');
    expect(anonymous.body).to.have.property('Warnings', null);
    const rubbish = await send('/services/create', { ...web, Name: 'odd' }, '%%%');
    expect(rubbish.status).to.equal(400);
    expect(rubbish.body).to.have.property('message').that.includes('X-Registry-Auth');
  });

  it('runs on the network of the nodes themselves, alone and without published ports', async () => {
    const onHost = withTask({ Networks: [{ Target: 'host' }] });
    expect((await api.call('GET', '/networks/host?scope=swarm')).body).to.include({
      Id: 'host',
      Driver: 'host',
    });
    expect(stored(await create(onHost)).spec.TaskTemplate.Networks).to.deep.equal([{ Target: 'host' }]);
    const refusals: [unknown, string][] = [
      [{ ...onHost, EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 80 }] } }, 'EndpointSpec.Ports'],
      [withTask({ Networks: [{ Target: 'host' }, { Target: 'host' }] }), 'TaskTemplate.Networks'],
    ];
    for (const [body, field] of refusals) {
      const answer = await api.call('POST', '/services/create', { ...(body as Sent), Name: 'other' });
      expect(answer.status).to.equal(400);
      expect(answer.body).to.have.property('message').that.includes(field);
    }
  });

  it('rolls back: the specs change places and the rollout goes by the rollback rules', async () => {
    const id = await create();
    const first = stored(id).revisionId;
    await update(id, withContainer({ Image: 'demo:2' }));
    const second = stored(id).revisionId;
    expect((await update(id, web, '&rollback=previous')).status).to.equal(200);
    expect(stored(id)).to.deep.include({
      spec: web,
      revisionId: first,
      previousRevisionId: second,
      updateStatus: {
        state: 'rollback_started',
        startedAtMs: Date.parse('2026-03-01T12:00:00.250Z'),
        message: 'manually requested rollback',
      },
    });
    expect(stored(id).previousSpec?.TaskTemplate.ContainerSpec?.Image).to.equal('demo:2');
  });

  const refusedUpdates: [string, Sent, string, number, string][] = [
    ['another name', { ...web, Name: 'other' }, '', 501, 'renaming services is not supported'],
    ['another mode', { ...web, Mode: { Global: {} } }, '', 501, 'service mode change is not allowed'],
    ['a rollback without a past', web, '&rollback=previous', 400, 'does not have a previous spec'],
    ['an unknown rollback', web, '&rollback=last', 400, 'invalid rollback'],
  ];
  for (const [what, body, query, status, message] of refusedUpdates) {
    it(`refuses an update to ${what}`, async () => {
      const answer = await update(await create(), body, query);
      expect(answer.status).to.equal(status);
      expect(answer.body).to.have.property('message').that.contains(message);
    });
  }

  it('refuses an update on an older version', async () => {
    const id = await create();
    const old = version(id);
    await update(id, withContainer({ Image: 'demo:2' }));
    const answer = await api.call('POST', `/services/${id}/update?version=${old}`, web);
    expect(answer).to.deep.equal({
      status: 500,
      body: { message: 'rpc error: code = Unknown desc = update out of sequence' },
    });
    expect((await api.call('POST', `/services/${id}/update`, web)).status).to.equal(400);
  });

  it('removes the service at once and tells its tasks to go', async () => {
    const id = await create();
    await api.store.propose([
      {
        op: 'put',
        table: 'tasks',
        object: {
          id: 't1' as never,
          serviceId: id as never,
          revisionId: stored(id).revisionId,
          slot: 1,
          networks: [],
          desiredState: 'running',
          cause: 'create',
          status: { state: 'new', atMs: 0, message: 'created' },
        },
      },
    ]);
    expect((await api.call('DELETE', '/services/web')).status).to.equal(200);
    expect(api.store.view().services.size).to.equal(0);
    expect(api.store.view().tasks.get('t1')?.desiredState).to.equal('remove');
    expect((await api.call('DELETE', '/services/web')).status).to.equal(404);
    await create();
  });

  it('puts networks in by id, wherever and however they were named', async () => {
    const network = await api.call('POST', '/networks/create', { Name: 'front', Driver: 'overlay' });
    const { Id } = network.body as { Id: string };
    const a = await create({ ...web, Networks: [{ Target: 'front', Aliases: ['w'] }] });
    expect(stored(a).spec.TaskTemplate.Networks).to.deep.equal([{ Target: Id, Aliases: ['w'] }]);
    expect(stored(a).spec.Networks).to.equal(undefined);
    const inUse = await api.call('DELETE', '/networks/front');
    expect(inUse.status).to.equal(400);
    expect(inUse.body).to.have.property('message').that.contains(`is in use by service ${a}`);
  });

  const refused: [string, unknown, number, string][] = [
    ['no JSON', '{"Name":', 400, 'invalid JSON'],
    ['no body', undefined, 400, 'the request body is empty'],
    ['a list', '[]', 400, 'the request body must be a JSON object'],
    ['a number for a name', { ...web, Name: 7 }, 400, 'invalid Name: must be a string'],
    ['a long name', { ...web, Name: 'x'.repeat(64) }, 400, 'name must be 63 characters or fewer'],
    ['a name with a dot', { ...web, Name: 'a.b' }, 400, 'name must be valid as a DNS name component'],
    ['no template', { Name: 'web' }, 400, 'invalid TaskTemplate'],
    ['no container', withTask({ ContainerSpec: undefined }), 400, 'missing container spec'],
    ['no image', withContainer({ Image: '' }), 400, 'image reference must be provided'],
    ['a broken image', withContainer({ Image: 'Demo:1' }), 400, 'must be lowercase'],
    ['env as a map', withContainer({ Env: { A: 'b' } }), 400, 'invalid TaskTemplate.ContainerSpec.Env'],
    ['env without a name', withContainer({ Env: ['=x'] }), 400, 'Env[0]: must be NAME=value'],
    [
      'little memory',
      withTask({ Resources: { Limits: { MemoryBytes: 1048576 } } }),
      400,
      'invalid memory value 1048576: Must be at least 4MiB',
    ],
    [
      'little cpu',
      withTask({ Resources: { Limits: { NanoCPUs: 1000 } } }),
      400,
      'invalid cpu value 0.000001: Must be at least 0.001',
    ],
    [
      'half a byte',
      withTask({ Resources: { Limits: { MemoryBytes: 4194304.5 } } }),
      400,
      'invalid TaskTemplate.Resources.Limits.MemoryBytes: must be an integer',
    ],
    [
      'generic resources',
      withTask({ Resources: { Reservations: { GenericResources: [{}] } } }),
      501,
      'generic resources',
    ],
    [
      'a constraint typo',
      withTask({ Placement: { Constraints: ['node.rol==worker'] } }),
      400,
      "Constraints[0]: key 'node.rol' is invalid",
    ],
    [
      'a constraint without operator',
      withTask({ Placement: { Constraints: ['node.role=worker'] } }),
      400,
      'expected one operator',
    ],
    [
      'a bad preference',
      withTask({ Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'zone' } }] } }),
      400,
      'SpreadDescriptor',
    ],
    [
      'a bad restart condition',
      withTask({ RestartPolicy: { Condition: 'often' } }),
      400,
      'invalid TaskTemplate.RestartPolicy.Condition: must be one of',
    ],
    [
      'a negative delay',
      withTask({ RestartPolicy: { Delay: -1 } }),
      400,
      'invalid TaskTemplate.RestartPolicy.Delay',
    ],
    ['a log driver', withTask({ LogDriver: { Name: 'syslog' } }), 501, 'the log driver syslog'],
    ['two modes', { ...web, Mode: { Replicated: {}, Global: {} } }, 400, 'only one service mode'],
    ['a job', { ...web, Mode: { ReplicatedJob: { MaxConcurrent: 1 } } }, 501, 'replicated-job'],
    [
      'many replicas',
      { ...web, Mode: { Replicated: { Replicas: 1e9 } } },
      400,
      'invalid Mode.Replicated.Replicas: must not be greater than 50000',
    ],
    [
      'negative replicas',
      { ...web, Mode: { Replicated: { Replicas: -1 } } },
      400,
      'invalid Mode.Replicated.Replicas',
    ],
    [
      'max replicas of a global one',
      { ...withTask({ Placement: { MaxReplicas: 1 } }), Mode: { Global: {} } },
      400,
      'only be used with replicated mode',
    ],
    [
      'a rollback that rolls back',
      { ...web, RollbackConfig: { FailureAction: 'rollback' } },
      400,
      'invalid RollbackConfig.FailureAction',
    ],
    [
      'a failure ratio over one',
      { ...web, UpdateConfig: { MaxFailureRatio: 1.5 } },
      400,
      'invalid UpdateConfig.MaxFailureRatio',
    ],
    ['an unknown order', { ...web, UpdateConfig: { Order: 'any' } }, 400, 'invalid UpdateConfig.Order'],
    [
      'a secret without a name',
      withContainer({ Secrets: [{ SecretID: 'x' }] }),
      400,
      'malformed secret reference',
    ],
    [
      'a config without a place',
      withContainer({ Configs: [{ ConfigID: 'x', ConfigName: 'c' }] }),
      400,
      'malformed file config reference, no target file name provided',
    ],
    [
      'a secret whose place leads out',
      withContainer({ Secrets: [{ SecretID: 'x', SecretName: 's', File: { Name: '../../etc/passwd' } }] }),
      400,
      'malformed file secret reference, target "../../etc/passwd"',
    ],
    [
      'a secret of nobody',
      withContainer({ Secrets: [{ SecretID: 'x', SecretName: 's', File: { Name: 's', UID: 'root' } }] }),
      400,
      'owner "root" is no number',
    ],
    [
      'two secrets at one place',
      withContainer({
        Secrets: ['a', 'b'].map((name) => ({ SecretID: name, SecretName: name, File: { Name: 's' } })),
      }),
      400,
      "secret references 'a' and 'b' have a conflicting target: 's'",
    ],
    [
      'secrets that are not there',
      withContainer({
        Secrets: ['a', 'b'].map((name) => ({ SecretID: name, SecretName: name, File: { Name: name } })),
      }),
      400,
      'secrets not found: a, b',
    ],
    [
      'a relative mount',
      withContainer({ Mounts: [{ Type: 'tmpfs', Target: 'tmp' }] }),
      400,
      'Mounts[0].Target: mount path must be absolute',
    ],
    [
      'a mount over the root',
      withContainer({ Mounts: [{ Type: 'tmpfs', Target: '/../' }] }),
      400,
      'must not be the root',
    ],
    [
      'two mounts at one place',
      withContainer({
        Mounts: [
          { Type: 'tmpfs', Target: '/a' },
          { Type: 'volume', Target: '/a/' },
        ],
      }),
      400,
      'Mounts[1].Target',
    ],
    [
      'a bind without source',
      withContainer({ Mounts: [{ Type: 'bind', Target: '/a' }] }),
      400,
      'Mounts[0].Source',
    ],
    [
      'an unknown mount',
      withContainer({ Mounts: [{ Type: 'nfs', Target: '/a' }] }),
      400,
      'Mounts[0].Type: must be one of',
    ],
    [
      'options of another mount',
      withContainer({
        Mounts: [{ Type: 'bind', Source: '/a', Target: '/a', TmpfsOptions: { SizeBytes: 1 } }],
      }),
      400,
      'Mounts[0].TmpfsOptions',
    ],
    [
      'a short health interval',
      withContainer({ Healthcheck: { Interval: 10 } }),
      400,
      'Healthcheck.Interval: cannot be less than 1ms',
    ],
    [
      'an unknown health test',
      withContainer({ Healthcheck: { Test: ['curl'] } }),
      400,
      'Healthcheck.Test[0]',
    ],
    [
      'a port over the top',
      withPorts({ TargetPort: 70000 }),
      400,
      'invalid EndpointSpec.Ports[0].TargetPort',
    ],
    ['a port without target', withPorts({ PublishedPort: 80 }), 400, 'Ports[0].TargetPort'],
    [
      'the same port twice',
      withPorts({ TargetPort: 80, PublishedPort: 80 }, { TargetPort: 81, PublishedPort: 80 }),
      400,
      'duplicate published ports',
    ],
    [
      'dnsrr on the ingress',
      { ...web, EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] } },
      400,
      "can't be used with dnsrr",
    ],
    [
      'a network that is not there',
      withTask({ Networks: [{ Target: 'nowhere' }] }),
      404,
      'network nowhere not found',
    ],
    [
      'the ingress network',
      withTask({ Networks: [{ Target: 'ingress' }] }),
      403,
      'cannot be explicitly attached to the ingress',
    ],
    ['a plugin', withTask({ PluginSpec: { Name: 'x' } }), 501, 'PluginSpec'],
    ['endless labels', { ...web, Labels: { a: 'x'.repeat(2_000_000) } }, 400, 'larger than 1048576 bytes'],
  ];
  for (const [what, body, status, message] of refused) {
    it(`refuses ${what}`, async () => {
      const answer = await api.call('POST', '/services/create', body);
      expect(answer.body).to.have.property('message').that.contains(message);
      expect(answer.status).to.equal(status);
      expect(api.store.view().services.size).to.equal(0);
    });
  }

  it('refuses a port that another service has', async () => {
    await create(withPorts({ TargetPort: 80, PublishedPort: 8080 }));
    const answer = await api.call('POST', '/services/create', {
      ...withPorts({ TargetPort: 81, PublishedPort: 8080 }),
      Name: 'two',
    });
    expect(answer.status).to.equal(400);
    expect(answer.body)
      .to.have.property('message')
      .that.contains("port '8080' is already in use by service 'web'");
  });
});
