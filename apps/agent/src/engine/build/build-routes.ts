/** `POST /build` and what belongs to it. */
import { parseFilters, type ApiRequest, type ApiResponse, type Route } from '#libs/docker-api';
import { tarOfFile, type ImageWork, type Progress, type SourceTree } from '#libs/images';
import { describeError, EnxameError } from '#libs/model';
import { Readable } from 'node:stream';
import { bytesOfLayers } from '../images/index.js';
import { Build, readDockerfile } from './build.js';
import { BuildOutput } from './build-output.js';
import { buildRequestOf, type BuildRequest } from './build-request.js';
import type { BuildDependencies } from './dependencies.js';
import { downloadFor, isUrl } from './download.js';
import { CommandFailure } from './run-step.js';

export function buildRoutes(deps: BuildDependencies): Route[] {
  const running = new Map<string, AbortController>();
  return [
    {
      method: 'POST',
      path: '/build',
      async handler(request, response) {
        const asked = buildRequestOf(request.query, request.headers);
        const abort = new AbortController();
        const signal = AbortSignal.any([abort.signal, request.signal]);
        if (asked.buildId !== '') running.set(asked.buildId, abort);
        const work = deps.images.work();
        try {
          await build(deps, { asked, work, signal, request, response });
        } finally {
          running.delete(asked.buildId);
          await work.end();
        }
      },
    },
    {
      method: 'POST',
      path: '/build/cancel',
      async handler(request, response) {
        const id = request.query.get('id') ?? '';
        if (id === '') throw new EnxameError('invalid-argument', 'build ID not provided');
        running.get(id)?.abort(new EnxameError('failed-precondition', 'the build was cancelled'));
        response.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/build/prune',
      async handler(request, response) {
        parseFilters(request.query.get('filters'), [
          'until',
          'id',
          'parent',
          'type',
          'description',
          'inuse',
          'shared',
          'private',
        ]);
        response.json(200, await pruneCache(deps));
      },
    },
  ];
}

interface RunningBuild {
  asked: BuildRequest;
  work: ImageWork;
  signal: AbortSignal;
  request: ApiRequest;
  response: ApiResponse;
}

async function build(deps: BuildDependencies, running: RunningBuild): Promise<void> {
  const { asked, work, signal, request, response } = running;
  const context = await readContext(asked, work, request, signal);
  // What is wrong with the Dockerfile is told with a status of its own, before anything was said.
  const { dockerfile, stages } = await readDockerfile(context, asked);
  const stream = response.stream(200, { 'Content-Type': 'application/json' });
  const send = (line: Progress | object): void => void stream.write(`${JSON.stringify(line)}\r\n`);
  const output = new BuildOutput(send, asked.quiet);
  try {
    await new Build(deps, { request: asked, work, context, output, signal }).run(dockerfile, stages);
  } catch (error) {
    const message = describeError(error);
    const code = error instanceof CommandFailure ? { code: error.exitCode } : {};
    send({ errorDetail: { ...code, message }, error: message });
  }
  stream.end();
}

async function readContext(
  asked: BuildRequest,
  work: ImageWork,
  request: ApiRequest,
  signal: AbortSignal,
): Promise<SourceTree> {
  if (asked.remote === '') {
    return work.sourceTree(work.unpacked(request.raw as AsyncIterable<Buffer>, 'the build context'));
  }
  request.raw.resume();
  if (!isUrl(asked.remote) || /\.git(?:#.*)?$/.test(asked.remote)) {
    throw new EnxameError(
      'not-implemented',
      `a build context from git is not available in this version: ${asked.remote}`,
    );
  }
  const { bytes, contentType } = await downloadFor(
    `error downloading remote context ${asked.remote}`,
    asked.remote,
    signal,
  );
  const isText = contentType.startsWith('text/plain');
  if (isText) asked.dockerfile = 'Dockerfile';
  const tar = isText ? tarOfFile('Dockerfile', bytes) : bytes;
  return work.sourceTree(work.unpacked(Readable.from([tar]), 'the build context'));
}

/** Steps of builds that lead to no image with a name, the newest first, until none is left. */
async function pruneCache({ images, inUse }: BuildDependencies): Promise<Record<string, unknown>> {
  const deleted: string[] = [];
  const sizeBefore = bytesOfLayers(images.list());
  for (;;) {
    const leaf = images
      .list()
      .find(
        ({ id, parent, tags, repoDigests }) =>
          parent !== undefined &&
          tags.length + repoDigests.length === 0 &&
          inUse(id) === undefined &&
          !deleted.includes(id) &&
          images.childrenOf(id).length === 0,
      );
    if (leaf === undefined) break;
    deleted.push(leaf.id);
    try {
      await images.remove(leaf.id, { force: false, inUse });
    } catch (error) {
      if (!(error instanceof EnxameError)) throw error;
    }
  }
  return { CachesDeleted: deleted, SpaceReclaimed: sizeBefore - bytesOfLayers(images.list()) };
}
