/** The images that FROM and `COPY --from` name: those of this node, or pulled. */
import { fitsPlatform, platformOf, parseReference, platformText, type Image } from '#libs/images';
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
  async find(name: string, platformWord: string | undefined): Promise<Image | undefined> {
    if (name === 'scratch') return undefined;
    const { request, output, signal } = this.parts;
    const platform = platformOf(platformWord ?? '') ?? request.platform;
    const fits = (image: Image): boolean => platform === undefined || fitsPlatform(image, platform);
    const present = this.deps.images.find(name);
    if (present !== undefined && !request.pull && fits(present)) return present;
    const key = `${name} ${platform === undefined ? '' : platformText(platform)}`;
    const before = this.pulled.get(key);
    if (before !== undefined) return before;
    const auth = request.auths.get(parseReference(name).domain);
    const image = await this.deps.images.pull(name, {
      ...(auth === undefined ? {} : { auth }),
      peers: await this.deps.peersFor(name),
      platform,
      progress: (line) => output.progress(line),
      signal,
    });
    if (platform !== undefined && !fits(image)) {
      throw new EnxameError(
        'not-found',
        `image with reference ${name} was found but does not match the specified platform: wanted ${platformText(platform)}, actual: ${platformText(image)}`,
      );
    }
    this.pulled.set(key, image);
    return image;
  }
}
