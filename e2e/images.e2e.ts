/** Images with the stock CLI: save, load, push, import, commit, rmi; and what other tools make of ours and we of theirs. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { busyboxArchive, busyboxImage } from './harness/busybox-image.js';
import { clientsFolder, missing } from './harness/clients.js';
import { eventually, run, TestCluster } from './harness/cluster.js';
import { TestRegistry } from './harness/registry.js';

const tools = join(clientsFolder, 'images/bin');

describe('images', function () {
  this.timeout(120_000);
  const cluster = new TestCluster('e2e-images', 0);
  const registry = new TestRegistry('127.0.0.1', 15_066);
  const folder = mkdtempSync(join(tmpdir(), 'enxame-images-'));
  const pushed = `${registry.name}/team/busybox:1`;
  /** What the registry knows it by. */
  let digest = '';

  before(async () => {
    await Promise.all([cluster.up(), registry.start()]);
    const archive = join(folder, 'busybox.tar');
    writeFileSync(archive, await busyboxArchive());
    await cluster.docker(['load', '-q', '-i', archive]);
  });
  after(async () => {
    registry.stop();
    rmSync(folder, { recursive: true, force: true });
    await cluster.end();
  });

  const inspect = (image: string, format: string): Promise<string> =>
    cluster.docker(['image', 'inspect', '--format', format, image]);
  async function skopeo(...args: string[]): Promise<string> {
    const result = await run('skopeo', ['--insecure-policy', ...args]);
    if (result.code !== 0) throw new Error(`skopeo ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }
  const echoed = (image: string): Promise<string> =>
    cluster.docker(['run', '--rm', '--network', 'none', image, '/bin/echo', 'runs']);
  async function tarOf(name: string, content: Buffer): Promise<Buffer> {
    const file = join(folder, name);
    writeFileSync(file, content);
    await run('tar', ['-C', folder, '-cf', `${file}.tar`, name]);
    return readFileSync(`${file}.tar`);
  }
  async function manifestOf(reference: string): Promise<{ layers: { mediaType: string; digest: string }[] }> {
    return JSON.parse(await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${reference}`));
  }

  it('pushes an image, which is then known by the digest that the registry has', async () => {
    await cluster.docker(['tag', busyboxImage, pushed]);
    const output = await cluster.docker(['push', pushed]);
    expect(output).to.include(`The push refers to repository [${registry.name}/team/busybox]`);
    digest = /1: digest: (sha256:[0-9a-f]{64}) size: \d+/.exec(output)?.[1] ?? '';
    expect(await inspect(pushed, '{{json .RepoDigests}}')).to.include(
      `${registry.name}/team/busybox@${digest}`,
    );
    expect(await cluster.docker(['push', pushed])).to.include('Layer already exists');
    const { layers } = await manifestOf(pushed);
    expect(layers.map(({ mediaType }) => mediaType)).to.deep.equal([
      'application/vnd.oci.image.layer.v1.tar+gzip',
    ]);
    await cluster.docker(['tag', pushed, `${registry.name}/other/name:2`]);
    expect(await cluster.docker(['push', `${registry.name}/other/name:2`])).to.match(
      /Mounted from team\/busybox|Layer already exists/,
    );
    const found = await cluster.docker(['search', '--format', '{{.Name}}', `${registry.name}/busy`]);
    expect(found).to.equal(`${registry.name}/team/busybox`);
  });

  it('saves and loads with every digest kept', async () => {
    const id = await inspect(pushed, '{{.Id}}');
    const archive = join(folder, 'saved.tar');
    await cluster.docker(['save', '-o', archive, pushed, busyboxImage]);
    await cluster.docker(['rmi', pushed, `${registry.name}/other/name:2`]);
    await cluster.docker(['rmi', busyboxImage]);
    expect((await cluster.tryDocker(['image', 'inspect', id])).code).to.equal(1);
    const loaded = await cluster.docker(['load', '-i', archive]);
    expect(loaded).to.include(`Loaded image: ${busyboxImage}`).and.to.include(`Loaded image: ${pushed}`);
    expect(await inspect(pushed, '{{.Id}}')).to.equal(id);
    expect(await inspect(pushed, '{{json .RepoDigests}}')).to.include(
      `${registry.name}/team/busybox@${digest}`,
    );
    await cluster.docker(['save', '-o', `${archive}.2`, pushed, busyboxImage]);
    expect(readFileSync(`${archive}.2`).equals(readFileSync(archive))).to.equal(true);
  });

  it('exchanges archives with skopeo both ways', async () => {
    const archive = join(folder, 'ours.tar');
    await cluster.docker(['save', '-o', archive, busyboxImage]);
    const described = JSON.parse(await skopeo('inspect', '--config', `docker-archive:${archive}`));
    expect(described.config.Cmd).to.deep.equal(['sh']);
    await skopeo('copy', `docker-archive:${archive}`, `oci-archive:${join(folder, 'oci.tar')}:by/skopeo:1`);
    await skopeo(
      'copy',
      `docker-archive:${archive}`,
      `docker-archive:${join(folder, 'theirs.tar')}:by/skopeo:2`,
    );
    await cluster.docker(['load', '-i', join(folder, 'oci.tar')]);
    await cluster.docker(['load', '-i', join(folder, 'theirs.tar')]);
    const id = await inspect(busyboxImage, '{{.Id}}');
    expect(await inspect('by/skopeo:2', '{{.Id}}')).to.equal(id);
    expect(
      await cluster.docker(['run', '--rm', '--network', 'none', 'by/skopeo:2', '/bin/echo', 'runs']),
    ).to.equal('runs');
    await skopeo(
      'copy',
      '--dest-tls-verify=false',
      `docker-archive:${archive}`,
      `docker://${registry.name}/by/skopeo:3`,
    );
    await cluster.docker(['pull', `${registry.name}/by/skopeo:3`]);
    expect(await inspect(`${registry.name}/by/skopeo:3`, '{{.Id}}')).to.equal(id);
  });

  it('is a daemon to skopeo, to take images from and to give images to', async () => {
    const daemon = ['--src-daemon-host', `unix://${cluster.socket}`];
    const folderOfLayout = join(folder, 'of-daemon');
    await skopeo('copy', ...daemon, `docker-daemon:${busyboxImage}`, `oci:${folderOfLayout}:1`);
    const host = ['--dest-daemon-host', `unix://${cluster.socket}`];
    await skopeo('copy', ...host, `oci:${folderOfLayout}:1`, 'docker-daemon:by/daemon:1');
    expect(await echoed('by/daemon:1')).to.equal('runs');
  });

  it('exchanges images with buildah, by archive, by registry and as its daemon', async function () {
    const why = missing('buildah');
    if (why !== undefined) {
      console.log(`      skipped: buildah: ${why}`);
      this.skip();
    }
    const socket = join(folder, 'docker.sock');
    writeFileSync(socket, '');
    const script = `mount --bind ${cluster.socket} ${socket} && mount -t tmpfs run /run && ln -s ${socket} /run/docker.sock && exec "$@"`;
    const roots = ['--root', join(folder, 'buildah'), '--runroot', join(folder, 'buildah-run')];
    const buildah = async (...args: string[]): Promise<string> => {
      const command = [...roots, '--storage-driver', 'vfs', ...args];
      // It looks for a daemon in one place only: there, in a mount namespace of its own, is ours.
      const result = await run(
        'unshare',
        ['--mount', 'sh', '-c', script, 'sh', join(tools, 'buildah'), ...command],
        { timeoutMs: 60_000 },
      );
      if (result.code !== 0) throw new Error(`buildah ${args.join(' ')}: ${result.stderr}`);
      return result.stdout.trim();
    };
    const file = join(folder, 'added');
    writeFileSync(file, 'by buildah');
    // Ours to it: from the daemon, an archive, a registry. What it makes of each comes back by another way.
    const ways: [from: string, to: string, comesBack: () => Promise<unknown>][] = [
      [
        `docker-daemon:${busyboxImage}`,
        `docker-archive:${join(folder, 'buildah.tar')}:by/buildah:archive`,
        () => cluster.docker(['load', '-i', join(folder, 'buildah.tar')]),
      ],
      [
        `docker-archive:${join(folder, 'ours.tar')}`,
        `docker://${registry.name}/by/buildah:registry`,
        async () => {
          await cluster.docker(['pull', `${registry.name}/by/buildah:registry`]);
          await cluster.docker(['tag', `${registry.name}/by/buildah:registry`, 'by/buildah:registry']);
        },
      ],
      [`docker://${pushed}`, 'docker-daemon:by/buildah:daemon', async () => undefined],
      [
        `docker://${pushed}`,
        `oci-archive:${join(folder, 'buildah-oci.tar')}:by/buildah:oci`,
        () => cluster.docker(['load', '-i', join(folder, 'buildah-oci.tar')]),
      ],
    ];
    for (const [from, to, comesBack] of ways) {
      const container = await buildah('from', '--pull-always', '--tls-verify=false', from);
      await buildah('copy', container, file, '/added');
      await buildah('config', '--cmd', '/bin/cat /added', container);
      await buildah('commit', '--rm', '--tls-verify=false', container, to);
      await comesBack();
      const image = `by/buildah:${/:([a-z]+)$/.exec(to)?.[1]}`;
      const seen = await cluster.docker(['run', '--rm', '--network', 'none', image]);
      expect(seen, `${from} as ${to}`).to.equal('by buildah');
    }
  });

  it('exchanges images with umoci both ways', async function () {
    const why = missing('umoci');
    if (why !== undefined) {
      console.log(`      skipped: umoci: ${why}`);
      this.skip();
    }
    const umoci = async (...args: string[]): Promise<void> => {
      const result = await run(join(tools, 'umoci'), args);
      if (result.code !== 0) throw new Error(`umoci ${args.join(' ')}: ${result.stderr}`);
    };
    const layout = join(folder, 'umoci');
    const file = join(folder, 'added');
    writeFileSync(file, 'by umoci');
    const tar = async (...args: string[]): Promise<void> => {
      const result = await run('tar', args);
      if (result.code !== 0) throw new Error(`tar: ${result.stderr}`);
    };
    // What `docker save` writes is a layout as it is.
    mkdirSync(layout);
    await cluster.docker(['save', '-o', join(folder, 'for-umoci.tar'), 'by/skopeo:1']);
    await tar('-C', layout, '-xf', join(folder, 'for-umoci.tar'));
    const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    const tag: string = manifests[0].annotations['org.opencontainers.image.ref.name'];
    await umoci('insert', '--image', `${layout}:${tag}`, '--tag', 'more', file, '/added');
    await umoci('config', '--image', `${layout}:more`, '--config.cmd', '/bin/cat', '--config.cmd', '/added');
    await umoci('rm', '--image', `${layout}:${tag}`);
    await umoci('gc', '--layout', layout);
    for (const name of ['manifest.json', 'repositories']) rmSync(join(layout, name), { force: true });
    await tar('-C', layout, '-cf', join(folder, 'of-umoci.tar'), '.');
    const loaded = await cluster.docker(['load', '-q', '-i', join(folder, 'of-umoci.tar')]);
    const id = /(sha256:[0-9a-f]{64})|Loaded image: (\S+)/.exec(loaded);
    const reads = (image: string): Promise<string> =>
      cluster.docker(['run', '--rm', '--network', 'none', image]);
    expect(await reads(id?.[1] ?? id?.[2] ?? '')).to.equal('by umoci');
    await skopeo(
      'copy',
      '--dest-tls-verify=false',
      `oci:${layout}:more`,
      `docker://${registry.name}/by/umoci:1`,
    );
    await cluster.docker(['pull', `${registry.name}/by/umoci:1`]);
    expect(await reads(`${registry.name}/by/umoci:1`)).to.equal('by umoci');
  });

  it('shows no half image after kill -9 of the agent, in a pull, a load and a build', async () => {
    const noise = randomBytes(24 * 1024 * 1024);
    await registry.push('team/noise', '1', await tarOf('noise', noise), { Cmd: ['none'] });
    const name = `${registry.name}/team/noise:1`;
    const archive = join(folder, 'noise.tar');
    await cluster.docker(['pull', '-q', name]);
    await cluster.docker(['save', '-o', archive, name]);
    await cluster.docker(['rmi', name]);
    const context = join(folder, 'noise-context');
    mkdirSync(context);
    writeFileSync(join(context, 'noise'), noise);
    writeFileSync(join(context, 'Dockerfile'), `FROM ${busyboxImage}\nCOPY noise /\nRUN sleep 60\n`);
    const store = join(cluster.stateDir, 'node-1/images');
    const works: [what: string, args: string[]][] = [
      ['pull', ['pull', name]],
      ['load', ['load', '-i', archive]],
      ['build', ['build', '-t', 'noise:built', context]],
    ];
    const images = (): Promise<string> => cluster.docker(['images', '-a', '--no-trunc', '-q']);
    const before = await images();
    for (const [what, args] of works) {
      const agent = Number(cluster.agentPid(1));
      const env = { ...cluster.dockerEnvironment(), DOCKER_BUILDKIT: '0' };
      const work = run('docker', args, { env, timeoutMs: 60_000 });
      await eventually(`work on the ${what}`, 30_000, async () => readdirSync(join(store, 'tmp')).length > 0);
      process.kill(agent, 'SIGKILL');
      expect((await work).code, what).not.to.equal(0);
      await eventually('a new agent', 30_000, async () => {
        const pid = cluster.agentPid(1);
        return pid !== undefined && Number(pid) !== agent && (await cluster.tryDocker(['ps'])).code === 0;
      });
      expect(readdirSync(join(store, 'tmp')), `left of the ${what}`).to.deep.equal([]);
      // A step of a build that was whole before the kill may stay, as the cache.
      if (what !== 'build') expect(await images(), what).to.equal(before);
      expect((await cluster.tryDocker(['image', 'inspect', name])).code, what).to.equal(1);
    }
    await cluster.docker(['pull', '-q', name]);
    await cluster.docker(['load', '-q', '-i', archive]);
    await cluster.docker(['rmi', name]);
  });

  it('imports a root file system and commits a container', async () => {
    const rootfs = join(folder, 'rootfs.tar');
    const packed = await run('sh', [
      '-c',
      `cd ${folder} && mkdir -p r/bin r/etc && cp /bin/busybox r/bin/sh && tar -C r -czf ${rootfs} .`,
    ]);
    expect(packed.code).to.equal(0);
    const id = await cluster.docker([
      'import',
      '--change',
      'CMD ["/bin/sh", "-c", "echo imported"]',
      '--message',
      'by hand',
      rootfs,
      'imported:1',
    ]);
    expect(id).to.match(/^sha256:[0-9a-f]{64}$/);
    expect(await cluster.docker(['run', '--name', 'to-commit', '--network', 'none', 'imported:1'])).to.equal(
      'imported',
    );
    await cluster.docker(['rm', 'to-commit']);
    await cluster.docker([
      'run',
      '--name',
      'changed',
      '--network',
      'none',
      '--env',
      'A=b',
      'imported:1',
      '/bin/sh',
      '-c',
      'echo kept > /kept; ln /kept /linked; mkdir -p /deep/er; rm -r /etc/gone 2>/dev/null; true',
    ]);
    const committed = await cluster.docker([
      'commit',
      '--change',
      'CMD ["/bin/sh", "-c", "cat /kept /linked"]',
      '-m',
      'why',
      '-a',
      'who',
      'changed',
      'committed:1',
    ]);
    expect(committed).to.match(/^sha256:[0-9a-f]{64}$/);
    expect(await cluster.docker(['run', '--rm', '--network', 'none', 'committed:1'])).to.equal('kept\nkept');
    expect(
      await inspect('committed:1', '{{.Author}} {{.Comment}} {{json .Config.Env}} {{len .RootFS.Layers}}'),
    ).to.match(/^who why \["A=b"(,.*)?\] 2$/);
    const history = await cluster.docker(['history', '--format', '{{.Comment}}|{{.Size}}', 'committed:1']);
    expect(history.split('\n').map((line) => line.split('|')[0])).to.deep.equal(['why', 'by hand']);
    const refused = await cluster.tryDocker(['rmi', 'imported:1']);
    // Its own name goes; the image stays below the one that was made of it.
    expect(refused.code).to.equal(1);
    await cluster.docker(['rm', 'changed']);
    await cluster.docker(['rmi', 'imported:1']);
    expect(await cluster.docker(['run', '--rm', '--network', 'none', 'committed:1'])).to.equal('kept\nkept');
    expect(await cluster.docker(['images', '-q', 'imported'])).to.equal('');
    await cluster.docker(['rmi', 'committed:1']);
    expect((await cluster.tryDocker(['image', 'inspect', id])).code).to.equal(1);
  });

  it('says why an image stays', async () => {
    await cluster.docker(['tag', busyboxImage, 'stays:1']);
    await cluster.docker([
      'run',
      '-d',
      '--name',
      'holder',
      '--network',
      'none',
      'stays:1',
      '/bin/sleep',
      '100',
    ]);
    const id = (await inspect('stays:1', '{{.Id}}')).slice(7, 19);
    const byId = await cluster.tryDocker(['rmi', id]);
    expect(byId.stderr).to.match(
      /conflict: unable to delete [0-9a-f]{12} \(must be forced\) - image is referenced in multiple repositories/,
    );
    const forced = await cluster.tryDocker(['rmi', '-f', id]);
    expect(forced.stderr).to.match(
      /\(cannot be forced\) - image is being used by running container [0-9a-f]{12}/,
    );
    await cluster.docker(['rm', '-f', 'holder']);
    expect(await cluster.docker(['rmi', 'stays:1'])).to.include('Untagged: stays:1');
  });
});
