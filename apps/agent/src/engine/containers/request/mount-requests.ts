/** `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes, as mounts of the runtime. */
import { EnxameError } from '#libs/model';
import { volumeSource, type ContainerConfig, type ContainerMount, type VolumeStore } from '#libs/runtime';
import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import type { HostConfigDto, MountDto } from './create-body.dto.js';
import { named } from './namespaces.js';
import { tmpfsOf } from './tmpfs-options.js';

const anonymousNameBytes = 32;
const propagations = new Set(['private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared']);
/** Relabelling and caching ask for nothing on this kind of node. */
const harmlessModes = new Set(['z', 'Z', 'rw', 'consistent', 'cached', 'delegated', 'default', 'copy']);

export interface MountRequest {
  host: HostConfigDto;
  /** Targets of `-v /path` and of the image's `VOLUME`. */
  volumeTargets: readonly string[];
  volumes: Pick<VolumeStore, 'create' | 'get'>;
  /** Folder of all that the node keeps. */
  nodeRoot: string;
  /** Throws `not-found`. */
  find(reference: string): ContainerConfig;
}

/** Later requests for a place win over those before: volumes-from, binds, mounts; the image's volumes come last. */
export async function mountsOf(request: MountRequest): Promise<ContainerMount[]> {
  const { host, volumes } = request;
  const asked: ContainerMount[] = [];
  for (const text of host.Binds ?? []) asked.push(await bindOf(text, volumes, host.VolumeDriver));
  for (const mount of host.Mounts ?? []) asked.push(await mountOf(mount, volumes));
  for (const [target, text] of Object.entries(host.Tmpfs ?? {})) {
    const wrong = wrongTarget(target);
    if (wrong !== undefined)
      throw new EnxameError('invalid-argument', `invalid mount config for type "tmpfs": ${wrong}`);
    asked.push(tmpfsOf(target, text));
  }
  const taken = new Set<string>();
  for (const { target } of asked) {
    checkTarget(target);
    if (taken.has(trimmed(target)))
      throw new EnxameError('invalid-argument', `Duplicate mount point: ${target}`);
    taken.add(trimmed(target));
  }
  const mounts = asked.map((mount) => besideNodeRoot(cleaned(mount), request.nodeRoot));
  for (const text of host.VolumesFrom ?? []) {
    for (const mount of mountsFrom(text, request)) {
      if (taken.has(trimmed(mount.target))) continue;
      taken.add(trimmed(mount.target));
      mounts.push(mount);
    }
  }
  for (const target of request.volumeTargets) {
    checkTarget(target);
    if (taken.has(trimmed(target))) continue;
    taken.add(trimmed(target));
    mounts.push({ ...(await volumeOf('', target, volumes, { driver: host.VolumeDriver })), mode: '' });
  }
  return mounts;
}

/** What is not asked for as `--tmpfs` shows its place without a slash at the end. */
function cleaned(mount: ContainerMount): ContainerMount {
  return mount.type === 'tmpfs' ? mount : { ...mount, target: trimmed(mount.target) };
}

/**
 * What shows the node's own folder, or lies in it, must see mounts go there: a copy that keeps them holds every
 * container's root for ever.
 */
function besideNodeRoot(mount: ContainerMount, nodeRoot: string): ContainerMount {
  if (mount.type !== 'bind') return mount;
  const isIn = (path: string, folder: string): boolean =>
    path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
  if (!isIn(mount.source, nodeRoot) && !isIn(nodeRoot, mount.source)) return mount;
  const { propagation } = mount;
  if (propagation === undefined) return { ...mount, propagation: 'rslave' };
  if (propagation === 'rslave' || propagation === 'rshared') return mount;
  throw new EnxameError(
    'invalid-argument',
    `invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, daemon root: "${nodeRoot}", bind mount source: "${mount.source}", propagation: "${propagation}"`,
  );
}

function mountsFrom(text: string, request: MountRequest): ContainerMount[] {
  const [reference = '', mode = 'rw', ...more] = text.split(':');
  if (reference === '' || more.length > 0)
    throw new EnxameError('invalid-argument', `invalid volumes-from specification: ${text}`);
  if (!['rw', 'ro', 'z', 'Z'].includes(mode))
    throw new EnxameError('invalid-argument', `invalid mode for volumes-from: ${mode}`);
  return named(reference, (name) => request.find(name))
    .mounts.filter((mount) => mount.type !== 'tmpfs')
    .map((mount) => (mode === 'ro' ? { ...mount, readOnly: true } : mount));
}

async function bindOf(
  text: string,
  volumes: MountRequest['volumes'],
  driver: string | undefined,
): Promise<ContainerMount> {
  const parts = text.split(':');
  const [source = '', target = '', mode = '', ...more] = parts;
  if (source === '' || target === '' || more.length > 0)
    throw new EnxameError('invalid-argument', `invalid volume specification: '${text}'`);
  const asked = mode.split(',').filter((part) => part !== '');
  const unknown = asked.find(
    (part) => part !== 'ro' && part !== 'nocopy' && !harmlessModes.has(part) && !propagations.has(part),
  );
  if (unknown !== undefined) throw new EnxameError('invalid-argument', `invalid mode: ${mode}`);
  const wrong = wrongTarget(target);
  if (wrong !== undefined) {
    throw new EnxameError(
      'invalid-argument',
      `invalid volume specification: '${text}': invalid mount config for type "${source.startsWith('/') ? 'bind' : 'volume'}": ${wrong}`,
    );
  }
  const readOnly = asked.includes('ro');
  const propagation = asked.find((part) => propagations.has(part));
  if (!source.startsWith('/')) {
    if (propagation !== undefined) throw new EnxameError('invalid-argument', `invalid mode: ${mode}`);
    const volume = await volumeOf(source, target, volumes, { driver });
    return { ...volume, readOnly, copyUp: !asked.includes('nocopy'), mode: mode || 'z' };
  }
  if (asked.includes('nocopy')) throw new EnxameError('invalid-argument', `invalid mode: ${mode}`);
  return {
    type: 'bind',
    source: trimmed(source),
    target,
    readOnly,
    recursive: true,
    // As Docker: what `-v` names and is not there becomes a folder.
    createSource: true,
    mode,
    ...(propagation === undefined ? {} : { propagation }),
  };
}

