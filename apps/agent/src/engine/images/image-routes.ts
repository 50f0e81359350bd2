/** Docker's image routes over the node's image store. Everything here is about this node alone. */
import {
  labelsMatch,
  parseFilters,
  parseRegistryAuth,
  queryFlag,
  type Filters,
  type ApiRequest,
  type ApiResponse,
  type Route,
} from '#libs/docker-api';
import { platformOf, type Image, type ImageStore, type ImageUse, type PeerSource } from '#libs/images';
import { EnxameError, type ImageId, type RegistryAuth } from '#libs/model';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { download } from '../build/download.js';
import { flagOf, listFilterNames, pruneFilterNames, selectImages, untilMsOf } from './image-filters.js';
import { searchOf } from './image-search.js';
import {
  bytesOfLayers,
  presentHistory,
  presentImage,
  presentSearchResult,
  presentSummary,
  sharedSizes,
} from './image-views.js';
import { streamProgress } from './progress-stream.js';

export interface ImageRouteDependencies {
  images: ImageStore;
  /** The container of this node that was made of the image; a running one before others. */
  inUse(id: ImageId): ImageUse | undefined;
  /** Nodes that may hold what this one does not. */
  peersFor(reference: string): Promise<PeerSource[]>;
  nowMs(): number;
}

function authOf(request: ApiRequest): RegistryAuth | undefined {
  return parseRegistryAuth([request.headers['x-registry-auth'] ?? []].flat()[0]);
}

export function imageRoutes(deps: ImageRouteDependencies): Route[] {
  const { images } = deps;
  return [
    {
      method: 'GET',
      path: '/images/json',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), listFilterNames);
        const chosen = selectImages(images, filters, deps.nowMs()).filter(
          // Steps of builds that others were built on are shown on request only.
          ({ id, tags, repoDigests }) =>
            queryFlag(request.query, 'all') ||
            tags.length + repoDigests.length > 0 ||
            images.childrenOf(id).length === 0,
        );
        const shared = queryFlag(request.query, 'shared-size') ? sharedSizes(images.list()) : undefined;
        response.json(
          200,
          chosen.map((image) => presentSummary(image, shared?.get(image.id))),
        );
      },
    },
    {
      method: 'GET',
      path: '/images/:name+/json',
      handler: async (request, response) => response.json(200, presentImage(existing(images, request))),
    },
    {
      method: 'GET',
      path: '/images/:name+/history',
      handler: async (request, response) => response.json(200, presentHistory(existing(images, request))),
    },
    {
      method: 'POST',
      path: '/images/load',
      async handler(request, response) {
        const quiet = queryFlag(request.query, 'quiet');
        await streamProgress(response, async ({ write }) => {
          await images.load(request.raw, (line) => {
            if (!quiet || line.stream !== undefined) write(line);
          });
        });
      },
    },
    {
      method: 'GET',
      path: '/images/get',
      async handler(request, response) {
        const names = request.query.getAll('names').filter((name) => name !== '');
        if (names.length === 0) throw new EnxameError('invalid-argument', 'names must not be empty');
        await sendArchive(images, names, request, response);
      },
    },
    {
      method: 'GET',
      path: '/images/:name+/get',
      handler: (request, response) => sendArchive(images, [nameOf(request)], request, response),
    },
    {
      method: 'POST',
      path: '/images/:name+/push',
      async handler(request, response) {
        const tag = request.query.get('tag') ?? '';
        const name = tag === '' ? nameOf(request) : `${nameOf(request)}:${tag}`;
        const auth = authOf(request);
        await streamProgress(response, async ({ write }) => {
          await images.push(name, { auth, progress: write, signal: request.signal });
        });
      },
    },
    {
      method: 'GET',
      path: '/images/search',
      async handler(request, response) {
        const auth = authOf(request);
        const search = searchOf(request.query);
        const found = await images.search({ ...search, auth, signal: request.signal });
        response.json(200, found.filter(search.accepts).map(presentSearchResult));
      },
    },
    {
      method: 'POST',
      path: '/images/create',
      async handler(request, response) {
        if ((request.query.get('fromSrc') ?? '') !== '') return importImage(images, request, response);
        const { name, isRepository } = pullReferenceOf(request.query);
        const platform = platformOf(request.query.get('platform') ?? '');
        const auth = authOf(request);
        const { signal } = request;
        await streamProgress(response, async ({ write }) => {
          const references = isRepository
            ? (await images.remoteTags(name, { auth, signal })).map((tag) => `${name}:${tag}`)
            : [name];
          for (const reference of references) {
            const peers = await deps.peersFor(reference);
            await images.pull(reference, { auth, peers, platform, progress: write, signal });
          }
        });
      },
    },
    {
      method: 'POST',
      path: '/images/:name+/tag',
      async handler(request, response) {
        const repository = request.query.get('repo') ?? '';
        const tag = request.query.get('tag') ?? '';
        if (repository === '') throw new EnxameError('invalid-argument', 'repo must not be empty');
        await images.tag(nameOf(request), tag === '' ? repository : `${repository}:${tag}`);
        response.empty(201);
      },
    },
    {
      method: 'DELETE',
      path: '/images/:name+',
      async handler(request, response) {
        const force = queryFlag(request.query, 'force');
        const keepParents = queryFlag(request.query, 'noprune');
        const inUse = (id: ImageId): ImageUse | undefined => deps.inUse(id);
        response.json(200, await images.remove(nameOf(request), { force, keepParents, inUse }));
      },
    },
    {
      method: 'POST',
      path: '/images/prune',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), pruneFilterNames);
        response.json(200, await prune(deps, filters));
      },
    },
    {
      method: 'GET',
      path: '/distribution/:name+/json',
      async handler(request, response) {
        const name = nameOf(request);
        const auth = authOf(request);
        const peers = await deps.peersFor(name);
        const { mediaType, digest, size, platforms } = await images.describeRemote(name, auth, peers);
        response.json(200, { Descriptor: { mediaType, digest, size }, Platforms: platforms });
      },
    },
  ];
}

