/** The node's images: see port.ts for what each method promises. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Agent } from 'undici';
import { loadArchive } from './archive/load.js';
import { applyChanges } from './build/run-config.js';
import { saveArchive, selectSaved } from './archive/save.js';
import { ContentStore } from './content/content-store.js';
import { Leases } from './content/leases.js';
import { Limiter } from './content/limiter.js';
import { Settling } from './content/settling.js';
import { parseManifest } from './content/manifest.js';
import { fitsPlatform, type Platform } from './content/platform.js';
import { LayerStore } from './layers/layer-store.js';
import { defaultUnpackProgram, removeTree, syncFileSystem } from './layers/unpack-program.js';
import type {
  Image,
  ImageWork,
  ImageEvent,
  ImageStore,
  ImageUse,
  ImportOptions,
  PeerSource,
  Progress,
  RegistryAuth,
  SearchResult,
} from './port.js';
import {
  canonicalString,
  familiarName,
  familiarString,
  parseReference,
  repositoryOf,
  withDefaultTag,
} from './reference/reference.js';
import { describeAtPeers, describeRemote, type RemoteDescription } from './registry/describe.js';
import { registryDispatcher, type RegistryOptions } from './registry/endpoint.js';
import type { RegistryContext } from './registry/context.js';
import { pullImage } from './registry/pull.js';
import { pushImage } from './registry/push.js';
import { checkLogin, type LoginRequest } from './registry/login.js';
import { searchRegistry, tagsOfRepository, type SearchRequest } from './registry/search.js';
import { SharedWork } from './registry/shared-work.js';
import { unpackLayer, type StorageParts } from './store/assembly.js';
import { Catalog } from './store/catalog.js';
import { ImageRecords, type Origin } from './store/image-records.js';
import { DiskImageWork } from './store/image-work.js';
import { planRemoval } from './store/removal.js';

export interface ImageStoreOptions {
  /** All of it belongs to this store; one process at a time. */
  dir: string;
  clock: { nowMs(): number };
  /** Things worth knowing that fail nothing: a peer that does not answer, a damaged record that was set aside. */
  log?: (message: string, error: unknown) => void;
  registry?: RegistryOptions;
  /** Path of enxame-unpack; the built one of this project by default. */
  unpackProgram?: string;
  /** Plain bytes of one layer. */
  layerBytesMax?: number;
}

const defaultLayerBytesMax = 64 * 1024 ** 3;
const defaultDownloadsMax = 3;
const defaultUploadsMax = 5;

export function createImageStore(options: ImageStoreOptions): ImageStore {
  return new DiskImageStore(options);
}

type RemovedLine = { Untagged: string } | { Deleted: string };

class DiskImageStore implements ImageStore {
  private readonly temporaryDir: string;
  private readonly program: string;
  private readonly storage: StorageParts;
  private readonly settling: Settling;
  private readonly leases = new Leases();
  private readonly dispatcher: Agent;
  private readonly context: RegistryContext & { uploads: Limiter };
  private readonly pulls = new SharedWork<ImageId, Progress>();
  private readonly listeners = new Set<(event: ImageEvent) => void>();

  constructor(private readonly options: ImageStoreOptions) {
    const { dir, clock, log = () => undefined, registry = {} } = options;
    const downloadsMax = registry.downloadsMax ?? defaultDownloadsMax;
    this.temporaryDir = join(dir, 'tmp');
    this.program = options.unpackProgram ?? defaultUnpackProgram();
    this.settling = new Settling(() => syncFileSystem(this.program, dir), log);
    const content = new ContentStore(dir, this.temporaryDir, this.settling);
    const layers = new LayerStore({
      dir,
      temporaryDir: this.temporaryDir,
      program: this.program,
      layerBytesMax: options.layerBytesMax ?? defaultLayerBytesMax,
      // Those of slow downloads do little but wait: they may not hold up the others.
      unpackingMax: availableParallelism() + downloadsMax,
      settling: this.settling,
    });
    const catalog = new Catalog(new ImageRecords(dir, this.temporaryDir, log), content, layers, log);
    this.storage = { content, layers, catalog, nowMs: () => clock.nowMs() };
    this.dispatcher = registryDispatcher(registry);
    this.context = {
      storage: this.storage,
      options: registry,
      dispatcher: this.dispatcher,
      downloads: new Limiter(downloadsMax),
      uploads: new Limiter(registry.uploadsMax ?? defaultUploadsMax),
      log,
    };
  }

