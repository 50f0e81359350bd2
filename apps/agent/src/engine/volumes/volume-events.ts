/** `mount` and `unmount` of volumes: what starts and ends of containers mean for them. */
import type { ContainerConfig, ContainerRuntime } from '#libs/runtime';
import type { Notify } from '../containers/notices.js';

/** Returns the way to stop. */
export function watchVolumeUse(runtime: Pick<ContainerRuntime, 'watch' | 'get'>, notify: Notify): () => void {
  return runtime.watch((event) => {
    if (event.type !== 'start' && event.type !== 'die') return;
    const config = runtime.get(event.id)?.config;
    if (config === undefined) return;
    for (const mount of config.mounts) {
      if (mount.type === 'volume')
        notify({
          type: 'volume',
          action: event.type === 'start' ? 'mount' : 'unmount',
          id: mount.name,
          attributes: attributesOf(config, mount, event.type === 'start'),
        });
    }
  });
}

function attributesOf(
  config: ContainerConfig,
  mount: Extract<ContainerConfig['mounts'][number], { type: 'volume' }>,
  isMount: boolean,
): Record<string, string> {
  const shared = { container: config.id, driver: 'local' };
  if (!isMount) return shared;
  return {
    ...shared,
    destination: mount.target,
    propagation: mount.propagation ?? '',
    'read/write': String(!mount.readOnly),
  };
}
