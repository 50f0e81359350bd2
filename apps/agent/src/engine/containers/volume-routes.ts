/** Local volumes: `/volumes`. */
import {
  anyValue,
  labelsMatch,
  parseFilters,
  queryFlag,
  rfc3339Nano,
  validateBody,
  type Route,
} from '#libs/docker-api';
import { EnxameError, isEnxameError } from '#libs/model';
import type { LocalVolume } from '#libs/runtime';
import { IsObject, IsOptional, IsString } from 'class-validator';
import { randomBytes } from 'node:crypto';
import type { ContainerRouteDependencies } from './dependencies.js';

class VolumeCreateDto {
  @IsOptional() @IsString() Name?: string;
  @IsOptional() @IsString() Driver?: string;
  @IsOptional() @IsObject() DriverOpts?: Record<string, unknown> | null;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
  @IsOptional() @IsObject() ClusterVolumeSpec?: Record<string, unknown> | null;
}

const filterNames = ['dangling', 'driver', 'label', 'name'] as const;
const anonymousNameBytes = 32;

export function volumeRoutes({ volumes, runtime }: ContainerRouteDependencies): Route[] {
  const isUsed = (name: string): boolean =>
    runtime
      .list()
      .some(({ config }) => config.mounts.some((mount) => mount.type === 'volume' && mount.name === name));
  return [
    {
      method: 'GET',
      path: '/volumes',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), filterNames);
        const chosen = volumes
          .list()
          .filter(
            (volume) =>
              anyValue(filters, 'name', (value) => volume.name.includes(value)) &&
              anyValue(filters, 'driver', (value) => value === 'local') &&
              anyValue(
                filters,
                'dangling',
                (value) => ['true', '1'].includes(value) !== isUsed(volume.name),
              ) &&
              labelsMatch(filters, 'label', volume.labels),
          );
        response.json(200, { Volumes: chosen.map(presentVolume), Warnings: null });
      },
    },
    {
      method: 'POST',
      path: '/volumes/create',
      async handler(request, response) {
        const body = validateBody(VolumeCreateDto, (await request.json()) ?? {});
        if (body.Driver && body.Driver !== 'local') {
          throw new EnxameError(
            'not-implemented',
            `volume driver ${body.Driver} is not available in this version`,
          );
        }
        if (Object.keys(body.DriverOpts ?? {}).length > 0) {
          throw new EnxameError(
            'not-implemented',
            'options of local volumes are not available in this version',
          );
        }
        if (body.ClusterVolumeSpec) {
          throw new EnxameError('not-implemented', 'cluster volumes are not available in this version');
        }
        for (const value of Object.values(body.Labels ?? {})) {
          if (typeof value !== 'string')
            throw new EnxameError('invalid-argument', 'invalid Labels: must hold strings');
        }
        const volume = await volumes.create({
          name: body.Name || randomBytes(anonymousNameBytes).toString('hex'),
          labels: body.Labels ?? {},
          anonymous: !body.Name,
        });
        response.json(201, presentVolume(volume));
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
        try {
          await volumes.remove(request.params['name'] ?? '');
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

function presentVolume(volume: LocalVolume): Record<string, unknown> {
  return {
    CreatedAt: rfc3339Nano(volume.createdAtMs),
    Driver: 'local',
    Labels: Object.keys(volume.labels).length === 0 ? null : volume.labels,
    Mountpoint: volume.source,
    Name: volume.name,
    Options: null,
    Scope: 'local',
  };
}
