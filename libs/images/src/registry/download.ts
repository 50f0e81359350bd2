/** Brings one blob into the content store, going on where a broken connection stopped. */
import { EnxameError } from '#libs/model';
import type { BlobWriter, ContentStore } from '../content/content-store.js';
import type { Descriptor } from '../content/manifest.js';
import type { OpenedBlob } from './client.js';
import { isWorthRetrying, pauseMsAfter } from './errors.js';
import { pause, retryPauseMs } from './pause.js';

const rateWindowMs = 15_000;
/** A server that sends a byte per connection makes progress, but not for ever. */
const connectionsMax = 64;

export interface DownloadOptions {
  /** Opens the blob at an offset, or before it where that cannot be had. */
  open: (from: number) => Promise<OpenedBlob>;
  /** Below this rate over a while the download counts as stuck. */
  bytesPerSecondMin: number;
  content: ContentStore;
  blob: Pick<Descriptor, 'digest' | 'size'>;
  attemptsMax: number;
  retryDelayMs: number;
  nowMs: () => number;
  onProgress: (currentBytes: number) => void;
  signal?: AbortSignal;
  /** Offered the file while it grows. */
  readAlong?: (path: string) => FileReader | undefined;
}

/** Somebody who reads a file that is still being written. */
export interface FileReader {
  grown(): void;
  /** The bytes are all there, and they are the right ones. */
  whole(): void;
  abandon(): Promise<void>;
}

/** Rejects with `data-damaged` when the bytes are not the ones the digest names; then nothing is stored. */
export async function downloadBlob(options: DownloadOptions): Promise<void> {
  const { content, blob } = options;
  if (content.sizeOf(blob.digest) === blob.size) return;
  const writer = await content.writer();
  const reader = options.readAlong?.(writer.temporary);
  writer.onGrowth = () => reader?.grown();
  try {
    await receiveAll(options, writer).catch(async (error: unknown) => {
      await writer.abort();
      throw error;
    });
    if (writer.digest !== blob.digest) {
      await writer.abort();
      throw new EnxameError('data-damaged', `filesystem layer verification failed for digest ${blob.digest}`);
    }
    // Who sent it can send it again.
    await writer.commit({ durable: false });
  } catch (error) {
    await reader?.abandon();
    throw error;
  }
  reader?.whole();
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
      await pause(pauseMsAfter(error, retryPauseMs(failures, retryDelayMs)), signal);
    }
  }
}

async function receive(options: DownloadOptions, writer: BlobWriter): Promise<void> {
  const { blob, nowMs, onProgress } = options;
  const { body, from } = await options.open(writer.sizeBytes);
  // A server that knows no ranges begins again. What it sends a second time is not looked at: the digest tells.
  let repeatedBytes = writer.sizeBytes - from;
  const rate = new Rate(options.bytesPerSecondMin, nowMs);
  for await (const chunk of body) {
    const fresh = chunk.subarray(Math.min(repeatedBytes, chunk.length));
    repeatedBytes -= chunk.length - fresh.length;
    if (writer.sizeBytes + fresh.length > blob.size) {
      throw new EnxameError(
        'data-damaged',
        `filesystem layer verification failed for digest ${blob.digest}: more than ${blob.size} bytes`,
      );
    }
    if (fresh.length > 0) await writer.write(fresh);
    onProgress(writer.sizeBytes);
    const slow = rate.tooSlow(chunk.length);
    if (slow !== undefined) {
      throw new EnxameError('unavailable', `the download of ${blob.digest} is too slow: ${slow}`);
    }
  }
}

/** Whether bytes come fast enough, judged once in a while. */
class Rate {
  private windowStartMs: number;
  private windowBytes = 0;

  constructor(
    private readonly bytesPerSecondMin: number,
    private readonly nowMs: () => number,
  ) {
    this.windowStartMs = nowMs();
  }

  /** Counts what came; the rate in words when it is below the least. */
  tooSlow(bytes: number): string | undefined {
    this.windowBytes += bytes;
    const elapsedMs = this.nowMs() - this.windowStartMs;
    if (elapsedMs < rateWindowMs) return undefined;
    if (this.windowBytes * 1000 < this.bytesPerSecondMin * elapsedMs) {
      return `${this.windowBytes} bytes in ${elapsedMs} ms`;
    }
    this.windowStartMs += elapsedMs;
    this.windowBytes = 0;
    return undefined;
  }
}
