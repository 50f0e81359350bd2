import { expect } from 'chai';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerConfig, ContainerMount } from '../port.js';
import { RuntimeFixture } from '../runtime-fixture.js';
import { createVolumeStore } from './volume-store.js';

describe('volumes with a file system of their own', () => {
  let fixture: RuntimeFixture;
  let source: string;

  before(async () => {
    fixture = await RuntimeFixture.make();
    source = join(fixture.folder, 'state/volumes/shared/_data');
    await mkdir(source, { recursive: true });
  });
  afterEach(() => fixture.removeAll());
  after(() => fixture.end());

  function using(argv: string[], options: string[] = []): ContainerConfig {
    const filesystem = { type: 'tmpfs', device: 'tmpfs', flags: [], options: ['size=1m', ...options] };
    const mount: ContainerMount = {
      type: 'volume',
      name: 'shared',
      source,
      target: '/v',
      readOnly: false,
      copyUp: true,
      filesystem,
    };
    return fixture.config({ argv, mounts: [mount] });
  }

  const sleeper = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];
  const show = ['cat', '/v/file'];

  async function isMounted(): Promise<boolean> {
    return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${source} `);
  }

  it('are the same for all containers, until the last one has ended', async () => {
    const first = await fixture.start(using(sleeper));
    await fixture.exec(first, ['sh', '-c', 'echo hello > /v/file']);
    expect(await fixture.result(using(show))).to.deep.equal({ exitCode: 0, output: 'hello\n' });
    expect(await isMounted()).to.equal(true);
    await fixture.runtime.stop(first);
    expect(await isMounted()).to.equal(false);
    expect((await fixture.result(using(show))).exitCode).to.equal(1);
    expect(await readdir(source)).to.deep.equal([]);
  });

  it('stay mounted for a container that another agent finds running, and no longer', async () => {
    const first = await fixture.start(using(sleeper));
    await fixture.exec(first, ['sh', '-c', 'echo still here > /v/file']);
    await fixture.restart();
    expect((await fixture.result(using(show))).output).to.equal('still here\n');
    await fixture.runtime.stop(first);
    expect(await isMounted()).to.equal(false);
  });

  it('are mounted for whoever looks at the files of a container that does not run', async () => {
    const config = using(show);
    await fixture.runtime.create(config);
    const names = await fixture.runtime.withRoot(config.id, 'whole', async (root) => {
      expect(await isMounted()).to.equal(true);
      return readdir(join(root, 'v'));
    });
    expect(names).to.deep.equal([]);
    expect(await isMounted()).to.equal(false);
  });

  it('that cannot be mounted keep the container from starting, in the words of the kernel', async () => {
    const config = using(show, ['nonsense=1']);
    const failure = await fixture.start(config).then(
      () => undefined,
      (error: Error) => error.message,
    );
    expect(failure).to.include(
      `error while mounting volume '${source}': failed to mount local volume: mount tmpfs:${source}, data: size=1m,nonsense=1: `,
    );
    expect(await isMounted()).to.equal(false);
  });

  it('cannot be removed while they are mounted: what is in them is not ours', async () => {
    const first = await fixture.start(using(sleeper));
    const store = createVolumeStore({
      stateDir: join(fixture.folder, 'state'),
      nowMs: () => 0,
      usedBy: () => [],
    });
    await store.start();
    const refusal = await store.remove('shared').then(
      () => undefined,
      (error: Error) => error.message,
    );
    expect(refusal).to.include('a file system is mounted');
    await fixture.runtime.stop(first);
  });
});
