/** Brings one blob into a registry: not at all when it is there, by a mount when a neighbour has it, else by bytes. */
import { EnxameError, type Digest } from '#libs/model';
import type { Readable } from 'node:stream';
import { headerOf, type Answer, type BodySource, type RegistryClient } from './client.js';

/** Up to this a blob goes in one request; above it in pieces, each of which can be tried again alone. */
const monolithicBytesMax = 4 * 1024 * 1024;
const pieceBytes = 32 * 1024 * 1024;

export interface UploadOptions {
  client: RegistryClient;
  digest: Digest;
  sizeBytes: number;
  /** Repositories of the same registry that are known to hold the blob. */
  mountFrom: readonly string[];
  /** Bytes from `start` up to and without `end`. */
  read(start: number, end: number): Readable;
  onProgress(currentBytes: number): void;
}

export type UploadOutcome = { kind: 'exists' } | { kind: 'mounted'; from: string } | { kind: 'pushed' };

export async function uploadBlob(options: UploadOptions): Promise<UploadOutcome> {
  const { client, digest, mountFrom } = options;
  const url = client.blobUrl(digest);
  const head = await client.retried(async () => {
    const answer = await client.send('HEAD', url, {});
    await answer.body.dump();
    if (answer.statusCode !== 404) await client.expect(answer, [200]);
    return answer.statusCode;
  });
  if (head === 200) return { kind: 'exists' };
  const start = await client.retried(() => begin(client, mountFrom[0] && { digest, from: mountFrom[0] }));
  if (start.statusCode === 201 && mountFrom[0] !== undefined) return { kind: 'mounted', from: mountFrom[0] };
  await transfer(options, locationOf(client, start));
  return { kind: 'pushed' };
}

/** A registry that cannot mount says so by beginning an upload. */
async function begin(
  client: RegistryClient,
  mount: { digest: Digest; from: string } | '' | undefined,
): Promise<Answer> {
  const url = new URL(client.uploadsUrl());
  if (mount) {
    url.searchParams.set('mount', mount.digest);
    url.searchParams.set('from', mount.from);
  }
  const answer = await client.send('POST', url.href, { 'content-length': '0' });
  await client.expect(answer, mount ? [201, 202] : [202]);
  await answer.body.dump();
  return answer;
}

/** Where the next request of an upload goes; it stays with the registry unless the registry sends it elsewhere. */
function locationOf(client: RegistryClient, answer: Answer): URL {
  const location = headerOf(answer, 'location');
  try {
    if (location !== undefined) return new URL(location, client.endpoint.baseUrl);
  } catch {
    // Refused below, with what the registry said.
  }
  throw new EnxameError('unavailable', `the registry's upload has no place: ${JSON.stringify(location)}`);
}

async function transfer(options: UploadOptions, start: URL): Promise<void> {
  const { client, digest, sizeBytes, read, onProgress } = options;
  let at = start;
  if (sizeBytes > monolithicBytesMax) {
    for (let sent = 0; sent < sizeBytes; ) {
      const end = Math.min(sent + pieceBytes, sizeBytes);
      at = await sendPiece(options, at, sent, end);
      sent = end;
      onProgress(sent);
    }
  }
  const isWhole = sizeBytes <= monolithicBytesMax;
  await client.retried(async () => {
    const url = new URL(at);
    url.searchParams.set('digest', digest);
    const headers = {
      'content-type': 'application/octet-stream',
      'content-length': isWhole ? String(sizeBytes) : '0',
    };
    const source: BodySource | undefined = isWhole && sizeBytes > 0 ? () => read(0, sizeBytes) : undefined;
    const answer = await client.send('PUT', url.href, headers, source);
    // A second try of what had succeeded before its answer was lost.
    if (answer.statusCode === 404 && (await isThere(client, digest))) return answer.body.dump();
    await client.expect(answer, [201, 204]);
    await answer.body.dump();
  });
  onProgress(sizeBytes);
}

async function isThere(client: RegistryClient, digest: Digest): Promise<boolean> {
  const answer = await client.send('HEAD', client.blobUrl(digest), {});
  await answer.body.dump();
  return answer.statusCode === 200;
}

/** One piece; after a failure it goes on where the registry says that it is. */
async function sendPiece(options: UploadOptions, place: URL, from: number, end: number): Promise<URL> {
  const { client, read } = options;
  let at = place;
  let start = from;
  let attempts = 0;
  return client.retried(async () => {
    if (attempts++ > 0) {
      const status = await client.send('GET', at.href, {});
      await client.expect(status, [204]);
      await status.body.dump();
      start = receivedOf(status, from);
      at = locationOf(client, status);
      if (start >= end) return at;
    }
    const piece = start;
    const answer = await client.send(
      'PATCH',
      at.href,
      {
        'content-type': 'application/octet-stream',
        'content-range': `${piece}-${end - 1}`,
        'content-length': String(end - piece),
      },
      () => read(piece, end),
    );
    await client.expect(answer, [202]);
    await answer.body.dump();
    at = locationOf(client, answer);
    return at;
  });
}

/** `Range: 0-N`: N is the last byte the registry has. */
function receivedOf(answer: Answer, atLeast: number): number {
  const match = /^(?:bytes=)?0-(\d{1,15})$/.exec(headerOf(answer, 'range') ?? '');
  // Nothing at all is told as `0-0`, too.
  const last = Number(match?.[1] ?? 0);
  const received = last === 0 ? 0 : last + 1;
  if (received < atLeast) {
    throw new EnxameError('internal', `the registry lost a part of an upload: it has ${received} bytes`);
  }
  return received;
}
