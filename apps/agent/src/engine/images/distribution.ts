/** The read half of the OCI distribution protocol over this node's own images, for the other nodes. */
import type { ApiRequest, ApiResponse, Route } from '#libs/docker-api';
import { isDigest, originHeader, type ImageStore } from '#libs/images';
import { EnxameError, type Digest } from '#libs/model';
import { pipeline } from 'node:stream/promises';

const defaultDomain = 'docker.io';
const manifestTypes =
  /^application\/vnd\.(?:oci\.image\.(?:manifest|index)\.v1|docker\.distribution\.manifest(?:\.list)?\.v2)\+json$/;

export function distributionRoutes(images: Pick<ImageStore, 'resolve' | 'readBlob'>): Route[] {
  const manifests = (request: ApiRequest, response: ApiResponse): Promise<void> =>
    sendManifest(images, request, response);
  const blobs = (request: ApiRequest, response: ApiResponse): Promise<void> => {
    const digest = request.params['digest'] ?? '';
    return send(images, request, response, isDigest(digest) ? digest : undefined, {});
  };
  return [
    { method: 'GET', path: '/v2/', handler: async (_request, response) => response.json(200, {}) },
    { method: 'GET', path: '/v2/:name+/manifests/:reference', handler: manifests },
    { method: 'HEAD', path: '/v2/:name+/manifests/:reference', handler: manifests },
    { method: 'GET', path: '/v2/:name+/blobs/:digest', handler: blobs },
    { method: 'HEAD', path: '/v2/:name+/blobs/:digest', handler: blobs },
  ];
}

async function sendManifest(
  images: Pick<ImageStore, 'resolve' | 'readBlob'>,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const reference = request.params['reference'] ?? '';
  // `ns` says which registry the name is of, as containerd tells its mirrors.
  const repository = `${request.query.get('ns') ?? defaultDomain}/${request.params['name'] ?? ''}`;
  const named = images.resolve(`${repository}${isDigest(reference) ? '@' : ':'}${reference}`);
  const digest = named?.digest ?? (isDigest(reference) ? reference : undefined);
  await send(images, request, response, digest, { manifest: true, origin: named?.origin });
}

async function send(
  images: Pick<ImageStore, 'readBlob'>,
  request: ApiRequest,
  response: ApiResponse,
  digest: Digest | undefined,
  options: { manifest?: boolean; origin?: string },
): Promise<void> {
  const from = rangeStartOf(request);
  const blob = digest === undefined ? undefined : images.readBlob(digest, from);
  if (
    digest === undefined ||
    blob === undefined ||
    (options.manifest === true && !manifestTypes.test(blob.mediaType))
  ) {
    blob?.stream.destroy();
    const code = options.manifest === true ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN';
    response.json(404, {
      errors: [{ code, message: `${code.toLowerCase().replace('_', ' ')} on this node` }],
    });
    return;
  }
  if (from > 0 && from >= blob.sizeBytes) {
    blob.stream.destroy();
    throw new EnxameError('invalid-argument', `the range begins after the blob's ${blob.sizeBytes} bytes`);
  }
  const headers: Record<string, string> = {
    'Content-Type': blob.mediaType,
    'Content-Length': String(blob.sizeBytes - from),
    'Docker-Content-Digest': digest,
    'Accept-Ranges': 'bytes',
    ...(from > 0 ? { 'Content-Range': `bytes ${from}-${blob.sizeBytes - 1}/${blob.sizeBytes}` } : {}),
    ...(options.origin === undefined ? {} : { [originHeader]: options.origin }),
  };
  if (request.method === 'HEAD') {
    blob.stream.destroy();
    response.empty(200, headers);
    return;
  }
  try {
    await pipeline(blob.stream, response.stream(from > 0 ? 206 : 200, headers), { signal: request.signal });
  } catch (error) {
    // The head is sent, so a shorter body is all the answer there can be; the reader checks digest and length.
    if (!request.signal.aborted) throw error;
  }
}

/** `bytes=N-`, the only range a resumed download asks for; others are ignored, as the protocol allows. */
function rangeStartOf(request: ApiRequest): number {
  const match = /^bytes=(\d{1,15})-$/.exec(request.headers.range ?? '');
  return match === null ? 0 : Number(match[1]);
}
