/** Where a layer comes from: a peer that has it, the places that its manifest names, its registry. */
import { EnxameError } from '#libs/model';
import { isForeign, type Descriptor } from '../content/manifest.js';
import type { Progress } from '../port.js';
import type { RegistryClient } from './client.js';
import { downloadBlob, type DownloadOptions } from './download.js';
import { defaultAttemptsMax, defaultRetryDelayMs, type RegistryContext } from './context.js';

const progressPeriodMs = 100;
/** A peer's body that breaks off is gone on with once; then the next peer or the registry is asked. */
const peerAttemptsMax = 2;

/** Peers that are asked for single layers; one that fails otherwise than by not having one is not asked again. */
export class SharingPeers {
  private readonly failed = new Set<RegistryClient>();

  constructor(private readonly clients: readonly RegistryClient[]) {}

  *willing(): Generator<RegistryClient> {
    for (const client of this.clients) if (!this.failed.has(client)) yield client;
  }

  leaveOut(client: RegistryClient): void {
    this.failed.add(client);
  }
}

/** Whom to ask. */
export interface LayerSources {
  client: RegistryClient;
  sharing: SharingPeers;
}

export type FetchUse = Required<Pick<DownloadOptions, 'signal' | 'readAlong'>> & {
  progress: (line: Progress) => void;
};

/** Brings a layer's blob into the content store. Rejects with what the registry said last. */
export async function fetchBlob(
  context: RegistryContext,
  { client, sharing }: LayerSources,
  layer: Descriptor,
  use: FetchUse,
): Promise<void> {
  for (const peer of sharing.willing()) {
    const failure = await attempt(fromClient(context, peer, layer, use), use);
    if (failure === undefined) return;
    if (failure instanceof EnxameError && failure.code === 'not-found') continue;
    sharing.leaveOut(peer);
    context.log(`cannot take layer ${layer.digest} from ${peer.endpoint.baseUrl}`, failure);
  }
  for (const url of isForeign(layer) ? webUrls(layer) : []) {
    const own = client.withSignal(use.signal);
    const options = fromClient(context, client, layer, use);
    const failure = await attempt({ ...options, open: (from) => own.openUrl(url, from) }, use);
    if (failure === undefined) return;
    context.log(`cannot take layer ${layer.digest} from ${url.split('?')[0]}`, failure);
  }
  await downloadBlob(fromClient(context, client, layer, use));
}

function webUrls({ urls = [] }: Descriptor): string[] {
  return urls.filter((url) => URL.canParse(url) && ['http:', 'https:'].includes(new URL(url).protocol));
}

/** Undefined when it went well; why not, when another source may do better. */
async function attempt(options: DownloadOptions, { signal }: FetchUse): Promise<unknown> {
  try {
    await downloadBlob(options);
    return undefined;
  } catch (error) {
    if (signal.aborted || (error instanceof EnxameError && error.code === 'resource-exhausted')) throw error;
    return error;
  }
}

function fromClient(
  { storage, options }: RegistryContext,
  given: RegistryClient,
  layer: Descriptor,
  { signal, readAlong, progress }: FetchUse,
): DownloadOptions {
  const client = given.withSignal(signal);
  const isPeer = client.endpoint.kind === 'peer';
  let shownAtMs = 0;
  return {
    open: (from) => client.openBlob(layer.digest, from),
    bytesPerSecondMin: client.endpoint.bytesPerSecondMin,
    content: storage.content,
    blob: layer,
    attemptsMax: isPeer ? peerAttemptsMax : (options.attemptsMax ?? defaultAttemptsMax),
    retryDelayMs: options.retryDelayMs ?? defaultRetryDelayMs,
    nowMs: storage.nowMs,
    signal,
    readAlong,
    onProgress: (current) => {
      if (storage.nowMs() - shownAtMs < progressPeriodMs) return;
      shownAtMs = storage.nowMs();
      const id = layer.digest.slice(7, 19);
      progress({ status: 'Downloading', progressDetail: { current, total: layer.size }, id });
    },
  };
}
