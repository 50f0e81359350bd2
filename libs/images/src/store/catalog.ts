/** The images of this node and their names: in memory for readers, on the disk before a change counts. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { parseImageConfig, type ImageConfig } from '../content/image-config.js';
import type { ContentStore } from '../content/content-store.js';
import { configBytesMax, manifestBytesMax } from '../content/manifest.js';
import { Limiter } from '../content/limiter.js';
import type { LayerStore } from '../layers/layer-store.js';
import type { Image } from '../port.js';
import {
  canonicalString,
  familiarString,
  isDigest,
  parseReference,
  repositoryOf,
  withDefaultTag,
  type Reference,
} from '../reference/reference.js';
import type { ImageRecord, ImageRecords, ManifestRecord, NameRecord, Names } from './image-records.js';

interface Entry {
  record: ImageRecord;
  config: ImageConfig;
}

export interface NewImage {
  id: ImageId;
  config: ImageConfig;
  manifest: ManifestRecord;
  parent?: ImageId;
  buildKey?: string;
}

/** All blobs an image needs to be whole on this node and for its peers. */
export function blobsOf(record: ImageRecord): Digest[] {
  return [
    record.id as string as Digest,
    ...record.manifests.flatMap((manifest) => [
      manifest.digest,
      ...manifest.layers.map(({ digest }) => digest),
      ...manifest.indexes.map(({ digest }) => digest),
    ]),
  ];
}

export class Catalog {
  private readonly entries = new Map<ImageId, Entry>();
  private names: Names = { tags: {}, digests: {} };
  private readonly changes = new Limiter(1);
  /** What `referenced` answers, until an image comes or goes. */
  private needed: Set<string> | undefined;

  constructor(
    private readonly records: ImageRecords,
    private readonly content: ContentStore,
    private readonly layers: LayerStore,
    private readonly log: (message: string, error: unknown) => void,
  ) {}

  /** Takes over what the disk has whole. An image with a missing or damaged blob is dropped: it can be pulled again. */
  async start(): Promise<void> {
    const { images, names } = await this.records.readAll();
    for (const record of images) {
      try {
        await this.checkBlobs(record);
        const bytes = await this.content.read(record.id as string as Digest, configBytesMax);
        this.entries.set(record.id, { record, config: parseImageConfig(bytes) });
      } catch (error) {
        this.log(`image ${record.id} is not whole any more and is dropped`, error);
        await this.records.removeImage(record.id);
      }
    }
    const known = ([, name]: [string, NameRecord]): boolean => this.entries.has(name.imageId);
    this.names = {
      tags: Object.fromEntries(Object.entries(names.tags).filter(known)),
      digests: Object.fromEntries(Object.entries(names.digests).filter(known)),
    };
  }

  private async checkBlobs(record: ImageRecord): Promise<void> {
    for (const { digest, layers, indexes } of record.manifests) {
      await this.content.read(digest, manifestBytesMax);
      for (const index of indexes) await this.content.read(index.digest, manifestBytesMax);
      for (const layer of layers) {
        if (this.content.sizeOf(layer.digest) === layer.size) continue;
        throw new EnxameError('data-damaged', `the blob ${layer.digest} is missing or cut`);
      }
    }
  }

  /** Every blob and diff id that some image needs. */
  referenced(): ReadonlySet<string> {
    if (this.needed !== undefined) return this.needed;
    const all = new Set<string>();
    for (const { record, config } of this.entries.values()) {
      for (const digest of blobsOf(record)) all.add(digest);
      for (const diffId of config.diffIds) all.add(diffId);
    }
    this.needed = all;
    return all;
  }

  mediaTypeOf(digest: Digest): string | undefined {
    for (const { record } of this.entries.values()) {
      if ((record.id as string) === digest) return 'application/octet-stream';
      for (const manifest of record.manifests) {
        if (manifest.digest === digest) return manifest.mediaType;
        const found = [...manifest.layers, ...manifest.indexes].find((blob) => blob.digest === digest);
        if (found !== undefined) return found.mediaType;
      }
    }
    return undefined;
  }

  list(): Image[] {
    const images = [...this.entries.values()].map((entry) => this.present(entry));
    return images.sort((a, b) => b.createdAtMs - a.createdAtMs || a.id.localeCompare(b.id));
  }

  get(id: ImageId): Image | undefined {
    const entry = this.entries.get(id);
    return entry && this.present(entry);
  }

