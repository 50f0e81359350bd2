/** `docker load`: docker-archive (before and after version 25) and OCI layout, plain or compressed. */
import { EnxameError, isEnxameError, type Digest, type ImageId } from '#libs/model';
import { posix } from 'node:path';
import { digestOf, type ContentStore } from '../content/content-store.js';
import { decompress, detectCompression } from '../content/decompress.js';
import type { Lease } from '../content/leases.js';
import {
  composeManifest,
  configBytesMax,
  manifestBytesMax,
  mediaTypes,
  parseJson,
  parseManifest,
  type Descriptor,
  type Manifest,
} from '../content/manifest.js';
import { choosePlatform, hostPlatform, platformText } from '../content/platform.js';
import type { Progress } from '../port.js';
import { canonicalString, parseReference, withDefaultTag, type Reference } from '../reference/reference.js';
import { checkParts, publish, unpackLayer, type ImageParts, type StorageParts } from '../store/assembly.js';
import { readArchive } from './tar-reader.js';

/** Smaller files wait in memory until it is known which of them matter. */
const heldFileBytesMax = 64 * 1024;
const heldBytesMax = 32 * 1024 * 1024;
const indexDepthMax = 4;

type Stored = { digest: Digest; size: number; bytes?: Buffer };

function invalid(message: string, cause?: unknown): EnxameError {
  return new EnxameError('invalid-argument', `invalid image archive: ${message}`, { cause });
}

/** The archive's files, in the content store or in memory, by name. */
class ArchiveFiles {
  private readonly files = new Map<string, Stored>();
  private readonly links = new Map<string, string>();
  private heldBytes = 0;

  constructor(
    private readonly content: ContentStore,
    private readonly lease: Lease,
  ) {}

  async readAll(source: AsyncIterable<Buffer>): Promise<void> {
    for await (const member of readArchive(decompress(source, 'the image archive'))) {
      if (member.type === 'file') {
        this.files.set(member.name, await this.take(member.name, member.sizeBytes, member.content));
      } else if (member.type === 'link') {
        this.links.set(member.name, posix.normalize(member.link));
      } else if (member.type === 'symlink') {
        this.links.set(member.name, posix.join(posix.dirname(member.name), member.link));
      }
    }
  }

  private async take(name: string, sizeBytes: number, source: AsyncIterable<Buffer>): Promise<Stored> {
    const named = /(?:^|\/)blobs\/sha256\/([a-f0-9]{64})$/.exec(name)?.[1];
    const expected = named === undefined ? undefined : (`sha256:${named}` as Digest);
    // It was checked when it was stored; the archive's copy needs no second look.
    if (expected !== undefined && this.content.sizeOf(expected) === sizeBytes) {
      this.lease.hold(expected);
      for await (const _chunk of source) continue;
      return { digest: expected, size: sizeBytes };
    }
    const stored = await this.store(sizeBytes, source);
    if (expected !== undefined && stored.digest !== expected) {
      throw invalid(`${name} does not match its digest: its content has ${stored.digest}`);
    }
    return stored;
  }

  private async store(sizeBytes: number, source: AsyncIterable<Buffer>): Promise<Stored> {
    if (sizeBytes <= heldFileBytesMax && this.heldBytes + sizeBytes <= heldBytesMax) {
      const chunks: Buffer[] = [];
      for await (const chunk of source) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      this.heldBytes += bytes.length;
      return { digest: digestOf(bytes), size: bytes.length, bytes };
    }
    const writer = await this.content.writer();
    try {
      for await (const chunk of source) await writer.write(chunk);
    } catch (error) {
      await writer.abort();
      throw error;
    }
    this.lease.hold(writer.digest);
    return { digest: await writer.commit(), size: sizeBytes };
  }

  has(name: string): boolean {
    return this.files.has(name);
  }

  /** Follows links inside the archive. */
  private find(name: string): Stored {
    let at = posix.normalize(name);
    for (let hops = 0; hops < 8; hops++) {
      const file = this.files.get(at);
      if (file !== undefined) return file;
      const target = this.links.get(at);
      if (target === undefined) break;
      at = target;
    }
    throw invalid(`it does not hold ${name}`);
  }

  async read(name: string, bytesMax: number): Promise<Buffer> {
    const { digest, size, bytes } = this.find(name);
    if (size > bytesMax) throw invalid(`${name} has ${size} bytes, at most ${bytesMax} are allowed`);
    return bytes ?? this.content.read(digest, bytesMax);
  }

  /** Puts a file into the content store, if it is not there yet. */
  async keep(name: string): Promise<{ digest: Digest; size: number }> {
    const { digest, size, bytes } = this.find(name);
    this.lease.hold(digest);
    if (bytes !== undefined) await this.content.put(bytes);
    return { digest, size };
  }

