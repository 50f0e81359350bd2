/** Image manifests and indexes: Docker schema 2 and OCI image-spec 1.1, told apart by their shape. */
import { EnxameError, type Digest } from '#libs/model';
import { isDigest } from '../reference/reference.js';
import type { Platform } from './platform.js';

export const manifestBytesMax = 4 * 1024 * 1024;
export const configBytesMax = 4 * 1024 * 1024;
/** overlayfs takes 500 lower folders; Docker stops at 127. */
const layersMax = 127;
const indexEntriesMax = 1000;
const urlsMax = 16;

export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
} as const;

/** What a client tells a registry it can read. */
export const manifestAccept = [
  mediaTypes.ociIndex,
  mediaTypes.dockerIndex,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
].join(', ');

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  size: number;
  platform?: Platform;
  annotations: Record<string, string>;
  /** Where else the content is; see `isForeign`. */
  urls?: string[];
}

/**
 * A layer that its owner lets nobody pass on: it comes from the places that its descriptor names, and is not pushed.
 * (image-spec 1.1, "Non-Distributable Layers"; Docker's "foreign" layers.)
 */
export function isForeign({ mediaType }: { mediaType: string }): boolean {
  return /\.nondistributable\.|\.rootfs\.foreign\./.test(mediaType);
}

export interface Manifest {
  kind: 'manifest';
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
}

export interface Index {
  kind: 'index';
  mediaType: string;
  manifests: Descriptor[];
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid manifest: ${message}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stringOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

export function parseJson(bytes: Buffer, what: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new EnxameError('invalid-argument', `${what} is not JSON`, { cause: error });
  }
}

/**
 * Reads a manifest or an index. The type inside the document wins over the one it was served with; where neither is
 * given (umoci writes none) the shape decides. Throws `invalid-argument`.
 */
export function parseManifest(bytes: Buffer, servedAs?: string): Manifest | Index {
  const document = parseJson(bytes, 'the image manifest');
  if (!isRecord(document)) throw invalid('not an object');
  if (document['schemaVersion'] === 1) {
    throw new EnxameError(
      'invalid-argument',
      'unsupported manifest: schema version 1 is no longer supported',
    );
  }
  if (document['schemaVersion'] !== 2) throw invalid('schemaVersion must be 2');
  const isIndex = Array.isArray(document['manifests']);
  // Both at once is how CVE-2021-41190 made two readers see two images.
  if (isIndex && (document['layers'] !== undefined || document['config'] !== undefined)) {
    throw invalid('it is both an index and an image');
  }
  const known: readonly string[] = isIndex
    ? [mediaTypes.ociIndex, mediaTypes.dockerIndex]
    : [mediaTypes.ociManifest, mediaTypes.dockerManifest];
  const said = document['mediaType'];
  if (said !== undefined && !known.includes(stringOr(said, ''))) {
    throw invalid(`mediaType ${JSON.stringify(said)} does not fit its content`);
  }
  const served = servedAs?.split(';')[0]?.trim();
  const mediaType =
    typeof said === 'string'
      ? said
      : served !== undefined && known.includes(served)
        ? served
        : isIndex
          ? mediaTypes.ociIndex
          : mediaTypes.ociManifest;
  return isIndex ? readIndex(document, mediaType) : readManifest(document, mediaType);
}

function readIndex(document: Record<string, unknown>, mediaType: string): Index {
  const manifests = document['manifests'];
  if (!Array.isArray(manifests) || manifests.length > indexEntriesMax) {
    throw invalid(`manifests must be a list of at most ${indexEntriesMax}`);
  }
  return {
    kind: 'index',
    mediaType,
    manifests: manifests.map((entry, i) => readDescriptor(entry, `manifests[${i}]`)),
  };
}

function readManifest(document: Record<string, unknown>, mediaType: string): Manifest {
  const layers = document['layers'];
  if (!Array.isArray(layers) || layers.length > layersMax) {
    throw invalid(`layers must be a list of at most ${layersMax}`);
  }
  return {
    kind: 'manifest',
    mediaType,
    config: readDescriptor(document['config'], 'config'),
    layers: layers.map((entry, i) => readDescriptor(entry, `layers[${i}]`)),
  };
}

function readDescriptor(value: unknown, field: string): Descriptor {
  if (!isRecord(value)) throw invalid(`${field} is not an object`);
  const { digest, size, mediaType, platform, annotations, urls } = value;
  if (typeof digest !== 'string' || !isDigest(digest))
    throw invalid(`${field}.digest is not a sha256 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`${field}.size is not a number of bytes`);
  }
  const descriptor: Descriptor = { mediaType: stringOr(mediaType, ''), digest, size, annotations: {} };
  if (isRecord(platform)) {
    descriptor.platform = {
      architecture: stringOr(platform['architecture'], ''),
      os: stringOr(platform['os'], ''),
    };
    if (typeof platform['variant'] === 'string') descriptor.platform.variant = platform['variant'];
  }
  if (Array.isArray(urls) && urls.length > 0) {
    descriptor.urls = urls.slice(0, urlsMax).filter((url): url is string => typeof url === 'string');
  }
  if (isRecord(annotations)) {
    for (const [key, text] of Object.entries(annotations)) {
      if (typeof text === 'string') descriptor.annotations[key] = text;
    }
  }
  return descriptor;
}

/**
 * The manifest of an image that came without one (`docker save` before version 25). The same content always gives
 * the same bytes, so that every node calls the image by the same digest.
 */
export function composeManifest(
  config: { digest: Digest; size: number },
  layers: readonly Pick<Descriptor, 'digest' | 'size' | 'mediaType' | 'urls'>[],
): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: config.digest, size: config.size },
      layers: layers.map(({ mediaType, digest, size, urls }) => ({ mediaType, digest, size, urls })),
    }),
  );
}