async function mountOf(mount: MountDto, volumes: MountRequest['volumes']): Promise<ContainerMount> {
  const { Target: target = '', Source: source = '', ReadOnly: readOnly = false, Type: type = '' } = mount;
  const wrong = (why: string): EnxameError =>
    new EnxameError('invalid-argument', `invalid mount config for type "${type}": ${why}`);
  if (target === '') throw wrong('field Target must not be empty');
  const misplaced = wrongTarget(target);
  if (misplaced !== undefined) throw wrong(misplaced);
  switch (type) {
    case 'bind': {
      if (source === '') throw wrong('field Source must not be empty');
      if (mount.VolumeOptions) throw wrong('field VolumeOptions must not be specified');
      if (mount.TmpfsOptions) throw wrong('field TmpfsOptions must not be specified');
      if (!source.startsWith('/')) throw wrong(`invalid mount path: '${source}' mount path must be absolute`);
      const propagation = mount.BindOptions?.Propagation;
      if (propagation && !propagations.has(propagation))
        throw wrong(`invalid propagation mode: ${propagation}`);
      if (mount.BindOptions?.CreateMountpoint === true) mkdirSync(source, { recursive: true });
      if (!exists(source)) throw wrong(`bind source path does not exist: ${source}`);
      return {
        type: 'bind',
        source: trimmed(source),
        target,
        readOnly,
        recursive: mount.BindOptions?.NonRecursive !== true,
        ...(propagation ? { propagation } : {}),
      };
    }
    case 'volume': {
      if (mount.BindOptions) throw wrong('field BindOptions must not be specified');
      if (source === '' && readOnly) throw wrong('must not set ReadOnly mode when using anonymous volumes');
      const options = mount.VolumeOptions;
      if (options?.Subpath && (options.Subpath.startsWith('/') || options.Subpath.split('/').includes('..')))
        throw wrong('subpath must be a relative path within the volume');
      const volume = await volumeOf(source, target, volumes, {
        driver: options?.DriverConfig?.Name,
        options: options?.DriverConfig?.Options ?? undefined,
        labels: options?.Labels ?? {},
      });
      return {
        ...volume,
        readOnly,
        copyUp: options?.NoCopy !== true,
        mode: 'z',
        ...(options?.Subpath ? { subpath: options.Subpath } : {}),
      };
    }
    case 'tmpfs': {
      if (source !== '') throw wrong('field Source must not be specified');
      if (mount.BindOptions) throw wrong('field BindOptions must not be specified');
      const { SizeBytes, Mode, Options } = mount.TmpfsOptions ?? {};
      return {
        type: 'tmpfs',
        target,
        readOnly,
        ...(SizeBytes ? { bytesMax: SizeBytes } : {}),
        ...(Mode === undefined ? {} : { mode: Mode }),
        ...(Options?.length ? { options: Options.map((option) => option.join('=')) } : {}),
      };
    }
    case 'cluster':
    case 'image':
    case 'npipe':
      throw new EnxameError('not-implemented', `a mount of type ${type} is not available in this version`);
    default:
      throw new EnxameError('invalid-argument', `mount type unknown: ${JSON.stringify(type)}`);
  }
}

async function volumeOf(
  name: string,
  target: string,
  volumes: MountRequest['volumes'],
  asked: {
    driver?: string | undefined;
    options?: Record<string, string> | undefined;
    labels?: Record<string, string>;
  },
): Promise<Extract<ContainerMount, { type: 'volume' }>> {
  if (name.length === 1)
    throw new EnxameError(
      'invalid-argument',
      'volume name is too short, names should be at least two alphanumeric characters',
    );
  const volume = await volumes.create({
    name: name || randomBytes(anonymousNameBytes).toString('hex'),
    ...(asked.driver ? { driver: asked.driver } : {}),
    ...(asked.options ? { options: asked.options } : {}),
    labels: asked.labels ?? {},
    anonymous: name === '',
  });
  return {
    type: 'volume',
    name: volume.name,
    ...volumeSource(volume),
    target,
    readOnly: false,
    copyUp: true,
  };
}

/** Docker's words for a place that cannot be mounted on. */
function wrongTarget(target: string): string | undefined {
  if (!target.startsWith('/')) return `invalid mount path: '${target}' mount path must be absolute`;
  if (posix.normalize(`${target}/`) === '/') return "invalid specification: destination can't be '/'";
  return undefined;
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

function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch {
    // Whatever keeps it from being looked at keeps it from being mounted.
    return false;
  }
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, '') || '/' : path;
}
