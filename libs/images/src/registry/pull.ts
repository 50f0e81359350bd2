/** `docker pull`: from the peers named first, then from the registry. */
import { EnxameError, type Digest, type ImageId } from '#libs/model';
import { digestOf } from '../content/content-store.js';
import type { ImageConfig } from '../content/image-config.js';
import type { Lease } from '../content/leases.js';
import type { ArrivingLayer } from '../layers/layer-store.js';
import { configBytesMax, parseManifest, type Descriptor, type Manifest } from '../content/manifest.js';
import { choosePlatform, hostPlatform, platformText, type Platform } from '../content/platform.js';
import type { PeerSource, Progress, RegistryAuth } from '../port.js';
import { familiarString, type Reference } from '../reference/reference.js';
import type { Origin } from '../store/image-records.js';
import { checkParts, publish, unpackLayer, type ImageParts } from '../store/assembly.js';
import { RegistryClient } from './client.js';
import { mirrorEndpoints, peerEndpoint, registryEndpoint, type Endpoint } from './endpoint.js';
import { defaultAttemptsMax, defaultRetryDelayMs, type RegistryContext } from './context.js';
import { fetchBlob, SharingPeers } from './layer-sources.js';

const indexDepthMax = 4;
/** A peer that fails is not asked again: the next one or the registry is. */
const peerAttemptsMax = 1;
/** Of a large cluster only so many are asked for a layer before the registry is. */
const sharingPeersMax = 8;

export interface PullRequest {
  /** With a tag or a digest. */
  reference: Reference;
  auth?: RegistryAuth;
  peers: readonly PeerSource[];
  /** This machine's when nobody asks for another. */
  platform?: Platform | undefined;
  progress: (line: Progress) => void;
  signal?: AbortSignal;
}

/** The tag as it is shown, or the digest. */
export function referenceSuffix({ tag, digest }: Reference): string {
  return digest ?? tag ?? 'latest';
}

export function clientFor(
  context: RegistryContext,
  endpoint: Endpoint,
  request: PullRequest,
): RegistryClient {
  const { attemptsMax = defaultAttemptsMax, retryDelayMs = defaultRetryDelayMs } = context.options;
  return new RegistryClient({
    endpoint,
    reference: request.reference,
    auth: request.auth,
    attemptsMax: endpoint.kind === 'peer' ? peerAttemptsMax : attemptsMax,
    retryDelayMs,
    signal: request.signal,
  });
}

/**
 * From the peers that have loaded the image themselves, else from a mirror, else from its registry; each layer then
 * from a peer that has it, whichever image brought it there. Rejects with the registry's own words; what the others
 * answered is in the log.
 */
export async function pullImage(
  context: RegistryContext,
  request: PullRequest,
  lease: Lease,
): Promise<ImageId> {
  const { reference, peers, signal } = request;
  const endpoints = peers.map((peer) => peerEndpoint(peer, reference, context.options));
  const isFinal = (error: unknown): boolean =>
    // A full disk or a caller who gave up will not be better at the next one.
    signal?.aborted === true || (error instanceof EnxameError && error.code === 'resource-exhausted');
  const complain = (place: string, error: unknown): void => {
    if (error instanceof EnxameError && error.code === 'not-found') return;
    context.log(`cannot pull ${familiarString(reference)} from ${place}`, error);
  };
  try {
    const clients = endpoints.map((endpoint) => clientFor(context, endpoint, request));
    // What another node has loaded is for its own platform.
    for (const client of request.platform === undefined ? clients : []) {
      try {
        return await new Pull(context, request, client, new SharingPeers([]), lease).run();
      } catch (error) {
        if (isFinal(error)) throw error;
        complain(client.endpoint.baseUrl, error);
      }
    }
    const sharing = new SharingPeers(clients.slice(0, sharingPeersMax));
    for (const endpoint of mirrorEndpoints(reference, context.options, context.dispatcher)) {
      try {
        return await new Pull(context, request, clientFor(context, endpoint, request), sharing, lease).run();
      } catch (error) {
        if (isFinal(error)) throw error;
        complain(endpoint.baseUrl, error);
      }
    }
    const registry = registryEndpoint(reference, context.options, context.dispatcher);
    return await new Pull(context, request, clientFor(context, registry, request), sharing, lease).run();
  } finally {
    await Promise.all(endpoints.map(({ dispatcher }) => dispatcher.destroy()));
  }
}

interface Resolved {
  manifest: Manifest;
  manifestDigest: Digest;
  topDigest: Digest;
  origin: Origin;
  indexes: { digest: Digest; mediaType: string }[];
}

/** One image from one place. */
class Pull {
  constructor(
    private readonly context: RegistryContext,
    private readonly request: PullRequest,
    readonly client: RegistryClient,
    readonly sharing: SharingPeers,
    private readonly lease: Lease,
  ) {}