function nameOf(request: ApiRequest): string {
  return request.params['name'] ?? '';
}

function existing(images: ImageStore, request: ApiRequest): Image {
  const name = nameOf(request);
  const image = images.find(name);
  if (image === undefined) throw new EnxameError('not-found', `No such image: ${name}`);
  return image;
}

/** `docker import`: from the request's body, or from a URL. */
async function importImage(images: ImageStore, request: ApiRequest, response: ApiResponse): Promise<void> {
  const { query } = request;
  const source = query.get('fromSrc') ?? '-';
  const repository = query.get('repo') ?? '';
  const tag = query.get('tag') ?? '';
  const reference = repository === '' ? undefined : tag === '' ? repository : `${repository}:${tag}`;
  const platform = platformOf(query.get('platform') ?? '');
  const options = {
    ...(platform === undefined ? {} : { architecture: platform.architecture }),
    ...(reference === undefined ? {} : { reference }),
    changes: query.getAll('changes').filter((change) => change !== ''),
    message: query.get('message') ?? '',
  };
  await streamProgress(response, async ({ write }) => {
    let archive = request.raw;
    if (source !== '-') {
      request.raw.resume();
      const { bytes } = await download(/^https?:/.test(source) ? source : `http://${source}`, request.signal);
      archive = Readable.from([bytes]);
    }
    write({ status: await images.importArchive(archive, options) });
  });
}

async function sendArchive(
  images: ImageStore,
  names: readonly string[],
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const archive = await images.save(names);
  const output = response.stream(200, { 'Content-Type': 'application/x-tar' });
  try {
    await pipeline(archive, output, { signal: request.signal });
  } catch (error) {
    // The head is out: a connection that breaks is all that can tell that the archive is not whole.
    output.destroy();
    if (!request.signal.aborted) throw error;
  }
}

/** `fromImage` and `tag` as one reference; a repository alone means all of its tags. */
function pullReferenceOf(query: URLSearchParams): { name: string; isRepository: boolean } {
  const name = query.get('fromImage') ?? '';
  if (name === '') throw new EnxameError('invalid-argument', 'fromImage must not be empty');
  const tag = query.get('tag') ?? '';
  if (tag !== '') {
    return { name: `${name}${tag.startsWith('sha256:') ? '@' : ':'}${tag}`, isRepository: false };
  }
  const last = name.slice(name.lastIndexOf('/') + 1);
  return { name, isRepository: !last.includes(':') && !last.includes('@') };
}

/** Removes images that no container was made of: those without a tag, or with `dangling=false` all. */
async function prune(
  { images, inUse, nowMs }: ImageRouteDependencies,
  filters: Filters,
): Promise<Record<string, unknown>> {
  const onlyDangling = flagOf(filters, 'dangling', true);
  const untilMs = untilMsOf(filters, nowMs());
  const excluded = filters.get('label!');
  const before = images.list();
  const removed: object[] = [];
  for (const { id } of before) {
    const image = images.find(id);
    // An image that others were built on is part of them.
    if (image === undefined || images.childrenOf(id).length > 0) continue;
    if (onlyDangling && image.tags.length > 0) continue;
    if (inUse(id) !== undefined || !labelsMatch(filters, 'label', image.config.Labels)) continue;
    if (untilMs !== undefined && image.createdAtMs >= untilMs) continue;
    const has = (label: string): boolean =>
      labelsMatch(new Map([['label', [label]]]), 'label', image.config.Labels);
    if (excluded?.some(has) === true) continue;
    removed.push(...(await images.remove(id, { force: true, inUse })));
  }
  return { ImagesDeleted: removed, SpaceReclaimed: bytesOfLayers(before) - bytesOfLayers(images.list()) };
}
