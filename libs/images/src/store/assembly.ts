/** The last step of every way an image comes in: unpack and check its layers, then make it visible under its names. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import type { ContentStore } from '../content/content-store.js';
import { parseImageConfig, type ImageConfig } from '../content/image-config.js';
import type { Lease } from '../content/leases.js';
import type { LayerStore } from '../layers/layer-store.js';
import { canonicalString, repositoryOf, type Reference } from '../reference/reference.js';
import type { Catalog } from './catalog.js';
import type { ManifestRecord, NameRecord, Origin } from './image-records.js';

export interface StorageParts {
  content: ContentStore;
  layers: LayerStore;
  catalog: Catalog;
  nowMs: () => number;
}

export interface ImageParts {
  /** Digest of the config blob, which is stored. */
  configDigest: Digest;
  configBytes: Buffer;
  manifest: ManifestRecord;
}

/** Reads the config and checks it against the manifest, before anything is unpacked. */
export function checkParts({ configBytes, manifest }: ImageParts): ImageConfig {
  const config = parseImageConfig(configBytes);
  if (config.diffIds.length !== manifest.layers.length) {
    throw new EnxameError(
      'invalid-argument',
      `invalid image: its config names ${config.diffIds.length} layers, its manifest ${manifest.layers.length}`,
    );
  }
  return config;
}

export async function unpackLayer(
  { content, layers }: StorageParts,
  lease: Lease,
  layer: { digest: Digest; diffId: Digest },
): Promise<void> {
  lease.hold(layer.diffId);
  await layers.ensure(layer.diffId, content.path(layer.digest));
}

/** Stores the image and points its names to it. The layers are unpacked already. */
export async function publish(
  { catalog, nowMs }: StorageParts,
  parts: ImageParts,
  config: ImageConfig,
  names: { references: readonly Reference[]; digest: Digest; origin: Origin },
): Promise<ImageId> {
  const id = parts.configDigest as string as ImageId;
  const name: NameRecord = { imageId: id, digest: names.digest, origin: names.origin };
  await catalog.add({ id, config, manifest: parts.manifest }, nowMs(), ({ tags, digests }) => {
    for (const reference of names.references) {
      if (reference.tag !== undefined && reference.digest === undefined)
        tags[canonicalString(reference)] = name;
      digests[`${repositoryOf(reference)}@${names.digest}`] = name;
    }
  });
  return id;
}
