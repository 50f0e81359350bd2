/** The images that FROM and `COPY --from` name: those of this node, or pulled. */
import { parseReference, type Image } from '#libs/images';
import { EnxameError } from '#libs/model';
import type { BuildParts } from './build.js';
import type { BuildDependencies } from './dependencies.js';

export class BaseImages {
  private readonly pulled = new Map<string, Image>();

  constructor(
    private readonly deps: BuildDependencies,
    private readonly parts: Pick<BuildParts, 'request' | 'output' | 'signal' | 'work'>,
  ) {}

  /** Undefined for `scratch`. */
  async find(name: string, platform: string | undefined): Promise<Image | undefined> {
    if (name === 'scratch') return undefined;
    this.checkPlatform(platform);
    const { request, output, signal } = this.parts;
    const present = this.deps.images.find(name);
    if (present !== undefined && !request.pull) return present;
    const before = this.pulled.get(name);
    if (before !== undefined) return before;
    const auth = request.auths.get(parseReference(name).domain);
    const image = await this.deps.images.pull(name, {
      ...(auth === undefined ? {} : { auth }),
      peers: await this.deps.peersFor(name),
      progress: (line) => output.progress(line),
      signal,
    });
    this.pulled.set(name, image);
    return image;
  }

  private checkPlatform(platform: string | undefined): void {
    const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
    if (platform && !['linux', `linux/${architecture}`, architecture].includes(platform.toLowerCase())) {
      throw new EnxameError(
        'not-implemented',
        `building for the platform ${platform} is not available in this version: this node is linux/${architecture}`,
      );
    }
  }
}