  async run(): Promise<ImageId> {
    const { reference, progress } = this.request;
    const { storage } = this.context;
    const resolved = await this.resolve();
    progress({ status: `Pulling from ${reference.path}`, id: referenceSuffix(reference) });
    const configBytes = await this.config(resolved.manifest.config);
    const parts = this.parts(resolved, configBytes);
    const config = checkParts(parts);
    const before = storage.catalog.get(parts.configDigest as string as ImageId);
    await this.fetchLayers(resolved.manifest.layers, config);
    const names = { references: [reference], digest: resolved.topDigest, origin: resolved.origin };
    const id = await publish(storage, parts, config, names);
    progress({ status: `Digest: ${resolved.topDigest}` });
    const verb = before === undefined ? 'Downloaded newer image for' : 'Image is up to date for';
    progress({ status: `Status: ${verb} ${familiarString(reference)}` });
    return id;
  }

  private parts({ manifest, manifestDigest, indexes }: Resolved, configBytes: Buffer): ImageParts {
    const layers = manifest.layers.map(({ digest, size, mediaType, urls }) => ({
      digest,
      size,
      mediaType,
      ...(urls === undefined ? {} : { urls }),
    }));
    return {
      configDigest: manifest.config.digest,
      configBytes,
      manifest: { digest: manifestDigest, mediaType: manifest.mediaType, layers, indexes },
    };
  }

  /** From the name through indexes to the manifest for this machine; each is stored, for peers to ask for. */
  private async resolve(): Promise<Resolved> {
    const { reference } = this.request;
    const indexes: Resolved['indexes'] = [];
    let topDigest: Digest | undefined;
    let origin: Origin | undefined;
    let next = reference.digest ?? reference.tag ?? 'latest';
    for (;;) {
      const { bytes, digest, mediaType, origin: said } = await this.client.manifest(next);
      const document = parseManifest(bytes, mediaType);
      topDigest ??= digest;
      origin ??= said === 'local' ? 'local' : 'registry';
      if (this.client.endpoint.kind === 'peer' && reference.digest === undefined && origin !== 'local') {
        throw new EnxameError(
          'not-found',
          "the peer's image is its registry's: the registry knows the newest",
        );
      }
      this.lease.hold(digest);
      await this.context.storage.content.put(bytes);
      if (document.kind === 'manifest') {
        return { manifest: document, manifestDigest: digest, topDigest, origin, indexes };
      }
      indexes.push({ digest, mediaType: document.mediaType });
      const platform = this.request.platform ?? hostPlatform();
      const chosen = choosePlatform(document.manifests, platform);
      if (chosen === undefined || indexes.length > indexDepthMax) {
        throw new EnxameError(
          'not-found',
          `no matching manifest for ${platformText(platform)} in the manifest list entries`,
        );
      }
      next = chosen.digest;
    }
  }

  private async config({ digest, size }: Descriptor): Promise<Buffer> {
    const { content } = this.context.storage;
    this.lease.hold(digest);
    if (content.has(digest)) return content.read(digest, configBytesMax);
    if (size > configBytesMax) {
      throw new EnxameError(
        'invalid-argument',
        `the image config has ${size} bytes, at most ${configBytesMax} are allowed`,
      );
    }
    const bytes = await this.client.smallBlob(digest, configBytesMax);
    this.lease.hold(digestOf(bytes));
    await content.put(bytes);
    return bytes;
  }

  /** All layers at once, as far as the download limit goes. The first failure ends the others. */
  private async fetchLayers(layers: readonly Descriptor[], config: ImageConfig): Promise<void> {
    const abort = new AbortController();
    const signals = this.request.signal === undefined ? [abort.signal] : [abort.signal, this.request.signal];
    const signal = AbortSignal.any(signals);
    const work = layers.map(async (layer, i) => {
      try {
        await this.fetchLayer(layer, config.diffIds[i] ?? layer.digest, signal);
      } catch (error) {
        // What is cut off by this fails, too, but later: the first reason is the one that is told.
        abort.abort(error);
        throw error;
      }
    });
    // None may go on using the disk after this has returned.
    await Promise.allSettled(work);
    signal.throwIfAborted();
  }

  private async fetchLayer(layer: Descriptor, diffId: Digest, signal: AbortSignal): Promise<void> {
    const { storage, downloads } = this.context;
    const { progress } = this.request;
    const id = layer.digest.slice(7, 19);
    this.lease.hold(layer.digest);
    this.lease.hold(diffId);
    const isStored = storage.content.sizeOf(layer.digest) === layer.size;
    if (isStored && storage.layers.has(diffId)) {
      progress({ status: 'Already exists', progressDetail: {}, id });
      return;
    }
    progress({ status: 'Pulling fs layer', progressDetail: {}, id });
    let arriving: ArrivingLayer | undefined;
    const readAlong = (path: string): ArrivingLayer | undefined =>
      (arriving = storage.layers.arriving(diffId, path));
    await downloads.run(async () => {
      signal.throwIfAborted();
      await fetchBlob(this.context, this, layer, { signal, readAlong, progress });
    });
    progress({ status: 'Verifying Checksum', progressDetail: {}, id });
    progress({ status: 'Download complete', progressDetail: {}, id });
    progress({ status: 'Extracting', progressDetail: { current: layer.size, total: layer.size }, id });
    await arriving?.unpacked;
    await unpackLayer(storage, this.lease, { digest: layer.digest, diffId });
    progress({ status: 'Pull complete', progressDetail: {}, id });
  }
}
