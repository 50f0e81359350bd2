/** Which nodes hold which images, from the lists their agents send. In memory only: every session begins with one. */
import type { NodeId } from '#libs/model';

export interface HeldImage {
  id: string;
  references: readonly string[];
}

/**
 * Short form of an image reference: Docker Hub's own prefixes go, a missing tag is `latest`, and of a reference
 * with a digest only the digest counts.
 */
export function comparableReference(reference: string): string {
  const digestAt = reference.indexOf('@');
  if (digestAt >= 0) return reference.slice(digestAt + 1);
  if (/^sha256:[0-9a-f]{64}$/.test(reference)) return reference;
  const familiar = reference.replace(/^(index\.)?docker\.io\//, '').replace(/^library\//, '');
  const lastPart = familiar.slice(familiar.lastIndexOf('/') + 1);
  return lastPart.includes(':') ? familiar : `${familiar}:latest`;
}

export class ImageLocations {
  readonly #byNode = new Map<NodeId, ReadonlySet<string>>();

  set(nodeId: NodeId, images: readonly HeldImage[]): void {
    const names = new Set<string>();
    for (const image of images) {
      names.add(image.id);
      for (const reference of image.references) names.add(comparableReference(reference));
    }
    this.#byNode.set(nodeId, names);
  }

  delete(nodeId: NodeId): void {
    this.#byNode.delete(nodeId);
  }

  /** Nodes that hold the image, in ascending order of id. */
  holders(reference: string): NodeId[] {
    const name = comparableReference(reference);
    return [...this.#byNode]
      .filter(([, names]) => names.has(name))
      .map(([nodeId]) => nodeId)
      .sort();
  }
}
