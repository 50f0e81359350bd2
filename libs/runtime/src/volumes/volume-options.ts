/** `--opt type=nfs --opt o=addr=... --opt device=:/x` of a local volume. */
import { EnxameError } from '#libs/model';
import type { MountFlag } from '../launcher/launch-plan.js';
import type { ContainerMount } from '../port.js';
import type { LocalVolume } from './volume-store.js';

const known = new Set(['type', 'o', 'device', 'size']);

/** Throws `invalid-argument` in Docker's words. */
export function checkVolumeOptions(options: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(options)) {
    if (!known.has(name))
      throw new EnxameError('invalid-argument', `invalid option: ${JSON.stringify(name)}`);
  }
  if (options['size'] !== undefined) {
    throw new EnxameError('invalid-argument', 'quota size requested but no quota support');
  }
  for (const name of ['type', 'device'] as const) {
    const other = name === 'type' ? 'device' : 'type';
    const given = Object.keys(options).length > 0 && options[other];
    if (given && !options[name])
      throw new EnxameError('invalid-argument', `missing required option: ${JSON.stringify(name)}`);
  }
  if (options['o'] !== undefined && !options['device'])
    throw new EnxameError('invalid-argument', 'missing required option: "device"');
}

/** The volume there is, when it was made of the same options or nobody asks for any. */
export function sameOrConflict(volume: LocalVolume, options: Readonly<Record<string, string>>): LocalVolume {
  const names = Object.keys(options);
  const has = volume.options ?? {};
  const isSame =
    names.length === 0 ||
    (names.length === Object.keys(has).length && names.every((name) => has[name] === options[name]));
  if (isSame) return volume;
  throw new EnxameError(
    'conflict',
    `create ${volume.name}: a volume named ${volume.name} already exists with other options`,
  );
}

const flagNames: Readonly<Record<string, MountFlag>> = {
  ro: 'read-only',
  nosuid: 'nosuid',
  nodev: 'nodev',
  noexec: 'noexec',
  noatime: 'noatime',
  relatime: 'relatime',
};

/** What is mounted for a volume: its own folder, the folder its options name, or a file system of its own. */
export function volumeSource(
  volume: LocalVolume,
): Pick<Extract<ContainerMount, { type: 'volume' }>, 'source' | 'filesystem'> {
  const { type, device, o = '' } = volume.options ?? {};
  if (!type || !device) return { source: volume.source };
  const options = o.split(',').filter((option) => option !== '' && option !== 'rw' && option !== 'defaults');
  if (options.includes('bind') || options.includes('rbind')) return { source: device };
  return {
    source: volume.source,
    filesystem: {
      type,
      device,
      flags: options.flatMap((option) => flagNames[option] ?? []),
      options: options.filter((option) => flagNames[option] === undefined),
    },
  };
}
