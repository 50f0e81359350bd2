/** A piece of work that makes images on this node: a build, a commit, an import. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SourceTree } from '../build/source/source-tree.js';
import type { CopyTarget } from '../build/copy.js';
import { digestOf } from '../content/content-store.js';
import { decompress } from '../content/decompress.js';
import { temporaryName } from '../content/disk.js';
import { parseImageConfig, type ImageConfig } from '../content/image-config.js';
import type { Lease } from '../content/leases.js';
import { composeManifest, mediaTypes } from '../content/manifest.js';
import { hostPlatform } from '../content/platform.js';
import { lookUp, packLayer, readTree } from '../layers/unpack-program.js';
import type { ImageWork, NewImageStep, StoredLayer } from '../port.js';
import type { StorageParts } from './assembly.js';
import type { ManifestRecord } from './image-records.js';

export interface ImageWorkParts {
  storage: StorageParts;
  lease: Lease;
  program: string;
  temporaryDir: string;
  /** Gives up what is held and collects what nothing needs. */
  release(): Promise<void>;
}

export class DiskImageWork implements ImageWork {
  private readonly trees: { tree: SourceTree; file: string }[] = [];

  constructor(private readonly parts: ImageWorkParts) {}

  hold(id: ImageId): void {
    const { storage, lease } = this.parts;
    const record = storage.catalog.recordOf(id);
    if (record === undefined) throw new EnxameError('not-found', `No such image: ${id}`);
    lease.hold(id);
    for (const { digest, layers } of record.manifests) {
      lease.hold(digest);
      for (const layer of layers) lease.hold(layer.digest);
    }
    for (const diffId of storage.catalog.diffIdsOf(id) ?? []) lease.hold(diffId);
  }

  findBuilt(parent: ImageId | undefined, buildKey: string): ImageId | undefined {
    return this.parts.storage.catalog.findBuilt(parent, buildKey);
  }

  layerOf(id: ImageId, index: number): StoredLayer | undefined {
    const { catalog } = this.parts.storage;
    const layer = catalog.recordOf(id)?.manifests[0]?.layers[index];
    const diffId = catalog.diffIdsOf(id)?.[index];
    if (layer === undefined || diffId === undefined) return undefined;
    return { digest: layer.digest, diffId, sizeBytes: layer.size, mediaType: layer.mediaType };
  }

  async addLayer(tar: AsyncIterable<Buffer>, what: string): Promise<StoredLayer> {
    const { storage, lease } = this.parts;
    const writer = await storage.content.writer();
    const teed = async function* (): AsyncGenerator<Buffer> {
      for await (const chunk of tar) {
        await writer.write(chunk);
        yield chunk;
      }
    };
    try {
      await storage.layers.add(teed(), what, (diffId) => {
        lease.hold(diffId);
        if (diffId !== writer.digest) throw new Error(`${what}: it was not read as it was written`);
      });
    } catch (error) {
      await writer.abort();
      throw error;
    }
    const sizeBytes = writer.sizeBytes;
    const digest = await writer.commit();
    return { digest, diffId: digest, sizeBytes, mediaType: mediaTypes.ociLayer };
  }

  packLayer(upperDir: string): Promise<StoredLayer> {
    return this.addLayer(packLayer(this.parts.program, upperDir), "the container's changes");
  }

  unpacked(archive: AsyncIterable<Buffer>, what: string): AsyncGenerator<Buffer> {
    return decompress(archive, what);
  }

  async sourceTree(tar: AsyncIterable<Buffer>): Promise<SourceTree> {
    const file = join(this.parts.temporaryDir, temporaryName());
    const tree = await SourceTree.read(tar, file);
    this.trees.push({ tree, file });
    return tree;
  }

  imageTree(layers: readonly string[], path: string): Promise<SourceTree> {
    return this.sourceTree(readTree(this.parts.program, layers, path));
  }

  async lookUp(layers: readonly string[], path: string): Promise<CopyTarget> {
    if (layers.length === 0) {
      // An image of nothing has nothing on the way.
      return {
        path: path
          .split('/')
          .filter((part) => part !== '' && part !== '.')
          .join('/'),
        existing: [],
      };
    }
    const [found] = await lookUp(this.parts.program, layers, [path]);
    return found ?? { path: '', existing: [] };
  }

  async addImage(step: NewImageStep): Promise<ImageId> {
    const { storage, lease } = this.parts;
    const { catalog, content } = storage;
    const parent = step.parent === undefined ? undefined : catalog.imageOf(step.parent).config;
    const base = step.parent === undefined ? undefined : catalog.recordOf(step.parent)?.manifests[0];
    const document = configDocument(step, parent);
    const bytes = Buffer.from(JSON.stringify(document));
    lease.hold(digestOf(bytes));
    const digest = await content.put(bytes);
    const layers: ManifestRecord['layers'] = [...(base?.layers ?? [])];
    if (step.layer !== undefined) {
      const { digest: layer, sizeBytes, mediaType } = step.layer;
      layers.push({ digest: layer, size: sizeBytes, mediaType });
    }
    const manifest = composeManifest({ digest, size: bytes.length }, layers);
    lease.hold(digestOf(manifest));
    const manifestDigest = await content.put(manifest);
    const id = digest as string as ImageId;
    await catalog.add(
      {
        id,
        config: parseImageConfig(bytes),
        manifest: { digest: manifestDigest, mediaType: mediaTypes.ociManifest, layers, indexes: [] },
        ...(step.parent === undefined ? {} : { parent: step.parent }),
        ...(step.buildKey === undefined ? {} : { buildKey: step.buildKey }),
      },
      storage.nowMs(),
    );
    return id;
  }

  async end(): Promise<void> {
    for (const { tree, file } of this.trees.splice(0)) {
      await tree.close();
      await rm(file, { force: true });
    }
    await this.parts.release();
  }
}

/** The config of an image that is one step on from its parent. */
function configDocument(step: NewImageStep, parent: ImageConfig | undefined): Record<string, unknown> {
  const created = new Date(step.createdAtMs).toISOString();
  const platform = hostPlatform();
  const author = step.author ?? parent?.author;
  const diffIds: Digest[] = [...(parent?.diffIds ?? []), ...(step.layer ? [step.layer.diffId] : [])];
  const history = {
    created,
    ...(author ? { author } : {}),
    ...(step.createdBy === '' ? {} : { created_by: step.createdBy }),
    ...(step.comment ? { comment: step.comment } : {}),
    ...(step.layer === undefined ? { empty_layer: true } : {}),
  };
  return {
    architecture: step.architecture ?? (parent?.architecture || platform.architecture),
    ...(parent?.variant === undefined ? {} : { variant: parent.variant }),
    os: 'linux',
    ...(author ? { author } : {}),
    created,
    config: step.config,
    history: [...(parent?.history ?? []), history],
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
}
