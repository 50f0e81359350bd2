/** What `docker rmi` takes away: Docker's rules as a plan, made without touching anything. */
import { EnxameError, type ImageId } from '#libs/model';
import type { Image, ImageUse } from '../port.js';
import {
  canonicalString,
  familiarName,
  familiarString,
  isDigest,
  parseReference,
  repositoryOf,
  withDefaultTag,
} from '../reference/reference.js';

export interface RemovalPlan {
  id: ImageId;
  /** Canonical names to take off, with the familiar form that is answered. */
  untag: { canonical: string; familiar: string }[];
  /** The image goes with its names. */
  deleteImage: boolean;
}

function conflict(message: string): EnxameError {
  return new EnxameError('conflict', `conflict: ${message}`);
}

function isId(text: string, image: Image): boolean {
  return isDigest(text)
    ? (image.id as string) === text
    : /^[a-f0-9]+$/.test(text) && image.id.slice(7).startsWith(text);
}

function named(familiar: string): { canonical: string; familiar: string } {
  return { canonical: canonicalString(parseReference(familiar)), familiar };
}

/** Throws `conflict` in Docker's words when only force would do, or not even that. */
export function planRemoval(
  text: string,
  image: Image,
  options: { force: boolean; use: ImageUse | undefined; hasChildren: boolean },
): RemovalPlan {
  const all = [...image.tags, ...image.repoDigests];
  const short = image.id.slice(7, 19);
  const plan = (untag: readonly string[], deleteImage: boolean): RemovalPlan => ({
    id: image.id,
    untag: untag.map(named),
    deleteImage,
  });
  // A name wins over an id that looks the same, as in every other place.
  const byName = nameAmong(text, all);
  if (byName === undefined && isId(text, image)) {
    const repositories = new Set(all.map((name) => repositoryOf(parseReference(name))));
    if (!options.force && (image.tags.length > 1 || repositories.size > 1)) {
      throw conflict(
        `unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
      );
    }
    if (options.hasChildren) {
      throw conflict(`unable to delete ${short} (cannot be forced) - image has dependent child images`);
    }
    const { use } = options;
    if (use?.running === true) {
      throw conflict(
        `unable to delete ${short} (cannot be forced) - image is being used by running container ${use.container.slice(0, 12)}`,
      );
    }
    if (use !== undefined && !options.force) {
      throw conflict(
        `unable to delete ${short} (must be forced) - image is being used by stopped container ${use.container.slice(0, 12)}`,
      );
    }
    // The layers below a stopped container stay with it: the image loses its names and goes with the container.
    return plan(all, use === undefined);
  }
  const name = byName ?? text;
  const repository = repositoryOf(parseReference(name));
  const othersTagged = image.tags.filter((tag) => tag !== name);
  // The digests of a repository go with its last tag.
  const digests = othersTagged.some((tag) => repositoryOf(parseReference(tag)) === repository)
    ? []
    : image.repoDigests.filter((digest) => repositoryOf(parseReference(digest)) === repository);
  const untag = [...new Set([name, ...digests])];
  const left = all.filter((other) => !untag.includes(other));
  if (left.length > 0) return plan(untag, false);
  if (options.use !== undefined && !options.force) {
    throw conflict(
      `unable to remove repository reference "${text}" (must force) - container ${options.use.container.slice(0, 12)} is using its referenced image ${short}`,
    );
  }
  return plan(untag, options.use === undefined && !options.hasChildren);
}

function nameAmong(text: string, names: readonly string[]): string | undefined {
  try {
    const reference = withDefaultTag(parseReference(text));
    const familiar =
      reference.digest === undefined
        ? familiarString(reference)
        : `${familiarName(reference)}@${reference.digest}`;
    return names.find((name) => name === familiar);
  } catch (error) {
    if (error instanceof EnxameError) return undefined;
    throw error;
  }
}