  async start(): Promise<void> {
    const { content, layers, catalog } = this.storage;
    // Containers of any user pass through this folder to their root: others may traverse, not list.
    mkdirSync(this.options.dir, { recursive: true, mode: 0o711 });
    mkdirSync(this.temporaryDir, { recursive: true, mode: 0o700 });
    for (const item of await readdir(this.temporaryDir, { withFileTypes: true })) {
      const path = join(this.temporaryDir, item.name);
      if (item.isDirectory()) await removeTree(this.program, path);
      else await rm(path, { force: true });
    }
    await content.start();
    await layers.start();
    await catalog.start();
    await this.collect([...content.digests(), ...layers.diffIds()]);
  }

  async close(): Promise<void> {
    this.pulls.abortAll(new EnxameError('unavailable', 'the image store is closing'));
    await this.dispatcher.destroy();
    await this.settling.close();
  }

  list(): readonly Image[] {
    return this.storage.catalog.list();
  }

  find(reference: string): Image | undefined {
    return this.storage.catalog.find(reference);
  }

  async load(archive: Readable, progress: (line: Progress) => void): Promise<Image[]> {
    const lease = this.leases.open();
    try {
      const loaded = await loadArchive(this.storage, lease, archive as AsyncIterable<Buffer>, progress);
      const images: Image[] = [];
      for (const { id, references } of loaded) {
        const names = references.map((reference) => familiarString(reference));
        for (const name of names) progress({ stream: `Loaded image: ${name}\n` });
        if (names.length === 0) progress({ stream: `Loaded image ID: ${id}\n` });
        this.emit('load', id, names[0] ?? id);
        images.push(this.imageOf(id));
      }
      return images;
    } finally {
      await this.collect(lease.release());
    }
  }

  async pull(
    text: string,
    options: {
      auth?: RegistryAuth;
      peers?: PeerSource[];
      platform?: Platform | undefined;
      progress?: (line: Progress) => void;
      signal?: AbortSignal;
    },
  ): Promise<Image> {
    const reference = withDefaultTag(parseReference(text));
    const { auth, peers = [], platform, progress = () => undefined, signal } = options;
    const name = familiarString(reference);
    const present = reference.digest === undefined ? undefined : this.find(text);
    if (present !== undefined && (platform === undefined || fitsPlatform(present, platform))) {
      // A digest never changes what it stands for: there is nothing to ask anybody.
      progress({ status: `Digest: ${reference.digest}` });
      progress({ status: `Status: Image is up to date for ${name}` });
      return present;
    }
    const key = JSON.stringify([canonicalString(reference), auth ?? null, platform ?? null]);
    const id = await this.pulls.run(key, { listener: progress, signal }, async (emit, sharedSignal) => {
      const lease = this.leases.open();
      try {
        const request = { reference, auth, peers, platform, progress: emit, signal: sharedSignal };
        const pulled = await pullImage(this.context, request, lease);
        this.emit('pull', pulled, name);
        return pulled;
      } finally {
        await this.collect(lease.release());
      }
    });
    return this.imageOf(id);
  }

  async push(
    text: string,
    options: { auth?: RegistryAuth; progress?: (line: Progress) => void; signal?: AbortSignal },
  ): Promise<void> {
    const { auth, progress = () => undefined, signal } = options;
    const reference = parseReference(text);
    if (reference.digest !== undefined) {
      throw new EnxameError('invalid-argument', 'cannot push a digest reference');
    }
    const tags = this.storage.catalog.tagsOf(text).map(({ name }) => name.reference);
    if (tags.length === 0) {
      throw new EnxameError(
        'not-found',
        `An image does not exist locally with the tag: ${familiarName(reference)}`,
      );
    }
    progress({ status: `The push refers to repository [${repositoryOf(reference)}]` });
    for (const tagged of tags) {
      const lease = this.leases.open();
      try {
        const request = { reference: tagged, auth, progress, signal };
        const { id, digest, size } = await pushImage(this.context, request, lease);
        const Tag = tagged.tag ?? 'latest';
        progress({ status: `${Tag}: digest: ${digest} size: ${size}` });
        progress({ progressDetail: {}, aux: { Tag, Digest: digest, Size: size } });
        this.emit('push', id, familiarString(tagged));
      } finally {
        await this.collect(lease.release());
      }
    }
  }

