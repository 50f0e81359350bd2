/** Files that a build takes from elsewhere: `ADD http://...` and a context by its URL. */
import { EnxameError, describeError, type ErrorCode } from '#libs/model';

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

/** Rejects with words that name the URL without what may be a secret in it, and with what the server answered. */
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
    if (!answer.ok) throw await refusalOf(answer, shown);
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

const refusalCodes: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid-argument',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
};
const refusalBytesMax = 500;

/** In Docker's words: the status, and what the server said about it. */
async function refusalOf(answer: Response, shown: string): Promise<EnxameError> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > refusalBytesMax) break;
  }
  const said = Buffer.concat(chunks).toString('utf8', 0, refusalBytesMax).trim();
  return new EnxameError(
    refusalCodes[answer.status] ?? 'internal',
    `failed to GET ${shown} with status ${answer.status} ${answer.statusText}: ${said}`,
  );
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

/** As `download`; a failure says what it was for. */
export async function downloadFor(what: string, text: string, signal: AbortSignal): Promise<Download> {
  try {
    return await download(text, signal);
  } catch (error) {
    if (signal.aborted || !(error instanceof EnxameError)) throw error;
    throw new EnxameError(error.code, `${what}: ${error.message}`, { cause: error.cause });
  }
}
