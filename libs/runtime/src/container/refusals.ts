/** Why something cannot be done to a container now, in the words Docker's clients know. */
import { EnxameError, type ContainerId } from '#libs/model';
import type { ContainerState } from '../port.js';

export function notRunning(id: ContainerId): EnxameError {
  return new EnxameError('conflict', `container ${id} is not running`);
}

export function isRestarting(id: ContainerId): EnxameError {
  return new EnxameError('conflict', `Container ${id} is restarting, wait until the container is running`);
}

export function isPaused(id: ContainerId): EnxameError {
  return new EnxameError('conflict', `Container ${id} is paused, unpause the container before exec`);
}

export function isGone(id: ContainerId): EnxameError {
  return new EnxameError('not-found', `No such container: ${id}`);
}

export function cannotRemove({ config, paused, restarting }: ContainerState): EnxameError {
  const why = paused
    ? 'container is paused and must be unpaused first'
    : `container is ${restarting ? 'restarting' : 'running'}: stop the container before removing or force remove`;
  return new EnxameError('conflict', `cannot remove container "/${config.name}": ${why}`);
}

/** An agent that was asked to wait for it has done what it could. */
export function doesNotEnd(id: ContainerId, seconds: number): EnxameError {
  return new EnxameError(
    'deadline-exceeded',
    `container ${id.slice(0, 12)} did not end ${seconds} s after SIGKILL`,
  );
}
