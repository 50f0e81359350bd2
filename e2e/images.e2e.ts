/** Images with the stock CLI: save, load, push, import, commit, rmi; and what other tools make of ours and we of theirs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { busyboxArchive, busyboxImage } from './harness/busybox-image.js';
import { run, TestCluster } from './harness/cluster.js';
import { TestRegistry } from './harness/registry.js';

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
