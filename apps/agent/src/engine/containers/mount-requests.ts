/** `-v`, `--mount`, `--tmpfs` and the image's volumes, as mounts of the runtime. */
import { EnxameError } from '#libs/model';
import type { ContainerMount, VolumeStore } from '#libs/runtime';
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import type { HostConfigDto, MountDto } from './container-create.dto.js';

const anonymousNameBytes = 32;
const propagations = new Set(['private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared']);
/** Relabelling and caching ask for nothing on this kind of node. */
const harmlessModes = new Set(['z', 'Z', 'rw', 'consistent', 'cached', 'delegated', 'copy']);

export async function mountsOf(options: {
  host: HostConfigDto;
  /** Targets of `-v /path` and of the image's `VOLUME`. */
  volumeTargets: readonly string[];
  volumes: Pick<VolumeStore, 'create'>;
}): Promise<ContainerMount[]> {
  const { host, volumes } = options;
  const mounts: ContainerMount[] = [];
  for (const text of host.Binds ?? []) mounts.push(await bindOf(text, volumes));
  for (const mount of host.Mounts ?? []) mounts.push(await mountOf(mount, volumes));
  for (const [target, text] of Object.entries(host.Tmpfs ?? {})) mounts.push(tmpfsOf(target, text));
  const taken = new Set<string>();
  for (const mount of mounts) {
    checkTarget(mount.target);
    if (taken.has(trimmed(mount.target))) {
      throw new EnxameError('invalid-argument', `Duplicate mount point: ${mount.target}`);
    }
    taken.add(trimmed(mount.target));
  }
  for (const target of options.volumeTargets) {
    checkTarget(target);
    if (!taken.has(trimmed(target))) mounts.push(await volumeOf('', target, volumes));
  }
  return mounts;
}

async function bindOf(text: string, volumes: Pick<VolumeStore, 'create'>): Promise<ContainerMount> {
  const [source = '', target = '', modes = '', ...more] = text.split(':');
  if (source === '' || target === '' || more.length > 0) {
    throw new EnxameError('invalid-argument', `invalid volume specification: '${text}'`);
  }
  const asked = modes.split(',').filter((mode) => mode !== '');
  const unknown = asked.find(
    (mode) => mode !== 'ro' && mode !== 'nocopy' && !harmlessModes.has(mode) && !propagations.has(mode),
  );
  if (unknown !== undefined) throw new EnxameError('invalid-argument', `invalid mode: ${unknown}`);
  const readOnly = asked.includes('ro');
  if (!source.startsWith('/')) {
    return { ...(await volumeOf(source, target, volumes)), readOnly, copyUp: !asked.includes('nocopy') };
  }
  // As Docker: what `-v` names and is not there becomes a folder.
  await mkdir(source, { recursive: true });
  const propagation = asked.find((mode) => propagations.has(mode));
  return {
    type: 'bind',
    source,
    target,
    readOnly,
    recursive: true,
    ...(propagation === undefined ? {} : { propagation }),
  };
}

async function mountOf(mount: MountDto, volumes: Pick<VolumeStore, 'create'>): Promise<ContainerMount> {
  const { Target: target, Source: source = '', ReadOnly: readOnly = false } = mount;
  switch (mount.Type) {
    case 'bind': {
      if (!source.startsWith('/')) {
        throw new EnxameError(
          'invalid-argument',
          `invalid mount path: '${source}' mount path must be absolute`,
        );
      }
      if (mount.BindOptions?.CreateMountpoint === true) await mkdir(source, { recursive: true });
      const propagation = mount.BindOptions?.Propagation;
      return {
        type: 'bind',
        source,
        target,
        readOnly,
        recursive: mount.BindOptions?.NonRecursive !== true,
        ...(propagation ? { propagation } : {}),
      };
    }
    case 'volume': {
      if (mount.VolumeOptions?.Subpath) throw missing('VolumeOptions.Subpath');
      const driver = mount.VolumeOptions?.DriverConfig as
        | { Name?: string; Options?: object }
        | null
        | undefined;
      if ((driver?.Name && driver.Name !== 'local') || Object.keys(driver?.Options ?? {}).length > 0) {
        throw missing('VolumeOptions.DriverConfig');
      }
      const volume = await volumeOf(source, target, volumes, mount.VolumeOptions?.Labels ?? {});
      return { ...volume, readOnly, copyUp: mount.VolumeOptions?.NoCopy !== true };
    }
    case 'tmpfs':
      return {
        type: 'tmpfs',
        target,
        readOnly,
        ...(mount.TmpfsOptions?.SizeBytes ? { bytesMax: mount.TmpfsOptions.SizeBytes } : {}),
        ...(mount.TmpfsOptions?.Mode === undefined ? {} : { mode: mount.TmpfsOptions.Mode }),
      };
    default:
      throw missing(`a mount of type ${mount.Type}`);
  }
}

async function volumeOf(
  name: string,
  target: string,
  volumes: Pick<VolumeStore, 'create'>,
  labels: Record<string, string> = {},
): Promise<Extract<ContainerMount, { type: 'volume' }>> {
  const volume = await volumes.create({
    name: name || randomBytes(anonymousNameBytes).toString('hex'),
    labels,
    anonymous: name === '',
  });
  return { type: 'volume', name: volume.name, source: volume.source, target, readOnly: false, copyUp: true };
}

/** `--tmpfs /run:size=64k,mode=755,ro` */
function tmpfsOf(target: string, text: string): ContainerMount {
  const mount: Extract<ContainerMount, { type: 'tmpfs' }> = { type: 'tmpfs', target, readOnly: false };
  for (const option of text.split(',').filter((part) => part !== '')) {
    const [name = '', value = ''] = option.split('=');
    if (name === 'ro') mount.readOnly = true;
    else if (name === 'size') mount.bytesMax = sizeOf(value, option);
    else if (name === 'mode' && /^[0-7]{1,4}$/.test(value)) mount.mode = parseInt(value, 8);
    else if (!['rw', 'nosuid', 'nodev', 'noexec'].includes(name)) throw missing(`the tmpfs option ${option}`);
  }
  return mount;
}

/** `64m` in bytes. */
export function sizeOf(text: string, what: string): number {
  const match = /^(\d{1,15})([bkmgt]?)b?$/i.exec(text);
  if (match === null) throw new EnxameError('invalid-argument', `invalid size: ${what}`);
  return Number(match[1]) * 1024 ** Math.max(0, 'bkmgt'.indexOf((match[2] ?? '').toLowerCase() || 'b'));
}

function checkTarget(target: string): void {
  const isClean = target.startsWith('/') && trimmed(target) !== '/' && !target.split('/').includes('..');
  if (!isClean) {
    throw new EnxameError(
      'invalid-argument',
      `invalid mount target "${target}": must be an absolute path below / without ..`,
    );
  }
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, '') || '/' : path;
}

function missing(what: string): EnxameError {
  return new EnxameError('not-implemented', `${what} is not available in this version`);
}
