/** `docker push`: layers first, each only when the registry lacks it, then the config, then the manifest. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { createGzip } from 'node:zlib';
import { digestOf } from '../content/content-store.js';
import type { Lease } from '../content/leases.js';
import type { Limiter } from '../content/limiter.js';
import { composeManifest, isForeign, manifestBytesMax, mediaTypes } from '../content/manifest.js';
import type { Progress, RegistryAuth } from '../port.js';
import { familiarName, familiarString, repositoryOf, type Reference } from '../reference/reference.js';
import type { ManifestRecord } from '../store/image-records.js';
import { RegistryClient } from './client.js';
import { registryEndpoint } from './endpoint.js';
import { defaultAttemptsMax, defaultRetryDelayMs, type RegistryContext } from './context.js';
import { uploadBlob } from './upload.js';

const progressPeriodMs = 100;

export interface PushRequest {
  /** With a tag. */
  reference: Reference;
  auth?: RegistryAuth;
  progress: (line: Progress) => void;
  signal?: AbortSignal;
}

interface PushedBlob {
  digest: Digest;
  size: number;
}

/** Pushes one tag; the registry then knows it by the digest that this returns. */
export async function pushImage(
  context: RegistryContext & { uploads: Limiter },
  request: PushRequest,
  lease: Lease,
): Promise<{ id: ImageId; digest: Digest; size: number }> {
  const { reference, progress } = request;
  const { catalog, content } = context.storage;
  const named = catalog.tagsOf(familiarString(reference))[0];
  const record = named && catalog.recordOf(named.imageId);
  if (named === undefined || record === undefined) {
    throw new EnxameError(
      'not-found',
      `An image does not exist locally with the tag: ${familiarName(reference)}`,
    );
  }
  const config = record.id as string as Digest;
  const diffIds = catalog.diffIdsOf(record.id) ?? [];
  const stored =
    record.manifests.find(({ digest }) => digest === named.name.digest) ??
    record.manifests.find(({ indexes }) => indexes.some(({ digest }) => digest === named.name.digest)) ??
    record.manifests[0];
  if (stored === undefined) throw new Error(`image ${record.id} has no manifest`);
  for (const diffId of diffIds) progress({ status: 'Preparing', progressDetail: {}, id: shortId(diffId) });
  const manifest = await packed(context, stored, config, lease);
  const client = new Push(context, request, reference);
  const abort = new AbortController();
  const signal = AbortSignal.any([abort.signal, ...(request.signal ? [request.signal] : [])]);
  const work = manifest.layers.map(async (layer, i) => {
    const id = shortId(diffIds[i] ?? layer.digest);
    // With a place of its own that others can get it from; without one the image would be of no use to them.
    if (isForeign(layer) && layer.urls !== undefined) {
      progress({ status: 'Skipped foreign layer', progressDetail: {}, id });
      return;
    }
    try {
      await client.blob(layer, id, signal);
    } catch (error) {
      abort.abort(error);
      throw error;
    }
  });
  await Promise.allSettled(work);
  signal.throwIfAborted();
  await client.blob({ digest: config, size: content.sizeOf(config) ?? 0 }, undefined, signal);
  const bytes = await content.read(manifest.digest, manifestBytesMax);
  await client.manifest(bytes, manifest.mediaType);
  await catalog.add({ ...catalog.imageOf(record.id), manifest }, context.storage.nowMs(), (names) => {
    const name = { imageId: record.id, digest: manifest.digest, origin: 'registry' as const };
    names.digests[`${repositoryOf(reference)}@${manifest.digest}`] = name;
    const tag = `${repositoryOf(reference)}:${reference.tag ?? 'latest'}`;
    // A tag that was moved meanwhile is another image's.
    if (names.tags[tag]?.imageId === record.id) names.tags[tag] = name;
  });
  return { id: record.id, digest: manifest.digest, size: bytes.length };
}

function shortId(digest: Digest): string {
  return digest.slice(7, 19);
}

