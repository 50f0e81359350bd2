/** What a registry says a name stands for now: for `service create`, which pins the digest it is told. */
import { EnxameError, type Digest } from '#libs/model';
import { configBytesMax, parseManifest } from '../content/manifest.js';
import { parseImageConfig } from '../content/image-config.js';
import type { PeerSource, RegistryAuth } from '../port.js';
import { familiarString, type Reference } from '../reference/reference.js';
import { peerEndpoint, registryEndpoint } from './endpoint.js';
import type { FetchedManifest, RegistryClient } from './client.js';
import type { RegistryContext } from './context.js';
import { clientFor, referenceSuffix } from './pull.js';

export interface RemoteDescription {
  mediaType: string;
  digest: Digest;
  size: number;
  platforms: { architecture: string; os: string; variant?: string }[];
}

export async function describeRemote(
  context: RegistryContext,
  { reference, auth }: { reference: Reference; auth?: RegistryAuth },
): Promise<RemoteDescription> {
  const endpoint = registryEndpoint(reference, context.options, context.dispatcher);
  const client = clientFor(context, endpoint, { reference, auth, peers: [], progress: () => undefined });
  return describe(client, await client.manifest(referenceSuffix(reference)));
}

/** What another node has loaded under this name; undefined when none has: then the registry is to be asked. */
export async function describeAtPeers(
  context: RegistryContext,
  { reference, peers }: { reference: Reference; peers: readonly PeerSource[] },
): Promise<RemoteDescription | undefined> {
  for (const peer of peers) {
    const endpoint = peerEndpoint(peer, reference, context.options);
    try {
      const client = clientFor(context, endpoint, { reference, peers: [], progress: () => undefined });
      const manifest = await client.manifest(referenceSuffix(reference));
      if (manifest.origin === 'local') return await describe(client, manifest);
    } catch (error) {
      if (error instanceof EnxameError && error.code === 'not-found') continue;
      context.log(`cannot ask ${peer.baseUrl} about ${familiarString(reference)}`, error);
    } finally {
      await endpoint.dispatcher.destroy();
    }
  }
  return undefined;
}

async function describe(client: RegistryClient, manifest: FetchedManifest): Promise<RemoteDescription> {
  const { bytes, digest, mediaType } = manifest;
  const document = parseManifest(bytes, mediaType);
  const common = { mediaType: document.mediaType, digest, size: bytes.length };
  if (document.kind === 'index') {
    const platforms = document.manifests.flatMap(({ platform }) => platform ?? []);
    // Attestations are listed as images for a platform that is none.
    return { ...common, platforms: platforms.filter(({ os }) => os !== 'unknown') };
  }
  const config = parseImageConfig(await client.smallBlob(document.config.digest, configBytesMax));
  return { ...common, platforms: [{ architecture: config.architecture, os: config.os }] };
}
