/** Blobs and layers of images that are being made: not garbage, though no image names them yet. */
export class Leases {
  private readonly counts = new Map<string, number>();

  isHeld(digest: string): boolean {
    return this.counts.has(digest);
  }

  /** One piece of work's leases, given back together. */
  open(): Lease {
    return new Lease(this.counts);
  }
}

export class Lease {
  private readonly held = new Set<string>();

  constructor(private readonly counts: Map<string, number>) {}

  hold(digest: string): void {
    if (this.held.has(digest)) return;
    this.held.add(digest);
    this.counts.set(digest, (this.counts.get(digest) ?? 0) + 1);
  }

  /** Returns what was held, for the collector to look at. */
  release(): string[] {
    for (const digest of this.held) {
      const count = (this.counts.get(digest) ?? 1) - 1;
      if (count === 0) this.counts.delete(digest);
      else this.counts.set(digest, count);
    }
    const digests = [...this.held];
    this.held.clear();
    return digests;
  }
}
