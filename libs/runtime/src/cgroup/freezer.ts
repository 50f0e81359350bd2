/** Stops and continues every process of a container at once, without a signal it could see. */
import { EnxameError } from '#libs/model';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../files/errno.js';
import type { CgroupLayout } from './detect.js';

const checkMs = 5;
const freezeMsMax = 10_000;

export interface Freezer {
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  isFrozen(): Promise<boolean>;
}

export function freezerOf(
  layout: CgroupLayout,
  parent: string,
  id: string,
  wait: (delayMs: number) => Promise<void>,
): Freezer {
  const files = layout.version === 2 ? filesV2(layout.root, parent, id) : filesV1(layout.mounts, parent, id);
  const isFrozen = async (): Promise<boolean> => {
    try {
      return files === undefined ? false : files.isFrozen(await readFile(files.state, 'utf8'));
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  };
  const change = async (frozen: boolean): Promise<void> => {
    if (files === undefined) {
      throw new EnxameError('failed-precondition', 'this node has no cgroup freezer: it cannot pause');
    }
    // A process that forks meanwhile may keep v1's freezer from ending its work: it is asked again.
    for (let waitedMs = 0; waitedMs < freezeMsMax; waitedMs += checkMs) {
      await writeFile(files.control, files.words[frozen ? 0 : 1]);
      if ((await isFrozen()) === frozen) return;
      await wait(checkMs);
    }
    throw new EnxameError(
      'deadline-exceeded',
      `the container could not be ${frozen ? 'paused' : 'unpaused'}`,
    );
  };
  return { freeze: () => change(true), thaw: () => change(false), isFrozen };
}

interface FreezerFiles {
  control: string;
  words: readonly [string, string];
  state: string;
  isFrozen(text: string): boolean;
}

function filesV1(
  mounts: Extract<CgroupLayout, { version: 1 }>['mounts'],
  parent: string,
  id: string,
): FreezerFiles | undefined {
  if (mounts.freezer === undefined) return undefined;
  const file = join(mounts.freezer, parent, id, 'freezer.state');
  return {
    control: file,
    words: ['FROZEN', 'THAWED'],
    state: file,
    isFrozen: (text) => text.trim() === 'FROZEN',
  };
}

function filesV2(root: string, parent: string, id: string): FreezerFiles {
  const folder = join(root, parent, id);
  return {
    control: join(folder, 'cgroup.freeze'),
    words: ['1', '0'],
    state: join(folder, 'cgroup.events'),
    isFrozen: (text) => /^frozen 1$/m.test(text),
  };
}
