import type { Change, ServiceId, TaskState } from '#libs/model';
import type { PlainObjects } from '#libs/store';
import { expect } from 'chai';
import { EventPublisher } from './events/event-publisher.js';
import { managerId, openTestApi, smallCluster, testTimeMs, workerId, type TestApi } from './test-api.js';

const serviceId = 'svc'.padEnd(25, '0') as ServiceId;
const ingressId = 'ingress'.padEnd(25, '0');
const containerId = 'c'.repeat(64);

const template = { ContainerSpec: { Image: 'demo:1' } };

function service(): Change[] {
  return [
    {
      op: 'put',
      table: 'services',
      object: {
        id: serviceId,
        spec: { Name: 'web', TaskTemplate: template, Labels: { stack: 'st' } },
        revisionId: 'r2' as never,
      },
    },
    ...['r1', 'r2'].map(
      (id): Change => ({
        op: 'put',
        table: 'revisions',
        object: {
          id: id as never,
          serviceId,
          serviceName: 'web',
          serviceLabels: { stack: 'st' },
          taskTemplate: id === 'r2' ? template : { ContainerSpec: { Image: 'demo:0' } },
        },
      }),
    ),
  ];
}

function task(id: string, slot: number, revisionId: string, state: TaskState): Change {
  return {
    op: 'put',
    table: 'tasks',
    object: {
      id: id as never,
      serviceId,
      revisionId: revisionId as never,
      slot,
      nodeId: slot === 1 ? managerId : workerId,
      networks: [{ networkId: ingressId as never, address: '10.0.3.4' }],
      desiredState: state === 'running' ? 'running' : 'shutdown',
      cause: 'create',
      status: {
        state,
        atMs: testTimeMs,
        message: 'started',
        container: { id: `${id}${containerId}`.slice(0, 64) as never, pid: 42 },
      },
    },
  };
}

