/** What the mounts of a service must satisfy. Source: SwarmKit `controlapi` and moby `volume/mounts`. */
import { EnxameError, type Mount } from '#libs/model';
import { posix } from 'node:path';

const kinds = { bind: 'BindOptions', volume: 'VolumeOptions', tmpfs: 'TmpfsOptions' } as const;
const volumeNamePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

export function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const [index, mount] of mounts.entries()) {
    const at = `TaskTemplate.ContainerSpec.Mounts[${index}]`;
    checkTarget(mount, at);
    const target = posix.normalize(`${mount.Target}/`);
    if (targets.has(target)) throw invalid(`${at}.Target`, `duplicate mount point: ${mount.Target}`);
    targets.add(target);
    checkSource(mount, at);
    checkOptions(mount, at);
  }
}

function checkTarget({ Target }: Mount, at: string): void {
  if (!Target.startsWith('/')) throw invalid(`${at}.Target`, `mount path must be absolute: ${Target}`);
  if (posix.normalize(Target).replace(/\/$/, '') === '') {
    throw invalid(`${at}.Target`, 'the destination must not be the root of the container');
  }
}

function checkSource(mount: Mount, at: string): void {
  const source = mount.Source ?? '';
  switch (mount.Type) {
    case 'bind':
      // A template is filled in on the node; what comes out is checked there.
      if (!source.startsWith('/') && !source.startsWith('{{')) {
        throw invalid(`${at}.Source`, 'a bind mount needs an absolute path of the node');
      }
      return;
    case 'volume':
      if (source !== '' && !source.includes('{{') && !volumeNamePattern.test(source)) {
        throw invalid(`${at}.Source`, 'a volume name has letters, digits, and _ . - after the first');
      }
      return;
    case 'tmpfs':
      if (source !== '') throw invalid(`${at}.Source`, 'tmpfs takes no source');
      return;
    case 'npipe':
    case 'cluster':
    case 'image':
      throw missing(`${at}.Type ${mount.Type}`);
  }
}

function checkOptions(mount: Mount, at: string): void {
  for (const [type, field] of Object.entries(kinds)) {
    if (type !== mount.Type && Object.keys(mount[field as keyof Mount] ?? {}).length > 0) {
      throw invalid(`${at}.${field}`, `does not go with a mount of type ${mount.Type}`);
    }
  }
  const driver = mount.VolumeOptions?.DriverConfig;
  if ((driver?.Name ?? '') !== '' && driver?.Name !== 'local') {
    throw missing(`the volume driver ${driver?.Name} (${at}.VolumeOptions.DriverConfig)`);
  }
  if (Object.keys(driver?.Options ?? {}).length > 0) {
    throw missing(`options of the local volume driver (${at}.VolumeOptions.DriverConfig.Options)`);
  }
  if ((mount.VolumeOptions?.Subpath ?? '') !== '') throw missing(`${at}.VolumeOptions.Subpath`);
  if ((mount.TmpfsOptions?.Options ?? []).length > 0) throw missing(`${at}.TmpfsOptions.Options`);
  if (mount.BindOptions?.ReadOnlyForceRecursive === true) {
    throw missing(`${at}.BindOptions.ReadOnlyForceRecursive`);
  }
}

function invalid(field: string, rule: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid ${field}: ${rule}`);
}

function missing(feature: string): EnxameError {
  return new EnxameError('not-implemented', `${feature}: not implemented yet`);
}
