/** Local volumes: `/volumes`. */
import {
  anyValue,
  labelsMatch,
  parseFilters,
  queryFlag,
  validateBody,
  type Filters,
  type Route,
} from '#libs/docker-api';
import { EnxameError, isEnxameError } from '#libs/model';
import type { ContainerRuntime, LocalVolume, VolumeStore } from '#libs/runtime';
import { IsObject, IsOptional, IsString } from 'class-validator';
import { randomBytes } from 'node:crypto';
import { isPruned } from '../containers/change-routes.js';
import type { Notify } from '../containers/notices.js';
import { stringsOf } from '../containers/request/container-config.js';
import { flagOf } from '../images/index.js';
import { presentVolume, volumeLabels } from './volume-view.js';

class VolumeCreateDto {
  @IsOptional() @IsString() Name?: string;
  @IsOptional() @IsString() Driver?: string;
  @IsOptional() @IsObject() DriverOpts?: Record<string, unknown> | null;
  @IsOptional() @IsObject() Labels?: Record<string, unknown> | null;
  @IsOptional() @IsObject() ClusterVolumeSpec?: Record<string, unknown> | null;
}

export interface VolumeRouteDependencies {
  volumes: VolumeStore;
  runtime: Pick<ContainerRuntime, 'list'>;
  notify: Notify;
}

const listFilterNames = ['dangling', 'driver', 'label', 'name'] as const;
const pruneFilterNames = ['all', 'label', 'label!'] as const;
const anonymousNameBytes = 32;
/** Before this version a prune meant every volume that nobody uses. */
const pruneAnonymousSince = [1, 42] as const;

export function volumeRoutes(deps: VolumeRouteDependencies): Route[] {
  const { volumes } = deps;
  return [
    {
      method: 'GET',
      path: '/volumes',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), listFilterNames);
        const chosen = volumes.list().filter((volume) => matches(deps, volume, filters));
        response.json(200, { Volumes: chosen.map((volume) => presentVolume(volume)), Warnings: null });
      },
    },
    {
      method: 'POST',
      path: '/volumes/create',
      async handler(request, response) {
        const body = validateBody(VolumeCreateDto, (await request.json()) ?? {});
        if (body.ClusterVolumeSpec) {
          throw new EnxameError('not-implemented', 'cluster volumes are not available in this version');
        }
        const name = body.Name || randomBytes(anonymousNameBytes).toString('hex');
        const isNew = volumes.get(name) === undefined;
        const volume = await volumes.create({
          name,
          driver: body.Driver || 'local',
          options: stringsOf(body.DriverOpts, 'DriverOpts'),
          labels: stringsOf(body.Labels, 'Labels'),
          anonymous: !body.Name,
        });
        if (isNew) notice(deps, 'create', volume.name);
        response.json(201, presentVolume(volume));
      },
    },
    {
      method: 'POST',
      path: '/volumes/prune',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), pruneFilterNames);
        const [major, minor] = request.version;
        const isOld =
          major < pruneAnonymousSince[0] ||
          (major === pruneAnonymousSince[0] && minor < pruneAnonymousSince[1]);
        response.json(200, await prune(deps, filters, flagOf(filters, 'all', isOld)));
      },
    },
    {
      method: 'GET',
      path: '/volumes/:name',
      async handler(request, response) {
        const name = request.params['name'] ?? '';
        const volume = volumes.get(name);
        if (volume === undefined) throw new EnxameError('not-found', `get ${name}: no such volume`);
        response.json(200, presentVolume(volume));
      },
    },
    {
      method: 'DELETE',
      path: '/volumes/:name',
      async handler(request, response) {
        const name = request.params['name'] ?? '';
        try {
          await volumes.remove(name);
          notice(deps, 'destroy', name);
        } catch (error) {
          const isForgiven =
            isEnxameError(error) && error.code === 'not-found' && queryFlag(request.query, 'force');
          if (!isForgiven) throw error;
        }
        response.empty(204);
      },
    },
  ];
}

function notice({ notify }: VolumeRouteDependencies, action: string, name: string): void {
  notify({ type: 'volume', action, id: name, attributes: { driver: 'local' } });
}

/** Containers that mount it, running or not. */
export function usersOf(runtime: Pick<ContainerRuntime, 'list'>, name: string): number {
  return runtime
    .list()
    .filter(({ config }) => config.mounts.some((mount) => mount.type === 'volume' && mount.name === name))
    .length;
}

function matches(deps: VolumeRouteDependencies, volume: LocalVolume, filters: Filters): boolean {
  const dangling = flagOf(filters, 'dangling', undefined);
  return (
    anyValue(filters, 'name', (value) => nameMatches(volume.name, value)) &&
    anyValue(filters, 'driver', (value) => value === 'local') &&
    (dangling === undefined || dangling === (usersOf(deps.runtime, volume.name) === 0)) &&
    labelsMatch(filters, 'label', volumeLabels(volume))
  );
}

/** A regular expression, as in Docker; one that is none is taken word for word. */
function nameMatches(name: string, pattern: string): boolean {
  try {
    return pattern.length <= 200 && new RegExp(pattern).test(name);
  } catch {
    return name.includes(pattern);
  }
}

async function prune(
  deps: VolumeRouteDependencies,
  filters: Filters,
  all: boolean,
): Promise<Record<string, unknown>> {
  const { volumes, runtime, notify } = deps;
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const volume of volumes.list()) {
    if ((!all && !volume.anonymous) || usersOf(runtime, volume.name) > 0) continue;
    if (!isPruned(filters, volumeLabels(volume))) continue;
    const bytes = await volumes.sizeOf(volume.name);
    await volumes.remove(volume.name);
    notice(deps, 'destroy', volume.name);
    deleted.push(volume.name);
    reclaimed += bytes;
  }
  notify({ type: 'volume', action: 'prune', id: '', attributes: { reclaimed: String(reclaimed) } });
  return { VolumesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
}
