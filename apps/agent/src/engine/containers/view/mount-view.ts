/** `Mounts` of `docker ps` and `docker inspect`. */
import type { ContainerConfig, ContainerMount } from '#libs/runtime';

/** What `--tmpfs` asked for is shown in HostConfig alone. */
export function presentMounts(config: ContainerConfig): Record<string, unknown>[] {
  const host = (config.inspect?.hostConfig ?? {}) as { Tmpfs?: Record<string, string> };
  return config.mounts
    .filter((mount) => mount.type !== 'tmpfs' || host.Tmpfs?.[mount.target] === undefined)
    .map(presentMount);
}

function presentMount(mount: ContainerMount): Record<string, unknown> {
  const place = { Destination: mount.target, RW: !mount.readOnly };
  switch (mount.type) {
    case 'bind':
      return {
        Type: 'bind',
        Source: mount.source,
        ...place,
        Mode: mount.mode ?? '',
        Propagation: mount.propagation ?? 'rprivate',
      };
    case 'volume':
      return {
        Type: 'volume',
        Name: mount.name,
        Source: mount.source,
        ...place,
        Driver: mount.driver ?? 'local',
        Mode: mount.mode ?? 'z',
        Propagation: '',
      };
    case 'tmpfs':
      return { Type: 'tmpfs', Source: '', ...place, Mode: '', Propagation: '' };
  }
}