  private present({ record, config }: Entry): Image {
    const namesOf = (names: Record<string, NameRecord>): string[] =>
      Object.entries(names)
        .filter(([, name]) => name.imageId === record.id)
        .map(([text]) => familiarString(parseReference(text)))
        .sort();
    const manifest = record.manifests[0];
    if (manifest === undefined) throw new Error(`image ${record.id} has no manifest`);
    return {
      id: record.id,
      manifestDigest: manifest.digest,
      tags: namesOf(this.names.tags),
      repoDigests: namesOf(this.names.digests),
      createdAtMs: config.createdAtMs,
      architecture: config.architecture,
      ...(config.variant === undefined ? {} : { variant: config.variant }),
      os: config.os,
      author: config.author ?? '',
      dockerVersion: config.dockerVersion ?? '',
      ...(record.parent !== undefined && this.entries.has(record.parent) ? { parent: record.parent } : {}),
      lastTaggedAtMs: record.lastTaggedAtMs ?? 0,
      sizeBytes: config.diffIds.reduce((sum, diffId) => sum + this.layers.sizeOf(diffId), 0),
      layers: manifest.layers.map((layer, i) => ({
        digest: layer.digest,
        diffId: config.diffIds[i] ?? layer.digest,
        sizeBytes: this.layers.sizeOf(config.diffIds[i] ?? layer.digest),
        mediaType: layer.mediaType,
      })),
      config: config.config,
      history: config.history,
    };
  }

  /** A full id, else a name, else a unique beginning of an id: Docker's order. */
  find(text: string): Image | undefined {
    const whole = this.entries.get((isDigest(text) ? text : `sha256:${text}`) as string as ImageId);
    if (whole !== undefined) return this.present(whole);
    const name = this.nameOf(text);
    const named = name && this.entries.get(name.imageId);
    if (named !== undefined) return this.present(named);
    const start = text.startsWith('sha256:') ? text : `sha256:${text}`;
    if (!/^sha256:[a-f0-9]{2,64}$/.test(start)) return undefined;
    const matches = [...this.entries.values()].filter(({ record }) => record.id.startsWith(start));
    const only = matches[0];
    return matches.length === 1 && only !== undefined ? this.present(only) : undefined;
  }

  /** What a name stands for here; undefined for ids and for what is no reference. */
  nameOf(text: string): NameRecord | undefined {
    let reference: Reference;
    try {
      reference = withDefaultTag(parseReference(text));
    } catch (error) {
      if (error instanceof EnxameError) return undefined;
      throw error;
    }
    if (reference.digest === undefined) return own(this.names.tags, canonicalString(reference));
    // Docker ignores the tag beside a digest: the digest says it all.
    return own(this.names.digests, `${repositoryOf(reference)}@${reference.digest}`);
  }

  /** The tags a text means: one when it names a tag, all of its repository when it names none. */
  tagsOf(text: string): { imageId: ImageId; name: { reference: Reference; digest: Digest } }[] {
    let wanted: Reference;
    try {
      wanted = parseReference(text);
    } catch (error) {
      if (error instanceof EnxameError) return [];
      throw error;
    }
    if (wanted.digest !== undefined) return [];
    const repository = repositoryOf(wanted);
    return Object.entries(this.names.tags)
      .map(([canonical, name]) => ({ reference: parseReference(canonical), name }))
      .filter(
        ({ reference }) =>
          repositoryOf(reference) === repository && (wanted.tag ?? reference.tag) === reference.tag,
      )
      .map(({ reference, name: { imageId, digest } }) => ({ imageId, name: { reference, digest } }));
  }

  /** Paths of other repositories of the same registry that are known to hold a blob. */
  repositoriesWith(blob: Digest, besides: Reference): string[] {
    const paths = new Set<string>();
    for (const [canonical, { imageId, origin }] of Object.entries(this.names.digests)) {
      if (origin !== 'registry') continue;
      const { domain, path } = parseReference(canonical);
      const record = this.entries.get(imageId)?.record;
      if (domain !== besides.domain || path === besides.path || record === undefined) continue;
      if (blobsOf(record).includes(blob)) paths.add(path);
    }
    return [...paths].sort();
  }

  imageOf(id: ImageId): { id: ImageId; config: ImageConfig } {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new EnxameError('not-found', `No such image: ${id}`);
    return { id, config: entry.config };
  }