/** Layers that were made here are plain on the disk; registries get them as gzip, under a manifest of their own. */
async function packed(
  { storage }: RegistryContext,
  stored: ManifestRecord,
  config: Digest,
  lease: Lease,
): Promise<ManifestRecord> {
  const { content } = storage;
  const isPlain = ({ mediaType }: { mediaType: string }): boolean =>
    /[./]tar$/.test(mediaType) && !isForeign({ mediaType });
  for (const { digest } of [stored, ...stored.layers, { digest: config }]) lease.hold(digest);
  if (!stored.layers.some(isPlain)) return stored;
  const layers: ManifestRecord['layers'] = [];
  for (const layer of stored.layers) {
    if (!isPlain(layer)) {
      layers.push(layer);
      continue;
    }
    const writer = await content.writer();
    try {
      const plain = content.stream(layer.digest);
      const gzip = plain.pipe(createGzip({ level: 5, chunkSize: 256 * 1024 }));
      plain.once('error', (error) => gzip.destroy(error));
      for await (const chunk of gzip as AsyncIterable<Buffer>) await writer.write(chunk);
    } catch (error) {
      await writer.abort();
      throw error;
    }
    const size = writer.sizeBytes;
    lease.hold(writer.digest);
    layers.push({ digest: await writer.commit(), size, mediaType: `${mediaTypes.ociLayer}+gzip` });
  }
  const bytes = composeManifest({ digest: config, size: content.sizeOf(config) ?? 0 }, layers);
  lease.hold(digestOf(bytes));
  const digest = await content.put(bytes);
  return { digest, mediaType: mediaTypes.ociManifest, layers, indexes: [] };
}

/** One repository of one registry that is pushed to. */
class Push {
  constructor(
    private readonly context: RegistryContext & { uploads: Limiter },
    private readonly request: PushRequest,
    private readonly reference: Reference,
  ) {}

  private client(mountFrom: readonly string[], signal: AbortSignal | undefined): RegistryClient {
    const { options, dispatcher } = this.context;
    const { reference, auth } = this.request;
    return new RegistryClient({
      endpoint: registryEndpoint(reference, options, dispatcher),
      reference,
      auth,
      attemptsMax: options.attemptsMax ?? defaultAttemptsMax,
      retryDelayMs: options.retryDelayMs ?? defaultRetryDelayMs,
      signal,
      scopes: [
        `repository:${reference.path}:pull,push`,
        ...mountFrom.map((path) => `repository:${path}:pull`),
      ],
    });
  }

  async blob({ digest, size }: PushedBlob, id: string | undefined, signal: AbortSignal): Promise<void> {
    const { storage, uploads } = this.context;
    const show = (line: Progress): void => {
      if (id !== undefined) this.request.progress({ ...line, id });
    };
    if (uploads.isFull) show({ status: 'Waiting', progressDetail: {} });
    await uploads.run(async () => {
      signal.throwIfAborted();
      const mountFrom = storage.catalog.repositoriesWith(digest, this.reference).slice(0, 1);
      let shownAtMs = 0;
      const outcome = await uploadBlob({
        client: this.client(mountFrom, signal),
        digest,
        sizeBytes: size,
        mountFrom,
        read: (start, end) => storage.content.stream(digest, start, end),
        onProgress: (current) => {
          if (storage.nowMs() - shownAtMs < progressPeriodMs) return;
          shownAtMs = storage.nowMs();
          show({ status: 'Pushing', progressDetail: { current, total: size } });
        },
      });
      if (outcome.kind === 'exists') show({ status: 'Layer already exists', progressDetail: {} });
      else if (outcome.kind === 'mounted')
        show({ status: `Mounted from ${outcome.from}`, progressDetail: {} });
      else show({ status: 'Pushed', progressDetail: {} });
    });
  }

  async manifest(bytes: Buffer, mediaType: string): Promise<void> {
    const client = this.client([], this.request.signal);
    await client.putManifest(this.reference.tag ?? 'latest', bytes, mediaType);
  }
}