  checkLogin(request: LoginRequest): Promise<void> {
    return checkLogin(this.context, request);
  }

  remoteTags(repository: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): Promise<string[]> {
    return tagsOfRepository(this.context, { reference: parseReference(repository), ...options });
  }

  search(request: SearchRequest): Promise<SearchResult[]> {
    return searchRegistry(this.context, request);
  }

  async save(names: readonly string[]): Promise<Readable> {
    const images = selectSaved(this.storage, names);
    const lease = this.leases.open();
    const bytes = saveArchive(this.storage, lease, images);
    const stream = Readable.from(bytes, { objectMode: false, highWaterMark: 1024 * 1024 });
    stream.once('close', () => {
      this.collect(lease.release()).catch((error: unknown) => this.options.log?.('cannot collect', error));
    });
    for (const { id } of images) this.emit('save', id, id);
    return stream;
  }

  async describeRemote(
    text: string,
    auth?: RegistryAuth,
    peers: readonly PeerSource[] = [],
  ): Promise<RemoteDescription> {
    const reference = withDefaultTag(parseReference(text));
    const local = await this.describeLocal(text);
    return (
      local ??
      (await describeAtPeers(this.context, { reference, peers })) ??
      describeRemote(this.context, { reference, auth })
    );
  }

  /** A name that this node gave or loaded itself: no registry knows better what it stands for. */
  private async describeLocal(text: string): Promise<RemoteDescription | undefined> {
    const { catalog, content } = this.storage;
    const name = catalog.nameOf(text);
    const image = name && catalog.get(name.imageId);
    if (name === undefined || image === undefined || name.origin !== 'local') return undefined;
    const bytes = await content.read(name.digest, Number.MAX_SAFE_INTEGER);
    const { mediaType } = parseManifest(bytes, catalog.mediaTypeOf(name.digest));
    const platforms = [{ architecture: image.architecture, os: image.os }];
    return { mediaType, digest: name.digest, size: bytes.length, platforms };
  }

  async rootLayers(id: ImageId): Promise<string[]> {
    const { catalog, layers } = this.storage;
    const image = catalog.get(id);
    if (image === undefined) throw new EnxameError('not-found', `No such image: ${id}`);
    const lease = this.leases.open();
    try {
      for (const layer of image.layers) await unpackLayer(this.storage, lease, layer);
    } finally {
      lease.release();
    }
    const topmostFirst = image.layers.map(({ diffId }) => layers.path(diffId)).toReversed();
    // A layer that an image has twice shows the same from its upper place alone, and overlay takes none twice.
    return [...new Set(topmostFirst)];
  }

  async tag(source: string, target: string): Promise<void> {
    const { catalog } = this.storage;
    const image = this.find(source);
    if (image === undefined) throw new EnxameError('not-found', `No such image: ${source}`);
    const parsed = parseReference(target);
    if (parsed.digest !== undefined) {
      throw new EnxameError('invalid-argument', 'refusing to create a tag with a digest reference');
    }
    if (familiarName(parsed) === 'sha256') {
      throw new EnxameError(
        'invalid-argument',
        'refusing to create an ambiguous tag using digest algorithm as name',
      );
    }
    const reference = withDefaultTag(parsed);
    const name = { imageId: image.id, digest: image.manifestDigest, origin: 'local' as const };
    await catalog.changeNames(({ tags, digests }) => {
      tags[canonicalString(reference)] = name;
      digests[`${repositoryOf(reference)}@${image.manifestDigest}`] ??= name;
    });
    await catalog.markTagged(image.id, this.options.clock.nowMs());
    this.emit('tag', image.id, familiarString(reference));
  }

  async remove(
    text: string,
    options: { force: boolean; keepParents?: boolean; inUse: (id: ImageId) => ImageUse | undefined },
  ): Promise<RemovedLine[]> {
    const { catalog } = this.storage;
    const image = this.find(text);
    if (image === undefined) throw new EnxameError('not-found', `No such image: ${text}`);
    const plan = planRemoval(text, image, {
      force: options.force,
      use: options.inUse(image.id),
      hasChildren: catalog.childrenOf(image.id).length > 0,
    });
    await catalog.changeNames(({ tags, digests }) => {
      for (const { canonical } of plan.untag) {
        delete tags[canonical];
        delete digests[canonical];
      }
    });
    const lines: RemovedLine[] = plan.untag.map(({ familiar }) => ({ Untagged: familiar }));
    for (const { familiar } of plan.untag) this.emit('untag', image.id, familiar);
    if (!plan.deleteImage) return lines;
    let next: Image | undefined = image;
    while (next !== undefined) {
      const gone: RemovedLine[] | undefined = await this.dropImage(next);
      if (gone === undefined) break;
      lines.push(...gone);
      const parent: ImageId | undefined = options.keepParents === true ? undefined : next.parent;
      const isFree: boolean =
        parent !== undefined &&
        !catalog.hasName(parent) &&
        catalog.childrenOf(parent).length === 0 &&
        options.inUse(parent) === undefined;
      next = isFree && parent !== undefined ? catalog.get(parent) : undefined;
    }
    return lines;
  }

