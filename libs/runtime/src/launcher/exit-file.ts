import { readFile } from 'node:fs/promises';
import { EnxameError } from '#libs/model';
import type { ContainerExit } from '../port.js';

const killedExitCode = 137;

/** Undefined when the shim has written none. It is written by rename, so it is whole or not there. */
export async function readExitFile(path: string): Promise<ContainerExit | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as ContainerExit;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new EnxameError('data-damaged', `exit record ${path}`, { cause: error });
  }
}

/** The end of a container whose shim was killed: the kernel has killed it, too, and nobody saw when. */
export function lostExit(): ContainerExit {
  return {
    exitCode: killedExitCode,
    signal: 9,
    oomKilled: false,
    finishedAtMs: Date.now(),
    error: 'the keeper of the container was killed, and the container with it',
  };
}
