/** `--platform linux/amd64`: what an image must be to be taken. */
import { fitsPlatform, hostPlatform, platformOf, platformText, type Image } from '#libs/images';
import { EnxameError } from '#libs/model';

type OwnPlatform = Pick<Image, 'architecture' | 'os' | 'variant'>;

export function checkPlatform(wanted: string, reference: string, image: OwnPlatform): void {
  const mismatch = (text: string): EnxameError =>
    new EnxameError(
      'not-found',
      `image with reference ${reference} was found but does not provide the specified platform (${text})`,
    );
  // Another system is one that the image is not for, whether or not there is such a system.
  if (/^(?!linux\/)[a-z0-9_.-]+\/[a-z0-9_.-]+(\/[a-z0-9_.-]+)?$/i.test(wanted)) throw mismatch(wanted);
  const platform = platformOf(wanted);
  if (platform === undefined || fitsPlatform(image, platform)) return;
  throw mismatch(platformText(platform));
}

/** An image of another machine's kind runs only where the kernel knows how; whoever did not ask for it is told. */
export function platformWarnings(wanted: string, image: OwnPlatform): string[] {
  const host = hostPlatform();
  if (wanted !== '' || fitsPlatform(image, host)) return [];
  return [
    `The requested image's platform (${platformText(image)}) does not match the detected host platform (${platformText(host)}) and no specific platform was requested`,
  ];
}
