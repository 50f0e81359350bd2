/** `--platform linux/amd64`: what an image must be to be taken. */
import type { Image } from '#libs/images';
import { EnxameError } from '#libs/model';

const names: Readonly<Record<string, string>> = { x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64' };

export function checkPlatform(
  wanted: string,
  reference: string,
  image: Pick<Image, 'architecture' | 'os'>,
): void {
  if (wanted === '') return;
  const parts = wanted.toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part))) {
    throw new EnxameError(
      'invalid-argument',
      `"${wanted}": unknown operating system or architecture: invalid argument`,
    );
  }
  const [os, architecture] = parts.length === 1 ? ['linux', parts[0]] : parts;
  const normal = names[architecture ?? ''] ?? architecture;
  if ((os === image.os && normal === image.architecture) || (parts[0] === image.os && parts.length === 1))
    return;
  throw new EnxameError(
    'not-found',
    `image with reference ${reference} was found but does not provide the specified platform (${os}/${normal})`,
  );
}