  /** The media type a layer file would have in a manifest, by its first bytes. */
  async layerMediaType(name: string): Promise<string> {
    const { digest, bytes } = this.find(name);
    let start = bytes;
    if (start === undefined) {
      for await (const chunk of this.content.stream(digest) as AsyncIterable<Buffer>) {
        start = chunk;
        break;
      }
    }
    const compression = detectCompression(start ?? Buffer.alloc(0));
    return compression === 'none' ? mediaTypes.ociLayer : `${mediaTypes.ociLayer}+${compression}`;
  }
}

interface FoundImage extends ImageParts {
  references: Reference[];
  /** What its names stand for: the index it came in, or its manifest. */
  topDigest: Digest;
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

/** Reads one manifest of the archive and keeps its blobs. */
async function readImage(
  files: ArchiveFiles,
  descriptor: Descriptor,
  indexes: { digest: Digest; mediaType: string }[],
): Promise<{ parts: ImageParts; manifest: Manifest } | undefined> {
  const bytes = await files.read(blobName(descriptor.digest), manifestBytesMax);
  const manifest = parseManifest(bytes, descriptor.mediaType);
  if (manifest.kind === 'index') {
    if (indexes.length >= indexDepthMax) throw invalid('its indexes are nested too deep');
    const candidates = manifest.manifests.filter(({ digest }) => files.has(blobName(digest)));
    const chosen = choosePlatform(candidates, hostPlatform()) ?? onlyUnmarked(candidates);
    if (chosen === undefined) return undefined;
    await files.keep(blobName(descriptor.digest));
    return readImage(files, chosen, [
      ...indexes,
      { digest: descriptor.digest, mediaType: manifest.mediaType },
    ]);
  }
  await files.keep(blobName(descriptor.digest));
  const configBytes = await files.read(blobName(manifest.config.digest), configBytesMax);
  await files.keep(blobName(manifest.config.digest));
  for (const layer of manifest.layers) {
    const kept = await files.keep(blobName(layer.digest));
    if (kept.size !== layer.size)
      throw invalid(`the layer ${layer.digest} has ${kept.size} bytes, not ${layer.size}`);
  }
  const layers = manifest.layers.map(({ digest, size, mediaType }) => ({ digest, size, mediaType }));
  return {
    parts: {
      configDigest: manifest.config.digest,
      configBytes,
      manifest: { digest: descriptor.digest, mediaType: manifest.mediaType, layers, indexes },
    },
    manifest,
  };
}

/** An index with one image and no platform means that image (umoci, skopeo). */
function onlyUnmarked(candidates: Descriptor[]): Descriptor | undefined {
  const unmarked = candidates.filter(({ platform }) => platform === undefined);
  return unmarked.length === 1 ? unmarked[0] : undefined;
}

async function readIndexFile(files: ArchiveFiles): Promise<Descriptor[]> {
  if (!files.has('index.json')) return [];
  const index = parseManifest(await files.read('index.json', manifestBytesMax), mediaTypes.ociIndex);
  if (index.kind !== 'index') throw invalid('index.json is not an index');
  return index.manifests;
}

/** The name a descriptor's annotations give the image; a bare tag is no name. */
function annotatedReferences({ annotations }: Descriptor): Reference[] {
  const name =
    annotations['io.containerd.image.name'] ??
    (/[:/]/.test(annotations['org.opencontainers.image.ref.name'] ?? '')
      ? annotations['org.opencontainers.image.ref.name']
      : undefined);
  return name === undefined ? [] : [withDefaultTag(parseReference(name))];
}

async function readOciLayout(files: ArchiveFiles): Promise<FoundImage[]> {
  const found: FoundImage[] = [];
  const platforms: string[] = [];
  for (const descriptor of await readIndexFile(files)) {
    if (descriptor.annotations['vnd.docker.reference.type'] !== undefined) continue;
    const image = await readImage(files, descriptor, []);
    if (image === undefined) {
      platforms.push(descriptor.digest);
      continue;
    }
    found.push({ ...image.parts, references: annotatedReferences(descriptor), topDigest: descriptor.digest });
  }
  if (found.length === 0) {
    throw invalid(
      `no image for ${platformText(hostPlatform())} in it${platforms.length > 0 ? ` (${platforms.join(', ')})` : ''}`,
    );
  }
  return found;
}

interface SavedImage {
  config: string;
  layers: string[];
  references: Reference[];
}

function readSavedManifest(bytes: Buffer): SavedImage[] {
  const list = parseJson(bytes, 'manifest.json');
  if (!Array.isArray(list) || list.length === 0) throw invalid('manifest.json must be a list of images');
  const isTexts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((item) => typeof item === 'string');
  return list.map((item: unknown) => {
    const fields = (typeof item === 'object' && item !== null ? item : {}) as Record<string, unknown>;
    const { Config: config, RepoTags: tags } = fields;
    // An image without layers has none to name.
    const layers = fields['Layers'] ?? [];
    if (typeof config !== 'string') throw invalid('manifest.json: Config must be a file name');
    if (!isTexts(layers)) throw invalid('manifest.json: Layers must be file names');
    if (tags !== null && tags !== undefined && !isTexts(tags))
      throw invalid('manifest.json: RepoTags must be names');
    return { config, layers, references: (tags ?? []).map((tag) => withDefaultTag(parseReference(tag))) };
  });
}

/**
 * Since version 25 the archive is an OCI layout, too: its own manifests keep the image's digests. Names of one image
 * can stand for different ones (other compression); a name that no manifest carries goes with the first.
 */
async function findOciManifests(
  files: ArchiveFiles,
  configDigest: Digest,
  references: readonly Reference[],
): Promise<FoundImage[]> {
  const found: FoundImage[] = [];
  const left = new Map(references.map((reference) => [canonicalString(reference), reference]));
  for (const descriptor of await readIndexFile(files)) {
    if (!files.has(blobName(descriptor.digest))) continue;
    const image = await soundImage(files, descriptor);
    if (image?.manifest.config.digest !== configDigest) continue;
    const own = annotatedReferences(descriptor).filter((name) => left.delete(canonicalString(name)));
    const same = found.find(({ topDigest }) => topDigest === descriptor.digest);
    if (same === undefined) found.push({ ...image.parts, references: own, topDigest: descriptor.digest });
    else same.references.push(...own);
  }
  found[0]?.references.push(...left.values());
  return found.filter(({ references: names }, i) => i === 0 || names.length > 0);
}

/** Whatever does not hold is passed over: manifest.json says all that Docker's own `load` looks at. */
async function soundImage(files: ArchiveFiles, descriptor: Descriptor): ReturnType<typeof readImage> {
  try {
    return await readImage(files, descriptor, []);
  } catch (error) {
    if (isEnxameError(error) && error.code === 'invalid-argument') return undefined;
    throw error;
  }
}

async function readDockerArchive(
  files: ArchiveFiles,
  content: ContentStore,
  lease: Lease,
): Promise<FoundImage[]> {
  const found: FoundImage[] = [];
  for (const saved of readSavedManifest(await files.read('manifest.json', manifestBytesMax))) {
    const configBytes = await files.read(saved.config, configBytesMax);
    const config = await files.keep(saved.config);
    const known = await findOciManifests(files, config.digest, saved.references);
    if (known.length > 0) {
      found.push(...known);
      continue;
    }
    const layers: { digest: Digest; size: number; mediaType: string }[] = [];
    for (const name of saved.layers) {
      layers.push({ ...(await files.keep(name)), mediaType: await files.layerMediaType(name) });
    }
    const bytes = composeManifest(config, layers);
    // Composed here, but its limits are the same.
    parseManifest(bytes);
    lease.hold(digestOf(bytes));
    const digest = await content.put(bytes);
    found.push({
      configDigest: config.digest,
      configBytes,
      manifest: { digest, mediaType: mediaTypes.ociManifest, layers, indexes: [] },
      references: saved.references,
      topDigest: digest,
    });
  }
  return found;
}

/**
 * Reads an archive and stores its images. Nothing of an archive that turns out to be damaged is visible: all its
 * images are checked and unpacked before the first gets its name.
 */
export async function loadArchive(
  storage: StorageParts,
  lease: Lease,
  archive: AsyncIterable<Buffer>,
  progress: (line: Progress) => void,
): Promise<{ id: ImageId; references: Reference[] }[]> {
  const files = new ArchiveFiles(storage.content, lease);
  await files.readAll(archive);
  if (!files.has('manifest.json') && !files.has('index.json')) {
    throw invalid('it has neither a manifest.json nor an index.json');
  }
  const found = files.has('manifest.json')
    ? await readDockerArchive(files, storage.content, lease)
    : await readOciLayout(files);
  const images = found.map((image) => ({ image, config: checkParts(image) }));
  for (const { image, config } of images) {
    for (const [i, layer] of image.manifest.layers.entries()) {
      const diffId = config.diffIds[i] ?? layer.digest;
      const id = diffId.slice(7, 19);
      const isNew = !storage.layers.has(diffId);
      if (isNew) progress({ status: 'Loading layer', progressDetail: { current: 0, total: layer.size }, id });
      await unpackLayer(storage, lease, { digest: layer.digest, diffId });
      if (isNew)
        progress({ status: 'Loading layer', progressDetail: { current: layer.size, total: layer.size }, id });
    }
  }
  const loaded: { id: ImageId; references: Reference[] }[] = [];
  for (const { image, config } of images) {
    const names = { references: image.references, digest: image.topDigest, origin: 'local' as const };
    loaded.push({ id: await publish(storage, image, config, names), references: image.references });
  }
  return loaded;
}
