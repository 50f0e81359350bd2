/** `docker cp`, `docker export` and `docker diff`. */
import { queryFlag, type ApiRequest, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { userIn, type ContainerConfig, type ContainerRuntime } from '#libs/runtime';
import type { Stats } from 'node:fs';
import { basename, posix } from 'node:path';
import { PassThrough } from 'node:stream';
import { existingContainer } from '../container-lookup.js';
import type { ContainerRouteDependencies } from '../dependencies.js';
import { changesOf } from './changes.js';
import { decompressed } from './decompress.js';
import { packTree } from './pack-tree.js';
import { pathStatHeader } from './path-stat.js';
import { RootedTree, type Located } from './rooted-tree.js';
import { unpackTree } from './unpack-tree.js';

const statHeader = 'X-Docker-Container-Path-Stat';

export function archiveRoutes(deps: ContainerRouteDependencies): Route[] {
  const { runtime } = deps;
  const notify = (id: string, action: string): void => deps.notify({ type: 'container', action, id });
  return [
    {
      method: 'HEAD',
      path: '/containers/:id/archive',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const header = await runtime.withRoot(config.id, 'whole', (root) =>
          withTree(root, async (tree) => headerOf(tree, found(tree, request))),
        );
        response.empty(200, { [statHeader]: header });
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/archive',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        await runtime.withRoot(config.id, 'whole', (root) =>
          withTree(root, async (tree) => {
            const place = found(tree, request);
            const output = response.stream(200, {
              'Content-Type': 'application/x-tar',
              [statHeader]: headerOf(tree, place),
            });
            const as = nameInArchive(request);
            await packTree({ from: place, as, to: output, signal: request.signal });
          }),
        );
        notify(config.id, 'archive-path');
      },
    },
    {
      method: 'PUT',
      path: '/containers/:id/archive',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        await putArchive(runtime, config, request);
        notify(config.id, 'extract-to-dir');
        response.empty(200);
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/export',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        await runtime.withRoot(config.id, 'own', (root) =>
          withTree(root, async (tree) => {
            const output = response.stream(200, { 'Content-Type': 'application/octet-stream' });
            const place = tree.locate('/', { follow: false }) as Located & { stats: Stats };
            await packTree({ from: place, as: '', withoutTop: true, to: output, signal: request.signal });
          }),
        );
        notify(config.id, 'export');
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/changes',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const upper = runtime.upperDir(config.id);
        const changes = await runtime.withRoot(config.id, 'own', (merged) =>
          runtime.withRoot(config.id, 'image', async (image) => changesOf({ upper, image, merged })),
        );
        response.json(200, changes.length === 0 ? null : changes);
      },
    },
  ];
}

function pathOf(request: ApiRequest): string {
  const path = request.query.get('path') ?? '';
  if (path === '')
    throw new EnxameError('invalid-argument', "missing parameter: bad parameter: 'path' cannot be empty");
  return posix.resolve('/', path) + (path.endsWith('/') || path.endsWith('/.') ? '/' : '');
}

function found(tree: RootedTree, request: ApiRequest): Located & { stats: Stats } {
  const path = pathOf(request);
  const place = tree.locate(path, { follow: path.endsWith('/') });
  if (place?.stats === undefined) throw notFound(request);
  if (path.endsWith('/') && !place.stats.isDirectory())
    throw new EnxameError('invalid-argument', `not a directory: ${request.query.get('path')}`);
  return { ...place, stats: place.stats };
}

/**
 * What the client calls it: a link with a slash behind keeps its own name, the root goes without one, so that what is
 * below begins with one slash, and `/etc/.` means what is in it.
 */
function nameInArchive(request: ApiRequest): string {
  const asked = (request.query.get('path') ?? '').replace(/\/+$/, '');
  return asked === '' ? '' : posix.basename(asked);
}

function notFound(request: ApiRequest): EnxameError {
  return new EnxameError(
    'not-found',
    `Could not find the file ${request.query.get('path') ?? ''} in container ${request.params['id'] ?? ''}`,
  );
}

function headerOf(tree: RootedTree, place: Located & { stats: Stats }): string {
  const target = place.stats.isSymbolicLink() ? tree.locate(place.path, { follow: true }) : undefined;
  return pathStatHeader({
    name: place.path === '/' ? '/' : basename(place.path),
    stats: place.stats,
    linkTarget: target?.path ?? '',
  });
}

async function withTree<T>(root: string, use: (tree: RootedTree) => Promise<T>): Promise<T> {
  const tree = new RootedTree(root);
  try {
    return await use(tree);
  } finally {
    tree.close();
  }
}

async function putArchive(
  runtime: ContainerRuntime,
  config: ContainerConfig,
  request: ApiRequest,
): Promise<void> {
  const path = pathOf(request);
  await runtime.withRoot(config.id, 'whole', async (root) => {
    const into = await withTree(root, async (tree) => {
      const place = tree.locate(path, { follow: true });
      if (place?.stats === undefined) throw notFound(request);
      if (!place.stats.isDirectory())
        throw new EnxameError('invalid-argument', 'extraction point is not a directory');
      return place.path;
    });
    refuseReadOnly(config, into);
    // Docker's name for it says the contrary of what it does.
    const owner = queryFlag(request.query, 'copyUIDGID') ? ownerOf(root, config) : undefined;
    const source = new PassThrough();
    // Together: a client that leaves fails both, and neither failure may be left without a listener.
    await Promise.all([
      decompressed(request.raw, source),
      unpackTree({
        root,
        into,
        from: source,
        noOverwriteDirNonDir: queryFlag(request.query, 'noOverwriteDirNonDir'),
        owner,
      }),
    ]);
  });
}

/** Whom the container runs as; undefined when nobody said: then the archive says whose its files are. */
function ownerOf(root: string, config: ContainerConfig): { uid: number; gid: number } | undefined {
  if (config.user === '') return undefined;
  const { uid, gid } = userIn(root, config.user);
  return { uid, gid };
}

/** A mount answers for what is below it; above all mounts, the root does. */
function refuseReadOnly(config: ContainerConfig, path: string): void {
  const inside = config.mounts
    .filter(({ target }) => path === target || path.startsWith(`${target.replace(/\/+$/, '')}/`))
    .sort((a, b) => b.target.length - a.target.length)[0];
  if (inside?.readOnly === true) throw new EnxameError('forbidden', 'mounted volume is marked read-only');
  if (inside === undefined && config.readOnlyRootfs)
    throw new EnxameError('forbidden', 'container rootfs is marked read-only');
}
