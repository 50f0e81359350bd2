/** Brings one blob into the content store, going on where a broken connection stopped. */
import { EnxameError } from '#libs/model';
import type { BlobWriter, ContentStore } from '../content/content-store.js';
import type { Descriptor } from '../content/manifest.js';
import type { RegistryClient } from './client.js';
import { isWorthRetrying } from './errors.js';
import { pause, retryPauseMs } from './pause.js';

const rateWindowMs = 15_000;
/** A server that sends a byte per connection makes progress, but not for ever. */
const connectionsMax = 64;

export interface DownloadOptions {
  client: RegistryClient;
  content: ContentStore;
  blob: Pick<Descriptor, 'digest' | 'size'>;
  attemptsMax: number;
  retryDelayMs: number;
  nowMs: () => number;
  onProgress: (currentBytes: number) => void;
  signal?: AbortSignal;
}

/** Rejects with `data-damaged` when the bytes are not the ones the digest names; then nothing is stored. */
export async function downloadBlob(options: DownloadOptions): Promise<void> {
  const { content, blob } = options;
  if (content.sizeOf(blob.digest) === blob.size) return;
  const writer = await content.writer();
  try {
    await receiveAll(options, writer);
    if (writer.digest !== blob.digest) {
      throw new EnxameError('data-damaged', `filesystem layer verification failed for digest ${blob.digest}`);
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
  // Who sent it can send it again.
  await writer.commit({ durable: false });
}

async function receiveAll(options: DownloadOptions, writer: BlobWriter): Promise<void> {
  const { attemptsMax, retryDelayMs, signal, blob } = options;
  let failures = 0;
  let connections = 0;
  while (writer.sizeBytes < blob.size || (blob.size === 0 && failures === 0)) {
    const before = writer.sizeBytes;
    connections++;
    try {
      await receive(options, writer);
      if (writer.sizeBytes >= blob.size) return;
      throw new EnxameError(
        'unavailable',
        `the download of ${blob.digest} ended after ${writer.sizeBytes} of ${blob.size} bytes`,
      );
    } catch (error) {
      if (signal?.aborted === true || !isWorthRetrying(error)) throw error;
      // Attempts that bring something do not count against a long download over a bad line, but twice in vain do.
      failures = writer.sizeBytes > before ? 1 : failures + 1;
      if (failures >= attemptsMax || connections >= connectionsMax) throw error;
      await pause(retryPauseMs(failures, retryDelayMs), signal);
    }
  }
}

async function receive(options: DownloadOptions, writer: BlobWriter): Promise<void> {
  const { client, blob, nowMs, onProgress } = options;
  const { body, from } = await client.openBlob(blob.digest, writer.sizeBytes);
  if (from !== writer.sizeBytes) await writer.reset();
  let windowStartMs = nowMs();
  let windowBytes = 0;
  for await (const chunk of body) {
    if (writer.sizeBytes + chunk.length > blob.size) {
      throw new EnxameError(
        'data-damaged',
        `filesystem layer verification failed for digest ${blob.digest}: more than ${blob.size} bytes`,
      );
    }
    await writer.write(chunk);
    onProgress(writer.sizeBytes);
    windowBytes += chunk.length;
    const elapsedMs = nowMs() - windowStartMs;
    if (elapsedMs < rateWindowMs) continue;
    if (windowBytes * 1000 < client.endpoint.bytesPerSecondMin * elapsedMs) {
      throw new EnxameError(
        'unavailable',
        `the download of ${blob.digest} is too slow: ${windowBytes} bytes in ${elapsedMs} ms`,
      );
    }
    windowStartMs += elapsedMs;
    windowBytes = 0;
  }
}