  diffIdsOf(id: ImageId): Digest[] | undefined {
    return this.entries.get(id)?.config.diffIds;
  }

  recordOf(id: ImageId): ImageRecord | undefined {
    return this.entries.get(id)?.record;
  }

  /** The image that a build made of a parent (undefined: of nothing) by what the key says. */
  findBuilt(parent: ImageId | undefined, buildKey: string): ImageId | undefined {
    const found = [...this.entries.values()].filter(
      ({ record }) => record.parent === parent && record.buildKey === buildKey,
    );
    // The newest: an older one may have been made before what it was made of changed.
    return found.sort((a, b) => b.record.addedAtMs - a.record.addedAtMs)[0]?.record.id;
  }

  childrenOf(id: ImageId): ImageId[] {
    return [...this.entries.values()]
      .filter(({ record }) => record.parent === id)
      .map(({ record }) => record.id);
  }

  /** The names given to it, whichever way. */
  hasName(id: ImageId): boolean {
    const names = [...Object.values(this.names.tags), ...Object.values(this.names.digests)];
    return names.some(({ imageId }) => imageId === id);
  }

  /** Makes an image visible under its names, in one step for readers; its blobs and layers are on the disk. */
  async add(image: NewImage, nowMs: number, changeNames?: (names: Names) => void): Promise<void> {
    await this.changes.run(async () => {
      const before = this.entries.get(image.id)?.record;
      const manifests = mergeManifest(before?.manifests ?? [], image.manifest);
      const parent = before?.parent ?? image.parent;
      const buildKey = before?.buildKey ?? image.buildKey;
      const record: ImageRecord = {
        id: image.id,
        addedAtMs: before?.addedAtMs ?? nowMs,
        ...(parent === undefined ? {} : { parent }),
        ...(buildKey === undefined ? {} : { buildKey }),
        ...(before?.lastTaggedAtMs === undefined ? {} : { lastTaggedAtMs: before.lastTaggedAtMs }),
        manifests,
      };
      await this.records.writeImage(record);
      const names = this.copyNames();
      changeNames?.(names);
      if (changeNames !== undefined) await this.records.writeNames(names);
      this.entries.set(image.id, { record, config: image.config });
      this.needed = undefined;
      this.names = names;
    });
  }

  /** Notes that a name has just been given to it. */
  async markTagged(id: ImageId, nowMs: number): Promise<void> {
    await this.changes.run(async () => {
      const entry = this.entries.get(id);
      if (entry === undefined) return;
      const record = { ...entry.record, lastTaggedAtMs: nowMs };
      await this.records.writeImage(record);
      this.entries.set(id, { ...entry, record });
    });
  }

  /** Changes names by a function from a copy; the copy counts once it is on the disk. */
  async changeNames(change: (names: Names) => void): Promise<void> {
    await this.changes.run(async () => {
      const names = this.copyNames();
      change(names);
      await this.records.writeNames(names);
      this.names = names;
    });
  }

  private copyNames(): Names {
    return { tags: { ...this.names.tags }, digests: { ...this.names.digests } };
  }

  /**
   * Takes an image off the books unless a name has been given to it meanwhile. Returns the blobs and diff ids it had,
   * undefined when it stays.
   */
  async drop(id: ImageId): Promise<string[] | undefined> {
    return this.changes.run(async () => {
      const entry = this.entries.get(id);
      const names = [...Object.values(this.names.tags), ...Object.values(this.names.digests)];
      if (entry === undefined || names.some(({ imageId }) => imageId === id)) return undefined;
      await this.records.removeImage(id);
      this.entries.delete(id);
      this.needed = undefined;
      return [...blobsOf(entry.record), ...entry.config.diffIds];
    });
  }
}

/** Names come from outside: `constructor` must not find what every object has. */
function own(names: Record<string, NameRecord>, key: string): NameRecord | undefined {
  return Object.hasOwn(names, key) ? names[key] : undefined;
}

function mergeManifest(manifests: readonly ManifestRecord[], added: ManifestRecord): ManifestRecord[] {
  const same = manifests.find(({ digest }) => digest === added.digest);
  if (same === undefined) return [...manifests, added];
  const indexes = [...same.indexes];
  for (const index of added.indexes) {
    if (!indexes.some(({ digest }) => digest === index.digest)) indexes.push(index);
  }
  return manifests.map((manifest) => (manifest === same ? { ...same, indexes } : manifest));
}