  /** Undefined when it has been given a name meanwhile and stays. */
  private async dropImage(image: Image): Promise<RemovedLine[] | undefined> {
    const freed = await this.storage.catalog.drop(image.id);
    if (freed === undefined) return undefined;
    const gone = await this.collect(freed);
    this.emit('delete', image.id, image.id);
    const layers = image.layers.map(({ diffId }) => diffId).filter((diffId) => gone.has(diffId));
    return [image.id, ...layers].map((digest) => ({ Deleted: digest }));
  }

  readBlob(digest: Digest, from = 0): { stream: Readable; sizeBytes: number; mediaType: string } | undefined {
    const { catalog, content } = this.storage;
    const sizeBytes = content.sizeOf(digest);
    const mediaType = catalog.mediaTypeOf(digest);
    if (sizeBytes === undefined || mediaType === undefined) return undefined;
    return { stream: content.stream(digest, from), sizeBytes, mediaType };
  }

  resolve(reference: string): { digest: Digest; origin: Origin } | undefined {
    return this.storage.catalog.nameOf(reference);
  }

  async importArchive(archive: Readable, options: ImportOptions): Promise<ImageId> {
    const reference = options.reference === undefined ? undefined : parseReference(options.reference);
    if (reference?.digest !== undefined) {
      throw new EnxameError('invalid-argument', 'cannot import digest reference');
    }
    const config = applyChanges({}, options.changes);
    const work = this.work();
    try {
      const tar = work.unpacked(archive as AsyncIterable<Buffer>, 'the archive');
      const layer = await work.addLayer(tar, 'the archive');
      const createdAtMs = this.options.clock.nowMs();
      const comment = options.message === '' ? 'Imported from -' : options.message;
      const { architecture } = options;
      const id = await work.addImage({
        config,
        layer,
        createdAtMs,
        createdBy: '',
        comment,
        ...(architecture === undefined ? {} : { architecture }),
      });
      if (reference !== undefined) await this.tag(id, familiarString(withDefaultTag(reference)));
      this.emit('import', id, options.reference ?? id);
      return id;
    } finally {
      await work.end();
    }
  }

  work(): ImageWork {
    const lease = this.leases.open();
    return new DiskImageWork({
      storage: this.storage,
      lease,
      program: this.program,
      temporaryDir: this.temporaryDir,
      release: async () => void (await this.collect(lease.release())),
    });
  }

  childrenOf(id: ImageId): ImageId[] {
    return this.storage.catalog.childrenOf(id);
  }

  watch(listener: (event: ImageEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private emit(type: ImageEvent['type'], id: string, name: string): void {
    const event: ImageEvent = { type, id, name, atMs: this.options.clock.nowMs() };
    for (const listener of this.listeners) listener(event);
  }

  private imageOf(id: ImageId): Image {
    const image = this.storage.catalog.get(id);
    if (image === undefined)
      throw new EnxameError('not-found', `No such image: ${id}: it was removed meanwhile`);
    return image;
  }

  /** Removes those of the blobs and layers that nothing needs any more. */
  private async collect(candidates: readonly string[]): Promise<Set<string>> {
    const { content, layers, catalog } = this.storage;
    const gone = new Set<string>();
    for (const digest of candidates as readonly Digest[]) {
      // Asked anew for each: a pull may have begun to count on it while the one before was removed.
      if (this.leases.isHeld(digest) || catalog.referenced().has(digest)) continue;
      const removals: Promise<void>[] = [];
      if (content.has(digest)) removals.push(content.remove(digest));
      if (layers.has(digest)) removals.push(layers.remove(digest));
      await Promise.all(removals);
      gone.add(digest);
    }
    return gone;
  }
}
