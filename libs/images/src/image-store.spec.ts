import type { Digest, ImageId } from '#libs/model';
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { digestOf } from './content/content-store.js';
import { buildImage, dockerArchive, ociLayout, type BuiltImage } from './fixtures/image-builder.js';
import { tar } from './fixtures/tar-builder.js';
import { testFolder } from './fixtures/test-folder.js';
import { createImageStore } from './image-store.js';
import type { Image, ImageEvent, ImageStore, Progress } from './port.js';

const unused = { force: false, inUse: () => undefined };
const stopped = { container: 'c'.repeat(64), running: false };
const running = { container: 'd'.repeat(64), running: true };
const small = buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: 'b', content: 'two!' }]] });
const other = buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: 'c', content: 'three' }]] });
const plain = buildImage({ gzip: false, layers: [[{ name: 'a', content: 'one' }]] });

describe('image store', () => {
  let folder: ReturnType<typeof testFolder>;
  let store: ImageStore;
  let lines: Progress[];
  let complaints: string[];

  const open = async (dir = join(folder.path, 'images')): Promise<ImageStore> => {
    const opened = createImageStore({
      dir,
      clock: { nowMs: () => 1_000_000 },
      log: (message) => complaints.push(message),
    });
    await opened.start();
    return opened;
  };
  beforeEach(async () => {
    folder = testFolder();
    lines = [];
    complaints = [];
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    folder.remove();
  });

  const load = (bytes: Buffer): Promise<Image[]> =>
    store.load(Readable.from([bytes]), (line) => lines.push(line));
  const names = (part: string): string[] => readdirSync(join(folder.path, 'images', part)).toSorted();

  async function refusal(work: Promise<unknown>): Promise<{ code: string; message: string }> {
    try {
      await work;
    } catch (error) {
      if (error instanceof Error && 'code' in error)
        return { code: String(error.code), message: error.message };
      throw error;
    }
    throw new Error('it was not refused');
  }

  function expectNothingStored(): void {
    expect(store.list()).to.deep.equal([]);
    expect([names('images'), names('blobs/sha256'), names('layers'), names('tmp')]).to.deep.equal([
      [],
      [],
      [],
      [],
    ]);
  }

  const forms: [what: string, archive: Buffer, image: BuiltImage, tags: string[]][] = [
    ['an old docker archive', dockerArchive(plain, ['demo:1']), plain, ['demo:1']],
    ['a docker archive with packed layers', dockerArchive(small, ['a/b:2', 'c:3']), small, ['a/b:2', 'c:3']],
    ['a docker archive without a name', dockerArchive(plain, null), plain, []],
    ['a docker archive in gzip', gzipSync(dockerArchive(plain, ['demo:1'])), plain, ['demo:1']],
    [
      'an OCI layout with a full name',
      ociLayout(small, { 'io.containerd.image.name': 'docker.io/library/demo:1' }),
      small,
      ['demo:1'],
    ],
    [
      'an OCI layout with a bare tag',
      ociLayout(small, { 'org.opencontainers.image.ref.name': '1' }),
      small,
      [],
    ],
    [
      'an OCI layout as skopeo names it',
      ociLayout(small, { 'org.opencontainers.image.ref.name': 'localhost:5000/x:1' }),
      small,
      ['localhost:5000/x:1'],
    ],
  ];
  for (const [what, archive, built, tags] of forms) {
    it(`loads ${what}`, async () => {
      const [image] = await load(archive);
      expect(image?.id).to.equal(built.configDigest);
      expect(image?.manifestDigest).to.equal(built.manifestDigest);
      expect(image?.tags).to.deep.equal(tags);
      const layers = await store.rootLayers(built.configDigest as string as ImageId);
      expect(layers.length).to.equal(built.layers.length);
      // Topmost first.
      expect(readFileSync(join(layers.at(-1) ?? '', 'a'), 'utf8')).to.equal('one');
      if (layers.length > 1) expect(readFileSync(join(layers[0] ?? '', 'b'), 'utf8')).to.equal('two!');
      const last = lines.at(-1)?.stream;
      expect(last).to.equal(
        tags.length === 0 ? `Loaded image ID: ${built.configDigest}\n` : `Loaded image: ${tags.at(-1)}\n`,
      );
      expect(names('tmp')).to.deep.equal([]);
    });
  }

  it('goes by manifest.json where the OCI part beside it does not hold', async () => {
    const unsound = Buffer.from('{"config":{},"layers":[]}');
    const digest = digestOf(unsound);
    const [image] = await load(
      tar([
        ...plain.layers.map((content, i) => ({ name: `${i}.tar`, content })),
        { name: 'config.json', content: plain.config },
        { name: `blobs/sha256/${digest.slice(7)}`, content: unsound },
        {
          name: 'index.json',
          content: JSON.stringify({
            schemaVersion: 2,
            manifests: [
              { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: unsound.length },
            ],
          }),
        },
        {
          name: 'manifest.json',
          content: JSON.stringify([
            {
              Config: 'config.json',
              RepoTags: ['demo:1'],
              Layers: plain.layers.map((_layer, i) => `${i}.tar`),
            },
          ]),
        },
      ]),
    );
    expect(image).to.deep.include({ id: plain.configDigest, tags: ['demo:1'] });
  });

  it('shows what the config says', async () => {
    const built = buildImage({
      layers: [[{ name: 'x' }]],
      config: { User: '1:2', ExposedPorts: { '80/tcp': {} }, Volumes: null, Labels: { a: 'b' }, Unknown: 1 },
    });
    const [image] = await load(dockerArchive(built, ['demo']));
    expect(image?.config).to.deep.equal({
      Cmd: ['/bin/true'],
      Env: ['PATH=/bin'],
      User: '1:2',
      ExposedPorts: { '80/tcp': {} },
      Labels: { a: 'b' },
    });
    expect(image?.createdAtMs).to.equal(Date.parse('2026-01-02T03:04:05Z'));
    expect(image?.sizeBytes).to.equal(0);
  });

  it('finds by name, digest and unique beginning of the id', async () => {
    await load(dockerArchive(small, ['demo', 'a/b:2']));
    const hex = small.configDigest.slice(7);
    const found = [
      'demo',
      'demo:latest',
      'docker.io/library/demo',
      'a/b:2',
      `demo@${small.manifestDigest}`,
      `demo:whatever@${small.manifestDigest}`,
      small.configDigest,
      hex,
      hex.slice(0, 12),
      `sha256:${hex.slice(0, 12)}`,
    ];
    for (const name of found) expect(store.find(name)?.id, name).to.equal(small.configDigest);
    const missing = [
      'demo:2',
      'a/b',
      `c@${small.manifestDigest}`,
      'constructor',
      '',
      'UPPER',
      `sha256:${'0'.repeat(64)}`,
    ];
    for (const name of missing) expect(store.find(name), name).to.equal(undefined);
  });

  it('shares layers and takes them away with the last image that has them', async () => {
    await load(dockerArchive(small, ['demo:1']));
    await load(dockerArchive(other, ['demo:2']));
    expect(names('layers').length).to.equal(3);
    await store.remove('demo:1', unused);
    expect(names('layers').length).to.equal(2);
    const left = await store.rootLayers(other.configDigest as string as ImageId);
    expect(readFileSync(join(left[1] ?? '', 'a'), 'utf8')).to.equal('one');
    expect(await store.remove('demo:2', unused)).to.deep.include({ Deleted: other.configDigest });
    expectNothingStored();
  });

  it('stacks a layer that an image has twice once, at its upper place', async () => {
    const one = [{ name: 'a', content: 'one' }];
    const image = buildImage({ layers: [one, [{ name: 'b', content: 'two' }], one] });
    await load(dockerArchive(image, ['twice:1']));
    const layers = await store.rootLayers(image.configDigest as string as ImageId);
    expect(layers.map((path) => readdirSync(path))).to.deep.equal([['a'], ['b']]);
    await store.remove('twice:1', unused);
    expectNothingStored();
  });

  it('is the same after a restart, without what a crash left', async () => {
    await load(dockerArchive(small, ['demo:1']));
    const before = store.list();
    await store.close();
    const dir = join(folder.path, 'images');
    mkdirSync(join(dir, 'tmp', 'half-a-layer', 'fs', 'deep'), { recursive: true });
    writeFileSync(join(dir, 'tmp', 'half-a-blob'), 'x');
    writeFileSync(join(dir, 'blobs', 'sha256', 'e'.repeat(64)), 'nobody needs it');
    mkdirSync(join(dir, 'layers', 'f'.repeat(64), 'fs'), { recursive: true });
    writeFileSync(join(dir, 'layers', 'f'.repeat(64), 'size'), '0');
    store = await open();
    expect(store.list()).to.deep.equal(before);
    expect(names('tmp')).to.deep.equal([]);
    expect(names('blobs/sha256').length).to.equal(4);
    expect(names('layers').length).to.equal(2);
  });

  it('drops an image whose blob was damaged, and unpacks a layer again that was lost', async () => {
    await load(dockerArchive(small, ['demo:1']));
    await load(dockerArchive(plain, ['plain:1']));
    await store.close();
    const dir = join(folder.path, 'images');
    truncateSync(join(dir, 'blobs/sha256', small.manifestDigest.slice(7)), 10);
    rmSync(join(dir, 'layers', plain.manifest.toString().match(/tar","digest":"sha256:(\w+)/)?.[1] ?? ''), {
      recursive: true,
    });
    store = await open();
    expect(store.list().map(({ tags }) => tags)).to.deep.equal([['plain:1']]);
    expect(complaints.length).to.equal(1);
    const [layer = ''] = await store.rootLayers(plain.configDigest as string as ImageId);
    expect(readFileSync(join(layer, 'a'), 'utf8')).to.equal('one');
  });

  it('keeps tags, moves them, and removes by Docker rules', async () => {
    const events: ImageEvent[] = [];
    store.watch((event) => events.push(event));
    await load(dockerArchive(small, ['demo:1']));
    await store.tag('demo:1', 'demo:2');
    await store.tag('demo', 'x').catch(() => undefined);
    const id = small.configDigest;
    expect(await store.remove('demo:1', { force: false, inUse: () => stopped })).to.deep.equal([
      { Untagged: 'demo:1' },
    ]);
    expect(await refusal(store.remove('demo:2', { force: false, inUse: () => stopped }))).to.deep.equal({
      code: 'conflict',
      message: `conflict: unable to remove repository reference "demo:2" (must force) - container cccccccccccc is using its referenced image ${id.slice(7, 19)}`,
    });
    expect((await refusal(store.remove(id, { force: false, inUse: () => stopped }))).message).to.contain(
      '(must be forced) - image is being used by stopped container cccccccccccc',
    );
    await store.tag('demo:2', 'other/name');
    expect((await refusal(store.remove(id.slice(7, 19), unused))).message).to.contain(
      'multiple repositories',
    );
    expect((await refusal(store.remove(id, { force: true, inUse: () => running }))).message).to.contain(
      '(cannot be forced) - image is being used by running container dddddddddddd',
    );
    await load(dockerArchive(other, ['demo:2']));
    expect(store.find('demo:2')?.id).to.equal(other.configDigest);
    // The old image keeps its digest: a service that was pinned to it still finds it.
    expect(store.find(`demo@${small.manifestDigest}`)?.id).to.equal(id);
    await store.remove(id, { force: true, inUse: () => undefined });
    expect(store.list().map((image) => image.id)).to.deep.equal([other.configDigest]);
    expect(events.map(({ type, name }) => `${type} ${name}`)).to.include.members([
      'load demo:1',
      'tag demo:2',
      'untag demo:1',
      `delete ${id}`,
    ]);
    expect(await refusal(store.remove('demo:1', unused))).to.deep.equal({
      code: 'not-found',
      message: 'No such image: demo:1',
    });
  });

  it('removes steps of builds with the last image they lead to, and no image that others need', async () => {
    await load(dockerArchive(small, ['base:1']));
    const work = store.work();
    const step = { createdAtMs: 1, createdBy: 'step' };
    const base = small.configDigest as string as ImageId;
    const one = await work.addImage({ ...step, parent: base, config: { User: '1' }, buildKey: 'k' });
    const two = await work.addImage({ ...step, parent: one, config: { User: '2' } });
    const side = await work.addImage({ ...step, parent: one, config: { User: '3' } });
    await work.end();
    await store.tag(two, 'built:1');
    expect(work.findBuilt(base, 'k')).to.equal(one);
    expect(store.find(two)).to.deep.include({ parent: one, lastTaggedAtMs: 1_000_000 });
    expect((await refusal(store.remove(one, { ...unused, force: true }))).message).to.contain(
      '(cannot be forced) - image has dependent child images',
    );
    const lines = await store.remove('built:1', unused);
    expect(lines.map((line) => Object.values(line)[0])).to.include.members(['built:1', two]);
    expect(store.list().map(({ id }) => id)).to.have.members([base, one, side]);
    await store.remove(side, unused);
    expect(store.list().map(({ id }) => id)).to.deep.equal([base]);
  });

  it('unpacks again a layer that a power cut may have spoiled, and drops a blob that no registry vouches for', async () => {
    await load(dockerArchive(small, ['demo:1']));
    await store.close();
    const [layer = ''] = names('layers');
    const dir = join(folder.path, 'images');
    expect(names('blobs/unsynced')).to.deep.equal([]);
    writeFileSync(join(dir, 'layers', layer, 'unsynced'), 'another run of the machine');
    writeFileSync(join(dir, 'layers', layer, 'fs', 'spoiled'), 'x');
    store = await open();
    expect(names('layers')).not.to.include(layer);
    for (const path of await store.rootLayers(small.configDigest as string as ImageId))
      expect(readdirSync(path)).not.to.include('spoiled');
    expect(names('layers')).to.include(layer);
    await store.close();
    const blob = digestOf(small.layers[0] ?? Buffer.alloc(0)).slice(7);
    writeFileSync(join(dir, 'blobs', 'unsynced', blob), 'another run of the machine');
    store = await open();
    expect([store.list(), names('blobs/sha256'), names('blobs/unsynced')]).to.deep.equal([[], [], []]);
    expect(complaints.join()).to.contain('is not whole any more and is dropped');
  });

  it('stops a small layer that unpacks to fill the disk, and keeps nothing of it', async () => {
    await store.close();
    store = createImageStore({
      dir: join(folder.path, 'images'),
      clock: { nowMs: () => 1 },
      layerBytesMax: 1024 * 1024,
    });
    await store.start();
    const bomb = buildImage({ layers: [[{ name: 'zeros', content: Buffer.alloc(50 * 1024 * 1024) }]] });
    const words = await refusal(load(dockerArchive(bomb, ['bomb:1'])));
    expect(words.code).to.equal('invalid-argument');
    expect(words.message).to.match(/unpacks to more bytes than are allowed/);
    expectNothingStored();
  });

  it('imports a root file system as an image of one layer', async () => {
    const archive = Readable.from([gzipSync(tar([{ name: 'hello', content: 'there' }]))]);
    const id = await store.importArchive(archive, {
      reference: 'imported:1',
      changes: ['CMD ["/hello"]', 'ENV A=b'],
      message: 'by hand',
    });
    const image = store.find('imported:1');
    expect(image?.id).to.equal(id);
    expect(image?.config).to.deep.equal({ Cmd: ['/hello'], Env: ['A=b'] });
    expect(image?.history).to.deep.equal([{ created: '1970-01-01T00:16:40.000Z', comment: 'by hand' }]);
    const [layer = ''] = await store.rootLayers(id);
    expect(readFileSync(join(layer, 'hello'), 'utf8')).to.equal('there');
    const bad = store.importArchive(Readable.from([Buffer.alloc(2000, 'x')]), { changes: [], message: '' });
    expect((await refusal(bad)).code).to.equal('invalid-argument');
    expect([names('tmp'), store.list().length]).to.deep.equal([[], 1]);
  });

  it('answers for its own images without a registry, and hands out their blobs', async () => {
    await load(dockerArchive(small, ['demo:1']));
    expect(await store.describeRemote('demo:1')).to.deep.include({
      digest: small.manifestDigest,
      size: small.manifest.length,
    });
    const blob = store.readBlob(small.configDigest, 5);
    const chunks: Buffer[] = [];
    for await (const chunk of blob?.stream ?? []) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks)).to.deep.equal(small.config.subarray(5));
    expect(store.readBlob(`sha256:${'0'.repeat(64)}` as Digest)).to.equal(undefined);
  });

  describe('leaves nothing behind of', () => {
    const archive = dockerArchive(plain, ['demo:1']);
    const hostile = buildImage({ layers: [[{ name: 'ok' }], [{ name: '../../evil', content: 'x' }]] });
    const lying = buildImage({ layers: [[{ name: 'x' }]], diffIds: [`sha256:${'0'.repeat(64)}`] });
    const short = buildImage({ layers: [[{ name: 'x' }]], diffIds: [] });
    const layout = ociLayout(small, {});
    const flipped = Buffer.from(layout);
    const at = flipped.indexOf(small.layers[0] ?? '');
    flipped[at + 30] = (flipped[at + 30] ?? 0) ^ 1;
    const badConfig = buildImage({ layers: [[{ name: 'x' }]], config: { Env: [7] } });
    const cases: [what: string, archive: Buffer, code: string, words: string][] = [
      ['an archive cut in a file', archive.subarray(0, 700), 'invalid-argument', 'ends in the middle'],
      ['an archive cut in gzip', gzipSync(archive).subarray(0, 300), 'invalid-argument', 'not valid gzip'],
      [
        'an archive cut before its manifest',
        archive.subarray(0, 2560),
        'invalid-argument',
        'neither a manifest.json',
      ],
      ['no archive', Buffer.from('hello'), 'invalid-argument', 'ends in the middle'],
      ['an empty upload', Buffer.alloc(0), 'invalid-argument', 'empty'],
      ['a compression nobody knows', Buffer.from('fd377a585a000000', 'hex'), 'not-implemented', 'xz'],
      ['a layer that climbs out', ociLayout(hostile, {}), 'invalid-argument', 'leaves the image'],
      [
        'a layer with another content',
        dockerArchive(lying, ['l:1']),
        'invalid-argument',
        'layer verification failed',
      ],
      ['a config with too few layers', dockerArchive(short, ['l:1']), 'invalid-argument', 'names 0 layers'],
      ['a blob with a flipped bit', flipped, 'invalid-argument', 'does not match its digest'],
      [
        'a config of wrong types',
        dockerArchive(badConfig, ['l:1']),
        'invalid-argument',
        'config.Env must be a list of strings',
      ],
      [
        'a name that is none',
        dockerArchive(plain, ['Not A Name']),
        'invalid-argument',
        'invalid reference format',
      ],
      [
        'a manifest that names what is not there',
        tar([{ name: 'manifest.json', content: '[{"Config":"x","Layers":[]}]' }]),
        'invalid-argument',
        'does not hold x',
      ],
    ];
    for (const [what, bytes, code, words] of cases) {
      it(what, async () => {
        const refused = await refusal(load(bytes));
        expect(refused.message).to.contain(words);
        expect(refused.code).to.equal(code);
        expectNothingStored();
        // The store is as good as new.
        await load(archive);
        expect(store.find('demo:1')?.id).to.equal(plain.configDigest);
      });
    }

    it('an upload whose sender goes away', async () => {
      const broken = new Readable({ read: () => undefined });
      const work = store.load(broken, () => undefined);
      broken.push(archive.subarray(0, 1500));
      broken.destroy(new Error('socket hang up'));
      expect(await work.catch((error: Error) => error.message)).to.contain('socket hang up');
      expectNothingStored();
    });
  });

  it('says so when the disk is full, and keeps nothing half', async () => {
    await store.close();
    const disk = join(folder.path, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]);
    try {
      store = await open(disk);
      const large = buildImage({ layers: [[{ name: 'zeros', content: Buffer.alloc(3_000_000) }]] });
      const work = store.load(Readable.from([ociLayout(large, {})]), () => undefined);
      const refused = await refusal(work);
      expect(refused.code).to.equal('resource-exhausted');
      expect(refused.message).to.match(/no space left on device/i);
      expect(store.list()).to.deep.equal([]);
      const noise = buildImage({
        gzip: false,
        layers: [[{ name: 'zeros', content: Buffer.alloc(3_000_000) }]],
      });
      expect(
        (await refusal(store.load(Readable.from([ociLayout(noise, {})]), () => undefined))).code,
      ).to.equal('resource-exhausted');
      await store.load(Readable.from([dockerArchive(plain, ['demo:1'])]), () => undefined);
      expect(store.list().length).to.equal(1);
      await store.close();
    } finally {
      execFileSync('umount', [disk]);
    }
    store = await open();
  });

  it('does not hand one load what another is throwing away', async () => {
    for (let round = 0; round < 5; round++) {
      const results = await Promise.allSettled([
        load(ociLayout(small, { 'io.containerd.image.name': 'demo:1' })),
        load(ociLayout(small, { 'io.containerd.image.name': 'demo:2' })),
        load(
          dockerArchive(buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: '../x' }]] }), [
            'bad',
          ]),
        ),
        store.find('demo:1') ? store.remove('demo:1', { force: true, inUse: () => undefined }) : undefined,
      ]);
      expect(results.map(({ status }) => status).slice(0, 3)).to.deep.equal([
        'fulfilled',
        'fulfilled',
        'rejected',
      ]);
      expect(store.find('demo:2')?.id).to.equal(small.configDigest);
      for (const layer of await store.rootLayers(small.configDigest as string as ImageId)) {
        expect(readdirSync(layer).length).to.equal(1);
      }
      expect(names('tmp')).to.deep.equal([]);
    }
  });
});
