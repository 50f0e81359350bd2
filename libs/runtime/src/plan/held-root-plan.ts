/** The mounts of a container's root for somebody who only looks: pure. */
import type { LaunchOperation } from '../launcher/launch-plan.js';
import type { ContainerConfig } from '../port.js';
import { overlayOptions } from './container-plan.js';
import { mountOf, rootPropagationOf } from './mounts.js';

export function planHeldRoot(input: {
  config: ContainerConfig;
  view: 'whole' | 'own' | 'image';
  mountPoint: string;
  own: { upperDir: string; workDir: string };
  scratch: { upperDir: string; workDir: string };
}): LaunchOperation[] {
  const { config, view, mountPoint, own, scratch } = input;
  // A container that runs has its upper folder in use: here it is one more layer to read.
  const layers = view === 'own' ? [own.upperDir, ...config.rootLayers] : config.rootLayers;
  const mounts = view === 'whole' ? config.mounts.filter(({ type }) => type !== 'tmpfs') : [];
  return [
    {
      kind: 'namespaces',
      pid: true,
      network: false,
      ipc: false,
      mount: true,
      uts: false,
      cgroup: false,
    },
    { kind: 'stdio', tty: false, stdin: false, stdinOnce: false, rows: 0, columns: 0 },
    { kind: 'root-propagation', propagation: rootPropagationOf(mounts) },
    {
      kind: 'overlay-root',
      lowerDirs: layers,
      ...(view === 'whole' ? own : scratch),
      mountPoint,
      options: overlayOptions,
    },
    ...mounts.map((mount) => mountOf(mount)),
    { kind: 'pivot-root', readOnly: false },
    { kind: 'workdir', path: '/', create: false },
    { kind: 'environment', variables: [] },
    // Never run: the process is held before this.
    { kind: 'exec', argv: ['/never'] },
  ];
}
