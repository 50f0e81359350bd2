/** Files that a build takes from elsewhere: `ADD http://...` and a context by its URL. */
import { EnxameError, describeError } from '#libs/model';

export interface Download {
  /** Last part of the URL's path; empty when there is none. */
  name: string;
  contentType: string;
  mtimeSeconds: number;
  bytes: Buffer;
}

const bytesMax = 2 * 1024 ** 3;

export function isUrl(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/** Rejects with `unavailable` in words that name the URL without what may be a secret in it. */
export async function download(text: string, signal: AbortSignal): Promise<Download> {
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw new EnxameError('invalid-argument', `invalid URL: ${JSON.stringify(text)}`, { cause: error });
  }
  const shown = `${url.origin}${url.pathname}`;
  try {
    const answer = await fetch(url, { signal, redirect: 'follow' });
    if (!answer.ok) {
      await answer.body?.cancel();
      throw new EnxameError(
        'unavailable',
        `Get "${shown}": server returned ${answer.status} ${answer.statusText}`,
      );
    }
    const modified = Date.parse(answer.headers.get('last-modified') ?? '');
    return {
      name: decodeURIComponent(url.pathname.slice(url.pathname.lastIndexOf('/') + 1)),
      contentType: answer.headers.get('content-type') ?? '',
      mtimeSeconds: Number.isNaN(modified) ? 0 : Math.floor(modified / 1000),
      bytes: await bounded(answer.body, shown),
    };
  } catch (error) {
    if (signal.aborted || error instanceof EnxameError) throw error;
    throw new EnxameError('unavailable', `Get "${shown}": ${describeError(error)}`, { cause: error });
  }
}

async function bounded(body: AsyncIterable<Uint8Array> | null, shown: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > bytesMax)
      throw new EnxameError('invalid-argument', `Get "${shown}": over ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
