/** Images as Docker's API shows them. */
import { rfc3339Nano, zeroTime } from '#libs/docker-api';
import type { Image, SearchResult } from '#libs/images';

export function presentSummary(image: Image, sharedBytes = -1): Record<string, unknown> {
  return {
    Containers: -1,
    Created: Math.floor(image.createdAtMs / 1000),
    Id: image.id,
    Labels: image.config.Labels ?? {},
    ParentId: image.parent ?? '',
    RepoDigests: image.repoDigests,
    RepoTags: image.tags,
    SharedSize: sharedBytes,
    Size: image.sizeBytes,
  };
}

export function presentImage(image: Image): Record<string, unknown> {
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.repoDigests,
    Parent: image.parent ?? '',
    Comment: image.history.at(-1)?.comment ?? '',
    Created: image.createdAtMs === 0 ? zeroTime : rfc3339Nano(image.createdAtMs),
    DockerVersion: image.dockerVersion,
    Author: image.author,
    Config: image.config,
    Architecture: image.architecture,
    ...(image.variant === undefined ? {} : { Variant: image.variant }),
    Os: image.os,
    Size: image.sizeBytes,
    GraphDriver: { Data: null, Name: 'overlay2' },
    RootFS: { Type: 'layers', Layers: image.layers.map(({ diffId }) => diffId) },
    Metadata: { LastTagTime: image.lastTaggedAtMs === 0 ? zeroTime : rfc3339Nano(image.lastTaggedAtMs) },
  };
}

/** Newest step first. Steps that change no file have no layer of their own. */
export function presentHistory(image: Image): Record<string, unknown>[] {
  const sizes = image.layers.map(({ sizeBytes }) => sizeBytes);
  const steps = image.history.map((step) => {
    const createdMs = Date.parse(step.created ?? '');
    return {
      Id: '<missing>',
      Created: Number.isNaN(createdMs) ? 0 : Math.floor(createdMs / 1000),
      CreatedBy: step.created_by ?? '',
      Tags: null as string[] | null,
      Size: step.empty_layer === true ? 0 : (sizes.shift() ?? 0),
      Comment: step.comment ?? '',
    };
  });
  const newest = steps.at(-1);
  if (newest !== undefined) {
    newest.Id = image.id;
    newest.Tags = image.tags;
  }
  return steps.toReversed();
}

export function presentSearchResult(result: SearchResult): Record<string, unknown> {
  return {
    star_count: result.starCount,
    is_official: result.isOfficial,
    name: result.name,
    is_automated: false,
    description: result.description,
  };
}

/** Each layer counts once, however many of the images share it. */
export function bytesOfLayers(images: readonly Image[]): number {
  const layers = new Map(
    images.flatMap((image) => image.layers.map((layer) => [layer.diffId, layer.sizeBytes] as const)),
  );
  return [...layers.values()].reduce((sum, size) => sum + size, 0);
}

/** Bytes of each image's layers that another image has, too. */
export function sharedSizes(images: readonly Image[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { layers } of images) {
    for (const { diffId } of layers) counts.set(diffId, (counts.get(diffId) ?? 0) + 1);
  }
  return new Map(
    images.map(({ id, layers }) => [
      id,
      layers
        .filter(({ diffId }) => (counts.get(diffId) ?? 0) > 1)
        .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    ]),
  );
}
