/** `POST /commit`: what a container has changed, as an image. */
import { queryFlag, type Route } from '#libs/docker-api';
import { applyChanges, parseReference, type Image, type ImageStore } from '#libs/images';
import { EnxameError } from '#libs/model';
import type { ContainerConfig, ContainerRuntime } from '#libs/runtime';
import { existingContainer } from '../containers/container-lookup.js';

export interface CommitDependencies {
  images: ImageStore;
  runtime: ContainerRuntime;
  nowMs(): number;
}

export function commitRoute({ images, runtime, nowMs }: CommitDependencies): Route {
  return {
    method: 'POST',
    path: '/commit',
    async handler(request, response) {
      const { query } = request;
      const body = await request.json();
      const { config, phase } = existingContainer(runtime, query.get('container') ?? '');
      const name = nameOf(query);
      const base = images.find(config.image.id);
      if (base === undefined) throw new EnxameError('not-found', `No such image: ${config.image.id}`);
      const own = runConfigOf(config, base.config, body);
      const changed = applyChanges(
        own,
        query
          .getAll('changes')
          .flatMap((text) => text.split('\n'))
          .filter(isChange),
      );
      const work = images.work();
      try {
        work.hold(base.id);
        const pauses = phase === 'running' && queryFlag(query, 'pause', true);
        const layer = await frozen(runtime, config, pauses, () =>
          work.packLayer(runtime.upperDir(config.id)),
        );
        const id = await work.addImage({
          parent: base.id,
          config: changed,
          layer,
          createdAtMs: nowMs(),
          createdBy: config.argv.join(' '),
          ...(query.get('comment') ? { comment: query.get('comment') ?? '' } : {}),
          ...(query.get('author') ? { author: query.get('author') ?? '' } : {}),
        });
        if (name !== undefined) await images.tag(id, name);
        response.json(201, { Id: id });
      } finally {
        await work.end();
      }
    },
  };
}

function isChange(text: string): boolean {
  return text.trim() !== '';
}

function nameOf(query: URLSearchParams): string | undefined {
  const repository = query.get('repo') ?? '';
  const tag = query.get('tag') ?? '';
  if (repository === '') return undefined;
  const name = tag === '' ? repository : `${repository}:${tag}`;
  if (parseReference(name).digest !== undefined) {
    throw new EnxameError('invalid-argument', 'cannot commit to digest reference');
  }
  return name;
}

/** A container that runs is stopped in its tracks meanwhile, so that its files fit each other. */
async function frozen<T>(
  runtime: ContainerRuntime,
  { id }: ContainerConfig,
  pauses: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (!pauses || runtime.get(id)?.paused === true) return work();
  await runtime.pause(id);
  try {
    return await work();
  } finally {
    await runtime.unpause(id);
  }
}

/** The container's configuration as an image's: what the image said, what the client said over it, what `body` adds. */
function runConfigOf(config: ContainerConfig, image: Image['config'], body: unknown): Image['config'] {
  const asked = recordOf(config.inspect?.config);
  const given = recordOf(body);
  const merged: Record<string, unknown> = { ...image };
  for (const name of ['Cmd', 'Entrypoint', 'ExposedPorts', 'Volumes', 'Healthcheck'] as const) {
    for (const value of [asked[name], given[name]]) {
      if (value === undefined || value === null) continue;
      const isMap = name === 'ExposedPorts' || name === 'Volumes';
      merged[name] = isMap ? { ...recordOf(merged[name]), ...recordOf(value) } : value;
    }
  }
  return {
    ...(merged as Image['config']),
    Env: [...new Map(config.env.map((line) => [line.split('=', 1)[0], line])).values()],
    Labels: { ...config.labels, ...(recordOf(given['Labels']) as Record<string, string>) },
    ...(config.workdir === '/' && image.WorkingDir === undefined ? {} : { WorkingDir: config.workdir }),
    ...(config.user === '' ? {} : { User: config.user }),
    ...(config.stopSignal === 'SIGTERM' && image.StopSignal === undefined
      ? {}
      : { StopSignal: config.stopSignal }),
  };
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
