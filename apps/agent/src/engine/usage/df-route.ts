/** `GET /system/df`: what images, containers and volumes take of this node's disk. */
import type { Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { Image, ImageStore } from '#libs/images';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import { presentSummary as presentContainerSummary } from '../containers/view/container-view.js';
import { presentSummary as presentImageSummary } from '../images/image-views.js';
import { usersOf } from '../volumes/volume-routes.js';
import { presentVolume } from '../volumes/volume-view.js';

export interface UsageDependencies {
  runtime: Pick<ContainerRuntime, 'list' | 'writtenBytes'>;
  images: Pick<ImageStore, 'list' | 'find'>;
  volumes: VolumeStore;
  nowMs(): number;
}

const kinds = ['container', 'image', 'volume', 'build-cache'] as const;
type Kind = (typeof kinds)[number];

export function dfRoute(deps: UsageDependencies): Route {
  return {
    method: 'GET',
    path: '/system/df',
    async handler(request, response) {
      const wanted = kindsOf(request.query.getAll('type'));
      response.json(200, {
        ...(wanted.has('image') ? imagesOf(deps) : { Images: null }),
        Containers: wanted.has('container') ? await containersOf(deps) : null,
        Volumes: wanted.has('volume') ? await volumesOf(deps) : null,
        BuildCache: wanted.has('build-cache') ? [] : null,
        BuilderSize: 0,
      });
    },
  };
}

function kindsOf(asked: readonly string[]): ReadonlySet<Kind> {
  if (asked.length === 0) return new Set(kinds);
  return new Set(
    asked.map((name) => {
      const known = kinds.find((kind) => kind === name);
      if (known === undefined) throw new EnxameError('invalid-argument', `unknown object type: ${name}`);
      return known;
    }),
  );
}

function imagesOf({ images, runtime }: UsageDependencies): Record<string, unknown> {
  const all = images.list();
  const owners = new Map<string, number>();
  for (const image of all) {
    for (const { diffId } of image.layers) owners.set(diffId, (owners.get(diffId) ?? 0) + 1);
  }
  const sizes = new Map(all.flatMap(({ layers }) => layers.map((layer) => [layer.diffId, layer.sizeBytes])));
  const sharedBytes = (image: Image): number =>
    image.layers.reduce(
      (sum, { diffId, sizeBytes }) => sum + ((owners.get(diffId) ?? 0) > 1 ? sizeBytes : 0),
      0,
    );
  return {
    LayersSize: [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0),
    Images: all.map((image) => ({
      ...presentImageSummary(image),
      SharedSize: sharedBytes(image),
      Containers: runtime.list().filter(({ config }) => config.image.id === image.id).length,
    })),
  };
}

async function containersOf({ runtime, images, nowMs }: UsageDependencies): Promise<object[]> {
  const shown: object[] = [];
  for (const state of runtime.list()) {
    const { id, reference } = state.config.image;
    shown.push(
      presentContainerSummary(state, {
        nowMs: nowMs(),
        exposed: [],
        ports: [],
        image: reference,
        sizes: {
          written: await runtime.writtenBytes(state.config.id),
          image: images.find(id)?.sizeBytes ?? 0,
        },
      }),
    );
  }
  return shown;
}

async function volumesOf({ volumes, runtime }: UsageDependencies): Promise<object[]> {
  const shown: object[] = [];
  for (const volume of volumes.list()) {
    const users = usersOf(runtime, volume.name);
    shown.push(presentVolume(volume, { bytes: await volumes.sizeOf(volume.name), users }));
  }
  return shown;
}
