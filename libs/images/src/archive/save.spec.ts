import { expect } from 'chai';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { digestOf } from '../content/content-store.js';
import { buildImage, dockerArchive, ociLayout } from '../fixtures/image-builder.js';
import { openStore, type OpenedStore } from '../fixtures/opened-store.js';
import { readArchive } from './tar-reader.js';

const packed = buildImage({ layers: [[{ name: 'a', content: 'one' }], [{ name: 'b', content: 'two!' }]] });
const plain = buildImage({ gzip: false, layers: [[{ name: 'c', content: 'three' }]] });

async function membersOf(archive: Buffer): Promise<Map<string, Buffer>> {
  const members = new Map<string, Buffer>();
  for await (const { name, content } of readArchive(Readable.from([archive]))) {
    members.set(name, await buffer(Readable.from(content)));
  }
  return members;
}

describe('docker save', () => {
  let from: OpenedStore;
  let to: OpenedStore;

  beforeEach(async () => {
    from = await openStore();
    to = await openStore();
  });
  afterEach(async () => {
    await Promise.all([from.end(), to.end()]);
  });

  const load = (into: OpenedStore, bytes: Buffer): Promise<unknown> =>
    into.store.load(Readable.from([bytes]), () => undefined);
  const save = async (...names: string[]): Promise<Buffer> => buffer(await from.store.save(names));

  it('writes what load reads: the same ids, manifests, names and blobs', async () => {
    await load(from, ociLayout(packed, { 'io.containerd.image.name': 'localhost:5000/x:1' }));
    await load(from, dockerArchive(plain, ['demo:1', 'demo:2']));
    await from.store.tag('localhost:5000/x:1', 'other/y:3');
    await load(to, await save('localhost:5000/x:1', 'other/y:3', 'demo'));
    const known = ({ store }: OpenedStore): object[] =>
      store.list().map((image) => ({ ...image, lastTaggedAtMs: 0 }));
    expect(known(to)).to.deep.equal(known(from));
    expect(to.store.list().map(({ tags }) => tags)).to.have.deep.members([
      ['localhost:5000/x:1', 'other/y:3'],
      ['demo:1', 'demo:2'],
    ]);
  });

  it('writes the same bytes again, each blob under its own digest, compressed as it came', async () => {
    await load(from, ociLayout(packed, { 'io.containerd.image.name': 'docker.io/library/x:1' }));
    const archive = await save('x:1');
    expect((await save('x:1')).equals(archive)).to.equal(true);
    const members = await membersOf(archive);
    expect([...members.keys()].filter((name) => /[a-f0-9]{64}$/.test(name)).length).to.equal(4);
    for (const [name, content] of members) {
      const hex = /blobs\/sha256\/([a-f0-9]+)$/.exec(name)?.[1];
      if (hex !== undefined) expect(digestOf(content)).to.equal(`sha256:${hex}`);
    }
    const layers = packed.layers.map((bytes) => `blobs/sha256/${digestOf(bytes).slice(7)}`);
    expect(JSON.parse(members.get('manifest.json')?.toString() ?? '')).to.deep.equal([
      { Config: `blobs/sha256/${packed.configDigest.slice(7)}`, RepoTags: ['x:1'], Layers: layers },
    ]);
    expect(JSON.parse(members.get('index.json')?.toString() ?? '').manifests).to.deep.equal([
      {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: packed.manifestDigest,
        size: packed.manifest.length,
        annotations: {
          'io.containerd.image.name': 'docker.io/library/x:1',
          'org.opencontainers.image.ref.name': '1',
        },
      },
    ]);
    expect(JSON.parse(members.get('repositories')?.toString() ?? '')).to.deep.equal({
      x: { '1': digestOf(packed.layers[1] ?? Buffer.alloc(0)).slice(7) },
    });
  });

  it('keeps what each name stands for when they stand for different manifests of one image', async () => {
    const repacked = buildImage({ gzip: true, layers: [[{ name: 'c', content: 'three' }]] });
    await load(from, ociLayout(repacked, { 'io.containerd.image.name': 'docker.io/library/x:gzip' }));
    await load(from, dockerArchive(plain, ['x:plain']));
    expect(from.store.list().length).to.equal(1);
    const digestsOf = (opened: OpenedStore): unknown[] =>
      ['x:gzip', 'x:plain'].map((name) => opened.store.resolve(name)?.digest);
    await load(to, await save('x'));
    expect(digestsOf(to)).to.deep.equal(digestsOf(from));
    expect(digestsOf(to)).to.deep.equal([repacked.manifestDigest, plain.manifestDigest]);
  });

  it('gives an image that is asked for by its id no name', async () => {
    await load(from, dockerArchive(plain, ['demo:1']));
    await load(to, await save(plain.configDigest.slice(7, 19)));
    expect(to.store.list().map(({ id, tags }) => [id, tags])).to.deep.equal([[plain.configDigest, []]]);
  });

  it('refuses an unknown name before it sends anything', async () => {
    await load(from, dockerArchive(plain, ['demo:1']));
    const message = await from.store.save(['demo:1', 'demo:9']).catch((error: Error) => error.message);
    expect(message).to.equal('No such image: demo:9');
  });

  it('keeps what it sends when the image is removed meanwhile, and no longer', async () => {
    await load(from, dockerArchive(plain, ['demo:1']));
    const archive = await from.store.save(['demo:1']);
    await from.store.remove('demo:1', { force: true, inUse: () => undefined });
    await load(to, await buffer(archive));
    expect(to.store.list().length).to.equal(1);
    const deadlineMs = Date.now() + 5000;
    while (from.store.readBlob(plain.configDigest) !== undefined && Date.now() < deadlineMs)
      await new Promise((fulfil) => setTimeout(fulfil, 5));
    expect(from.store.readBlob(plain.configDigest)).to.equal(undefined);
  });
});
