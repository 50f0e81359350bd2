/**
 * Volumes with a file system of their own (`type`, `device`, `o`): mounted over the volume's folder on the node while a
 * container uses them, so that all containers see the same one. The mount is the kernel's: it outlives the agent.
 */
import { EnxameError } from '#libs/model';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Turns } from '../container/turns.js';
import type { MountFlag } from '../launcher/launch-plan.js';
import type { ContainerMount } from '../port.js';

const run = promisify(execFile);
const mountMsMax = 120_000;

interface VolumeFilesystem {
  source: string;
  filesystem: NonNullable<Extract<ContainerMount, { type: 'volume' }>['filesystem']>;
}

interface Place {
  turns: Turns;
  users: Set<string>;
}

export class VolumeMounts {
  readonly #places = new Map<string, Place>();
  readonly #log: (error: unknown, what: string) => void;

  constructor(log: (error: unknown, what: string) => void) {
    this.#log = log;
  }

  /** `user` is about to use them. `failed-precondition` in the kernel's words: then it uses none. */
  async take(user: string, mounts: readonly ContainerMount[]): Promise<void> {
    try {
      for (const volume of filesystemsOf(mounts)) {
        const place = this.#place(volume.source);
        await place.turns.take(async () => {
          if (!(await mountedPaths()).has(volume.source)) await mount(volume);
          place.users.add(user);
        });
      }
    } catch (error) {
      await this.leave(user);
      throw error;
    }
  }

  /** `user` was found using them. */
  keep(user: string, mounts: readonly ContainerMount[]): void {
    for (const { source } of filesystemsOf(mounts)) this.#place(source).users.add(user);
  }

  /** Unmounts what nobody else uses. */
  async leave(user: string): Promise<void> {
    for (const [source, { turns, users }] of this.#places) {
      if (!users.has(user)) continue;
      await turns.take(async () => {
        users.delete(user);
        if (users.size === 0) await this.#unmount(source);
      });
    }
  }

  /** What an agent that was killed has left mounted for nobody. */
  async sweep(mounts: readonly ContainerMount[]): Promise<void> {
    const sources = new Set(filesystemsOf(mounts).map(({ source }) => source));
    if (sources.size === 0) return;
    const mounted = await mountedPaths();
    for (const source of sources) {
      if (!mounted.has(source)) continue;
      const { turns, users } = this.#place(source);
      await turns.take(async () => {
        if (users.size === 0) await this.#unmount(source);
      });
    }
  }

  #place(source: string): Place {
    const place = this.#places.get(source) ?? { turns: new Turns(), users: new Set<string>() };
    this.#places.set(source, place);
    return place;
  }

  async #unmount(source: string): Promise<void> {
    try {
      // Lazily, as Docker does it: whoever still looks at a file of it keeps that until it lets go.
      await run('umount', ['--lazy', '--', source]);
    } catch (error) {
      this.#log(error, `unmount the volume at ${source}`);
    }
  }
}

function filesystemsOf(mounts: readonly ContainerMount[]): VolumeFilesystem[] {
  return mounts.flatMap((each) =>
    each.type === 'volume' && each.filesystem !== undefined
      ? [{ source: each.source, filesystem: each.filesystem }]
      : [],
  );
}

/** As mount(8) calls them. */
const optionNames: Partial<Record<MountFlag, string>> = { 'read-only': 'ro' };

async function mount({ source, filesystem }: VolumeFilesystem): Promise<void> {
  const { type, device, flags, options } = filesystem;
  const all = [...flags.map((flag) => optionNames[flag] ?? flag), ...options];
  const given = all.length === 0 ? [] : ['-o', all.join(',')];
  try {
    // The kernel's own mount, without the helpers and tables of other programs, as Docker's local driver does it.
    await run('mount', ['-i', '-n', '-t', type, ...given, '--', device, source], { timeout: mountMsMax });
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    const words = stderr.trim().split('\n')[0] || message;
    throw new EnxameError(
      'failed-precondition',
      `error while mounting volume '${source}': failed to mount local volume: mount ${device}:${source}, data: ${all.join(',')}: ${words.replace(/^mount: (\S+: )?/, '')}`,
      { cause: error },
    );
  }
}

/** Spaces and the like are written as octal numbers there. */
async function mountedPaths(): Promise<Set<string>> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const plain = (path: string): string =>
    path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return new Set(lines.map((line) => plain(line.split(' ')[4] ?? '')));
}
