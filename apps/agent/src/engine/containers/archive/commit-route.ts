/** `POST /commit`: an image of what a container has become. */
import { queryFlag, validateBody, type Route } from '#libs/docker-api';
import { applyChanges, type ImageRunConfig } from '#libs/images';
import { EnxameError, type ImageId } from '#libs/model';
import type { ContainerConfig, ContainerRuntime } from '#libs/runtime';
import { existingContainer } from '../container-lookup.js';
import type { ContainerRouteDependencies } from '../dependencies.js';
import { ContainerCreateDto } from '../request/create-body.dto.js';
import { shownConfig, type Shown } from '../request/shown-config.js';

export function commitRoute(deps: ContainerRouteDependencies): Route {
  const { runtime } = deps;
  return {
    method: 'POST',
    path: '/commit',
    async handler(request, response) {
      const { query } = request;
      const raw = await request.json();
      const reference = query.get('container') ?? '';
      if (reference === '') throw new EnxameError('invalid-argument', 'no container given to commit');
      const { config } = existingContainer(runtime, reference);
      const body = validateBody(ContainerCreateDto, raw ?? {});
      const changes = query.getAll('changes').filter((change) => change !== '');
      const made = applyChanges(runConfigOf(config, body), changes);
      const name = nameOf(query);
      const id = await withPause(runtime, config, queryFlag(query, 'pause', true), () =>
        makeImage(deps, config, {
          config: made,
          comment: query.get('comment') ?? '',
          author: query.get('author') ?? '',
          name,
        }),
      );
      deps.notify({
        type: 'container',
        action: 'commit',
        id: config.id,
        attributes: { comment: query.get('comment') ?? '', imageID: id, imageRef: name ?? '' },
      });
      response.json(201, { Id: id });
    },
  };
}

function nameOf(query: URLSearchParams): string | undefined {
  const repository = query.get('repo') ?? '';
  const tag = query.get('tag') ?? '';
  if (repository === '') return undefined;
  return tag === '' ? repository : `${repository}:${tag}`;
}

async function makeImage(
  deps: ContainerRouteDependencies,
  container: ContainerConfig,
  image: { config: ImageRunConfig; comment: string; author: string; name: string | undefined },
): Promise<ImageId> {
  const { images, runtime } = deps;
  const work = images.work();
  try {
    const parent = container.image.id as ImageId;
    work.hold(parent);
    const layer = await work.packLayer(runtime.upperDir(container.id));
    const shown = container.inspect?.config as { Cmd?: string[] | null } | undefined;
    const id = await work.addImage({
      parent,
      config: image.config,
      layer,
      createdAtMs: deps.nowMs(),
      createdBy: (shown?.Cmd ?? container.argv).join(' '),
      ...(image.comment === '' ? {} : { comment: image.comment }),
      ...(image.author === '' ? {} : { author: image.author }),
    });
    if (image.name !== undefined) await images.tag(id, image.name);
    return id;
  } finally {
    await work.end();
  }
}

/** What a container writes meanwhile would tear its files apart. */
async function withPause<T>(
  runtime: Pick<ContainerRuntime, 'get' | 'pause' | 'unpause'>,
  { id }: ContainerConfig,
  wanted: boolean,
  work: () => Promise<T>,
): Promise<T> {
  const state = runtime.get(id);
  if (!wanted || state?.phase !== 'running' || state.paused) return work();
  await runtime.pause(id);
  try {
    return await work();
  } finally {
    await runtime.unpause(id);
  }
}

const runFields = [
  'User',
  'ExposedPorts',
  'Env',
  'Cmd',
  'Healthcheck',
  'Volumes',
  'WorkingDir',
  'Entrypoint',
  'OnBuild',
  'Labels',
  'StopSignal',
  'Shell',
] as const;

/** The container's own, with what the body says over it. */
function runConfigOf(container: ContainerConfig, body: ContainerCreateDto): ImageRunConfig {
  const own = fieldsOf((container.inspect?.config ?? {}) as Shown);
  return fieldsOf(shownConfig(body, own, container.id)) as ImageRunConfig;
}

function fieldsOf(shown: Shown): ImageRunConfig {
  return Object.fromEntries(
    runFields.flatMap((name) => {
      const value = shown[name];
      return value === null || value === undefined || value === '' ? [] : [[name, value]];
    }),
  ) as ImageRunConfig;
}
