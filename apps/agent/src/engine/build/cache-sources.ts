/** `--cache-from`: images whose history goes on from where a build stands the way its next step would. */
import type { Image, ImageStore, ImageWork, StoredLayer } from '#libs/images';
import type { ImageId } from '#libs/model';

export interface SourceStep {
  layer: StoredLayer | undefined;
  createdAtMs: number;
}

export function findInSources(
  images: Pick<ImageStore, 'find'>,
  work: Pick<ImageWork, 'hold' | 'layerOf'>,
  sources: readonly string[],
  parent: ImageId | undefined,
  createdBy: string,
): SourceStep | undefined {
  const base = parent === undefined ? undefined : images.find(parent);
  if (parent !== undefined && base === undefined) return undefined;
  for (const source of sources) {
    const image = images.find(source);
    const step = image && nextStep(image, base, createdBy);
    if (image === undefined || step === undefined) continue;
    work.hold(image.id);
    const layer = step.isEmpty ? undefined : work.layerOf(image.id, base?.layers.length ?? 0);
    if (!step.isEmpty && layer === undefined) continue;
    return { layer, createdAtMs: step.createdAtMs };
  }
  return undefined;
}

function nextStep(
  image: Image,
  base: Image | undefined,
  createdBy: string,
): { isEmpty: boolean; createdAtMs: number } | undefined {
  const past = base?.history ?? [];
  const next = image.history[past.length];
  if (next?.created_by !== createdBy) return undefined;
  const isSame =
    past.every((step, i) => step.created_by === image.history[i]?.created_by) &&
    (base?.layers ?? []).every((layer, i) => layer.diffId === image.layers[i]?.diffId);
  if (!isSame) return undefined;
  const createdAtMs = Date.parse(next.created ?? '');
  return { isEmpty: next.empty_layer === true, createdAtMs: Number.isNaN(createdAtMs) ? 0 : createdAtMs };
}
