/** Finds the container a client means: by full id, name, or the unique beginning of an id, in this order. */
import { EnxameError, type ContainerId } from '#libs/model';
import type { ContainerRuntime, ContainerState } from '#libs/runtime';

const prefixPattern = /^[0-9a-f]{1,64}$/;

export function findContainer(
  runtime: Pick<ContainerRuntime, 'get' | 'list'>,
  reference: string,
): ContainerState | undefined {
  // Most clients have the whole id, and there may be thousands of containers.
  const known = runtime.get(reference as ContainerId);
  if (known !== undefined) return known;
  const name = reference.startsWith('/') ? reference.slice(1) : reference;
  const all = runtime.list();
  const exact = all.find(({ config }) => config.name === name);
  if (exact !== undefined || !prefixPattern.test(reference)) return exact;
  const matches = all.filter(({ config }) => config.id.startsWith(reference));
  if (matches.length > 1) {
    throw new EnxameError('invalid-argument', `multiple IDs found with provided prefix: ${reference}`);
  }
  return matches[0];
}

/** Throws `not-found` in the words clients know. */
export function existingContainer(
  runtime: Pick<ContainerRuntime, 'get' | 'list'>,
  reference: string | undefined,
): ContainerState {
  const found = findContainer(runtime, reference ?? '');
  if (found === undefined) throw new EnxameError('not-found', `No such container: ${reference ?? ''}`);
  return found;
}
