/** Which of several images of one name is for this machine. */
export interface Platform {
  architecture: string;
  os: string;
  variant?: string;
}

/** Node's names to Go's, which image manifests use. */
const architectureNames: Partial<Record<NodeJS.Architecture, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
};

export function hostPlatform(): Platform {
  return { os: 'linux', architecture: architectureNames[process.arch] ?? process.arch };
}

/** Whether an image is one for the platform; what does not say its variant is for all. */
export function fitsPlatform(image: Platform, wanted: Platform): boolean {
  if (image.os !== wanted.os || image.architecture !== wanted.architecture) return false;
  return isGeneric(wanted) || isGeneric(image) || image.variant === wanted.variant;
}

export function platformText({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== undefined && part !== '').join('/');
}

/**
 * The first candidate for the platform; the wanted variant, else the generic one (amd64 without v2, v3) wins over
 * special ones.
 */
export function choosePlatform<T extends { platform?: Platform }>(
  candidates: readonly T[],
  wanted: Platform,
): T | undefined {
  const fitting = candidates.filter(
    ({ platform }) => platform?.os === wanted.os && platform.architecture === wanted.architecture,
  );
  return (
    fitting.find(({ platform }) => wanted.variant !== undefined && platform?.variant === wanted.variant) ??
    fitting.find(({ platform }) => isGeneric(platform)) ??
    fitting[0]
  );
}

function isGeneric(platform: Platform | undefined): boolean {
  return platform?.variant === undefined || ['', 'v1', 'v8'].includes(platform.variant);
}
