/**
 * `docker save`: one archive that is both a docker-archive and an OCI layout, as Docker writes it since version 25.
 * Blobs go in as they are stored, so that an image keeps its manifest digest, its layers' compression and its name's
 * digest on the way through `docker load`.
 */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { hexOf } from '../content/content-store.js';
import type { Lease } from '../content/leases.js';
import { mediaTypes } from '../content/manifest.js';
import { familiarName, familiarString, type Reference } from '../reference/reference.js';
import type { StorageParts } from '../store/assembly.js';
import type { ImageRecord, ManifestRecord } from '../store/image-records.js';
import { tarEnd, tarFile, tarHeader, tarPadding } from './tar-writer.js';

export interface SavedName {
  reference: Reference;
  /** What the name stands for: a manifest or an index that leads to it. */
  digest: Digest;
}

export interface SavedImage {
  id: ImageId;
  record: ImageRecord;
  names: SavedName[];
}

/**
 * Which images and names `docker save` was asked for. A bare repository means all of its tags; an id or a digest
 * means the image without a name.
 */
export function selectSaved(storage: StorageParts, names: readonly string[]): SavedImage[] {
  const { catalog } = storage;
  const chosen = new Map<ImageId, SavedImage>();
  for (const name of names) {
    const image = catalog.find(name);
    const tagged = catalog.tagsOf(name);
    if (image === undefined && tagged.length === 0) {
      throw new EnxameError('not-found', `No such image: ${name}`);
    }
    const wanted =
      tagged.length > 0 ? tagged : image === undefined ? [] : [{ imageId: image.id, name: undefined }];
    for (const { imageId, name: saved } of wanted) {
      const record = catalog.recordOf(imageId);
      if (record === undefined) throw new EnxameError('not-found', `No such image: ${name}`);
      const entry = chosen.get(imageId) ?? { id: imageId, record, names: [] };
      chosen.set(imageId, entry);
      if (saved === undefined) continue;
      const text = familiarString(saved.reference);
      if (!entry.names.some(({ reference }) => familiarString(reference) === text)) entry.names.push(saved);
    }
  }
  return [...chosen.values()];
}

interface OciDescriptor {
  mediaType: string;
  digest: Digest;
  size: number;
  annotations?: Record<string, string>;
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** The manifest a name leads to, and the index it stands for when it stands for one. */
function manifestFor(record: ImageRecord, digest: Digest | undefined): ManifestRecord {
  const found =
    record.manifests.find((manifest) => manifest.digest === digest) ??
    record.manifests.find(({ indexes }) => indexes.some((index) => index.digest === digest)) ??
    record.manifests[0];
  if (found === undefined) throw new Error(`image ${record.id} has no manifest`);
  return found;
}

class Archive {
  private readonly blobs = new Set<Digest>();
  private readonly descriptors: OciDescriptor[] = [];
  private readonly documents: object[] = [];
  private readonly repositories: Record<string, Record<string, string>> = {};

  constructor(private readonly storage: StorageParts) {}

  add({ id, record, names }: SavedImage): void {
    const first = manifestFor(record, names[0]?.digest);
    for (const { digest, reference } of names) {
      this.addDescriptor(record, digest, {
        'io.containerd.image.name': `${reference.domain}/${reference.path}:${reference.tag ?? 'latest'}`,
        'org.opencontainers.image.ref.name': reference.tag ?? 'latest',
      });
    }
    if (names.length === 0) this.addDescriptor(record, first.digest);
    const config = id as string as Digest;
    this.blobs.add(config);
    const tags = names.map(({ reference }) => familiarString(reference));
    this.documents.push({
      Config: blobName(config),
      RepoTags: tags.length === 0 ? null : tags,
      Layers: first.layers.map(({ digest }) => blobName(digest)),
    });
    const top = first.layers.at(-1);
    if (top === undefined) return;
    for (const { reference } of names) {
      const repository = (this.repositories[familiarName(reference)] ??= {});
      repository[reference.tag ?? 'latest'] = hexOf(top.digest);
    }
  }

  private addDescriptor(record: ImageRecord, digest: Digest, annotations?: Record<string, string>): void {
    const manifest = manifestFor(record, digest);
    this.blobs.add(manifest.digest);
    for (const layer of manifest.layers) this.blobs.add(layer.digest);
    const index = manifest.indexes.find((candidate) => candidate.digest === digest);
    for (const each of index === undefined ? [] : manifest.indexes) this.blobs.add(each.digest);
    const { digest: top, mediaType } = index ?? manifest;
    const size = this.storage.content.sizeOf(top) ?? 0;
    this.descriptors.push({ mediaType, digest: top, size, ...(annotations ? { annotations } : {}) });
  }

  hold(lease: Lease): void {
    for (const digest of this.blobs) lease.hold(digest);
  }

  async *write(): AsyncGenerator<Buffer> {
    for (const name of ['blobs/', 'blobs/sha256/'])
      yield tarHeader({ name, type: 'folder', mode: 0o755, sizeBytes: 0 });
    for (const digest of [...this.blobs].sort()) yield* this.blob(digest);
    const json = (name: string, document: unknown): Buffer =>
      tarFile(name, Buffer.from(JSON.stringify(document)));
    yield json('index.json', {
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: this.descriptors,
    });
    yield json('manifest.json', this.documents);
    yield json('oci-layout', { imageLayoutVersion: '1.0.0' });
    if (Object.keys(this.repositories).length > 0) yield json('repositories', this.repositories);
    yield tarEnd;
  }

  private async *blob(digest: Digest): AsyncGenerator<Buffer> {
    const { content } = this.storage;
    const sizeBytes = content.sizeOf(digest);
    if (sizeBytes === undefined) throw new EnxameError('not-found', `the blob ${digest} is not stored`);
    yield tarHeader({ name: blobName(digest), sizeBytes });
    let length = 0;
    for await (const chunk of content.stream(digest) as AsyncIterable<Buffer>) {
      length += chunk.length;
      yield chunk;
    }
    if (length !== sizeBytes) {
      throw new EnxameError('data-damaged', `the stored blob ${content.path(digest)} was cut`);
    }
    yield tarPadding(sizeBytes);
  }
}

/** What it needs is held by `lease` from the call on; the bytes come as they are asked for. */
export function saveArchive(
  storage: StorageParts,
  lease: Lease,
  images: readonly SavedImage[],
): AsyncGenerator<Buffer> {
  const archive = new Archive(storage);
  for (const image of images) archive.add(image);
  archive.hold(lease);
  return archive.write();
}