describe('cluster objects of the API', () => {
  let api: TestApi;
  let cluster: PlainObjects;

  before(async () => {
    cluster = await smallCluster();
    api = await openTestApi(cluster);
  });
  beforeEach(async () => {
    api.store.reset(cluster);
    await api.store.propose([
      {
        op: 'patch',
        table: 'networks',
        id: ingressId as never,
        fields: { subnet: '10.0.0.0/16', vni: 4096 },
      },
      ...service(),
      task('ta', 1, 'r2', 'running'),
      task('tb', 2, 'r1', 'failed'),
    ]);
  });
  after(() => api.close());

  it('shows a task as Docker does', async () => {
    const { body } = await api.call('GET', '/tasks/ta');
    expect(body).to.deep.include({
      ID: 'ta',
      Labels: {},
      Spec: template,
      ServiceID: serviceId,
      Slot: 1,
      NodeID: managerId,
      DesiredState: 'running',
      Status: {
        Timestamp: '2026-03-01T12:00:00.25Z',
        State: 'running',
        Message: 'started',
        ContainerStatus: { ContainerID: `ta${containerId}`.slice(0, 64), PID: 42, ExitCode: 0 },
        PortStatus: {},
      },
    });
    expect(body).to.have.nested.property('NetworksAttachments[0].Addresses[0]', '10.0.3.4/16');
    expect(body).to.have.nested.property('NetworksAttachments[0].Network.Spec.Name', 'ingress');
  });

  const taskFilters: [unknown, string[]][] = [
    [{}, ['ta', 'tb']],
    [{ '_up-to-date': { true: true }, service: { [serviceId]: true } }, ['ta']],
    [{ service: ['web'] }, ['ta', 'tb']],
    [{ service: ['other'] }, []],
    [{ node: ['self'] }, ['ta']],
    [{ node: ['node-2'] }, ['tb']],
    [{ node: [workerId] }, ['tb']],
    [{ 'desired-state': ['running'] }, ['ta']],
    [{ 'desired-state': ['shutdown'] }, ['tb']],
    [{ name: ['web.2'] }, ['tb']],
    [{ id: ['ta'] }, ['ta']],
    [{ label: ['stack=st'] }, ['ta', 'tb']],
    [{ label: ['stack=other'] }, []],
  ];
  for (const [filters, expected] of taskFilters) {
    it(`lists tasks by ${JSON.stringify(filters)}`, async () => {
      const { body } = await api.call('GET', `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
      expect((body as { ID: string }[]).map(({ ID }) => ID)).to.deep.equal(expected);
    });
  }

  it('takes a task for up to date while nothing that it runs has changed', async () => {
    const service = (): unknown => api.store.view().services.get(serviceId);
    const spec = {
      Name: 'web',
      TaskTemplate: { ...template, Resources: {} },
      Mode: { Replicated: { Replicas: 3 } },
    };
    const { version } = service() as { version: number };
    expect((await api.call('POST', `/services/web/update?version=${version}`, spec)).status).to.equal(200);
    expect(service()).not.to.have.property('revisionId', 'r2');
    const { body } = await api.call('GET', `/tasks?filters={"_up-to-date":["true"],"service":["web"]}`);
    expect((body as { ID: string }[]).map(({ ID }) => ID)).to.deep.equal(['ta']);
  });

  it('refuses an unknown desired state', async () => {
    expect((await api.call('GET', '/tasks?filters={"desired-state":["runing"]}')).status).to.equal(400);
  });

  it('shows nodes, their role in the cluster and its root certificate', async () => {
    const { body } = await api.call('GET', '/nodes/self');
    expect(body).to.deep.include({
      ID: managerId,
      Spec: { Role: 'manager', Availability: 'active', Labels: {} },
      Status: { State: 'ready', Addr: '10.9.0.1' },
      ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.9.0.1:2377' },
    });
    expect(body).to.have.nested.property('Description.TLSInfo.TrustRoot').that.contains('BEGIN CERTIFICATE');
    const workers = await api.call('GET', '/nodes?filters={"role":["worker"]}');
    expect((workers.body as { ID: string }[]).map(({ ID }) => ID)).to.deep.equal([workerId]);
    expect((await api.call('GET', '/nodes/node-9')).status).to.equal(404);
  });

  it('drains a node, and refuses what a node cannot be', async () => {
    const node = () => api.store.view().nodes.get(workerId);
    const update = (body: unknown) =>
      api.call('POST', `/nodes/node-2/update?version=${node()?.version}`, body);
    expect((await update({ Role: 'worker', Availability: 'drain', Labels: { zone: 'a' } })).status).to.equal(
      200,
    );
    expect(node()?.spec).to.deep.equal({ Role: 'worker', Availability: 'drain', Labels: { zone: 'a' } });
    expect((await update({ Role: 'worker', Availability: 'gone' })).body)
      .to.have.property('message')
      .that.contains('invalid Availability');
    expect(
      (await api.call('POST', '/nodes/node-2/update?version=1', { Role: 'worker', Availability: 'active' }))
        .status,
    ).to.equal(500);
  });

  it('changes roles, but never takes the last manager or the quorum away', async () => {
    const change = (name: string, Role: string) => {
      const [node] = [...api.store.view().nodes.all()].filter(
        ({ description }) => description.hostname === name,
      );
      const body = { Role, Availability: 'active' };
      return api.call('POST', `/nodes/${name}/update?version=${node?.version}`, body);
    };
    const words = async (name: string) => (await change(name, 'worker')).body as { message: string };
    expect((await words('node-1')).message).to.contain('attempting to demote the last manager of the swarm');
    expect((await change('node-2', 'manager')).status).to.equal(200);
    expect(api.store.view().nodes.get(workerId)?.spec.Role).to.equal('manager');
    await api.store.propose([
      {
        op: 'patch',
        table: 'nodes',
        id: workerId,
        fields: { manager: { raftId: 'r2', address: '10.9.0.2:2377', reachability: 'unreachable' } },
      },
    ]);
    expect((await words('node-1')).message).to.contain('would result in a loss of quorum');
    const seen = (await api.call('GET', '/nodes/node-2')).body;
    expect(seen).to.have.deep.property('ManagerStatus', {
      Reachability: 'unreachable',
      Addr: '10.9.0.2:2377',
    });
    expect((await change('node-2', 'worker')).status).to.equal(200);
  });

  it('removes only nodes that are down, unless forced', async () => {
    expect((await api.call('DELETE', '/nodes/node-2')).body)
      .to.have.property('message')
      .that.contains('is not down');
    expect((await api.call('DELETE', '/nodes/node-1?force=1')).body)
      .to.have.property('message')
      .that.contains('is a cluster manager');
    expect((await api.call('DELETE', '/nodes/node-2?force=1')).status).to.equal(200);
    expect(api.store.view().nodes.size).to.equal(1);
  });

  it('shows the cluster and rotates a token', async () => {
    const { body } = await api.call('GET', '/swarm');
    expect(body).to.deep.include({
      JoinTokens: { Worker: 'SWMTKN-1-w', Manager: 'SWMTKN-1-m' },
      SubnetSize: 16,
    });
    const version = api.store.view().cluster?.version;
    const answer = await api.call('POST', `/swarm/update?version=${version}&rotateWorkerToken=true`, {
      Name: 'default',
      Orchestration: { TaskHistoryRetentionLimit: 2 },
    });
    expect(answer.status).to.equal(200);
    expect(api.store.view().cluster?.joinTokens.worker).to.match(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    expect(api.store.view().cluster?.joinTokens.manager).to.equal('SWMTKN-1-m');
    expect(api.store.view().cluster?.spec.Orchestration?.TaskHistoryRetentionLimit).to.equal(2);
  });

  it('keeps networks, and refuses those it cannot make', async () => {
    const make = (body: unknown) => api.call('POST', '/networks/create', body);
    const made = await make({
      Name: 'ov',
      Driver: 'overlay',
      Attachable: true,
      IPAM: { Config: [{ Subnet: '10.77.0.0/24' }] },
    });
    expect(made.status).to.equal(201);
    expect((await api.call('GET', '/networks/ov')).body).to.deep.include({
      Name: 'ov',
      Scope: 'swarm',
      Driver: 'overlay',
      Attachable: true,
      IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.77.0.0/24' }] },
    });
    const refused: [unknown, number, string][] = [
      [{ Name: 'ov', Driver: 'overlay' }, 409, 'already exists'],
      [{ Name: 'br', Driver: 'bridge' }, 501, 'driver bridge'],
      [{ Name: 'a b', Driver: 'overlay' }, 400, 'invalid Name'],
      [{ Name: 'v6', Driver: 'overlay', EnableIPv6: true }, 501, 'EnableIPv6'],
      [{ Name: 'enc', Driver: 'overlay', Options: { encrypted: '' } }, 501, 'encrypted'],
      [
        { Name: 'sub', Driver: 'overlay', IPAM: { Config: [{ Subnet: 'ten' }] } },
        400,
        'IPAM.Config[0].Subnet',
      ],
      [{ Name: 'over', Driver: 'overlay', IPAM: { Config: [{ Subnet: '10.0.9.0/24' }] } }, 400, 'overlaps'],
    ];
    for (const [body, status, message] of refused) {
      const answer = await make(body);
      expect(answer.body).to.have.property('message').that.contains(message);
      expect(answer.status).to.equal(status);
    }
    expect((await api.call('DELETE', '/networks/ov')).status).to.equal(204);
    expect((await api.call('DELETE', '/networks/ingress')).status).to.equal(501);
  });

  for (const [noun, path] of [
    ['secret', '/secrets'],
    ['config', '/configs'],
  ] as const) {
    it(`keeps a ${noun}, shows it, changes its labels and nothing else`, async () => {
      const data = Buffer.from('hush').toString('base64');
      const made = await api.call('POST', `${path}/create`, { Name: 'pass', Labels: { a: '1' }, Data: data });
      expect(made.status).to.equal(201);
      const { ID: id } = made.body as { ID: string };
      const shown = (await api.call('GET', `${path}/pass`)).body as {
        Spec: object;
        Version: { Index: number };
      };
      expect(shown.Spec).to.deep.equal({
        Name: 'pass',
        Labels: { a: '1' },
        ...(noun === 'config' ? { Data: data } : {}),
      });
      const found = async (filters: object): Promise<number> =>
        ((await api.call('GET', `${path}?filters=${encodeURIComponent(JSON.stringify(filters))}`)).body as [])
          .length;
      expect(await found({ name: ['pa'], label: ['a=1'] })).to.equal(1);
      expect(await found({ names: ['pa'] })).to.equal(0);
      const update = (version: number, spec: object) =>
        api.call('POST', `${path}/${id.slice(0, 24)}/update?version=${version}`, spec);
      const { Index: version } = shown.Version;
      expect((await update(version, { Name: 'pass', Labels: { b: '2' } })).status).to.equal(200);
      expect((await update(version, { Name: 'pass' })).body).to.have.property(
        'message',
        'rpc error: code = Unknown desc = update out of sequence',
      );
      const refused = await update(version + 1, { Name: 'pass', Data: 'eA==' });
      expect([refused.status, refused.body]).to.deep.equal([
        400,
        { message: 'rpc error: code = InvalidArgument desc = only updates to Labels are allowed' },
      ]);
      const twin = await api.call('POST', `${path}/create`, { Name: 'pass', Data: data });
      expect([twin.status, twin.body]).to.deep.equal([
        409,
        { message: `rpc error: code = AlreadyExists desc = ${noun} pass already exists` },
      ]);
      expect((await api.call('DELETE', `${path}/pass`)).status).to.equal(204);
      expect((await api.call('DELETE', `${path}/pass`)).body).to.deep.equal({
        message: `${noun} pass not found`,
      });
    });

    it(`refuses a ${noun} that is none`, async () => {
      const bytesMax = noun === 'secret' ? 500 * 1024 : 1000 * 1024;
      const size = `${noun} data must be larger than 0 and less than ${bytesMax} bytes`;
      const bad: [body: object, status: number, message: string][] = [
        [{ Name: '', Data: 'eA==' }, 400, 'name must be provided'],
        [{ Name: '-x', Data: 'eA==' }, 400, 'invalid name'],
        [{ Name: 'x'.repeat(65), Data: 'eA==' }, 400, 'invalid name'],
        [{ Name: 'x' }, 400, size],
        [{ Name: 'x', Data: Buffer.alloc(bytesMax + 1).toString('base64') }, 400, size],
        [{ Name: 'x', Data: '###' }, 400, 'must be base64'],
        [{ Name: 'x', Data: 'eA==', Templating: { Name: 'erb' } }, 400, 'invalid templating driver: erb'],
        [{ Name: 'x', Driver: { Name: 'vault' } }, 501, 'Driver'],
      ];
      for (const [body, status, message] of bad) {
        const answer = await api.call('POST', `${path}/create`, body);
        expect(answer.body).to.have.property('message').that.contains(message);
        expect(answer.status, message).to.equal(status);
      }
    });
  }

  it('answers paths it does not know as Docker does', async () => {
    expect(await api.call('GET', '/nothing')).to.deep.equal({
      status: 404,
      body: { message: 'page not found' },
    });
  });

  it('streams what happened to the cluster', async () => {
    const publisher = new EventPublisher(api.store, api.telemetry);
    publisher.start();
    await api.call('POST', '/networks/create', { Name: 'ov', Driver: 'overlay' });
    publisher.stop();
    const seconds = Math.ceil(testTimeMs / 1000);
    const filters = encodeURIComponent('{"type":{"network":true}}');
    const { body } = await api.call('GET', `/events?since=1&until=${seconds}&filters=${filters}`);
    expect(body).to.deep.include({ Type: 'network', Action: 'create', scope: 'swarm' });
    expect(body).to.have.nested.property('Actor.Attributes.name', 'ov');
    expect((await api.call('GET', '/events?since=then')).status).to.equal(400);
  });

  it('tells the agent of the cluster', async () => {
    const { body } = await api.call('GET', '/_enxame/info');
    expect(body).to.deep.include({ nodes: 2, managers: 1 });
    expect(body).not.to.have.nested.property('cluster.JoinTokens');
  });
});
