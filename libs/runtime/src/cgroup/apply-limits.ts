/** New limits for a container that runs. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, isMissing } from '../files/errno.js';
import { EnxameError } from '#libs/model';
import type { CgroupPlan, CgroupWriteStep } from './cgroup-plan.js';

/**
 * Writes the limits of `plan` and brings `pids` into hierarchies they had no reason to be in before. Device rules stay:
 * they begin with denying everything. Limits that bound each other (memory, and memory with swap) are accepted in one
 * order when they grow and in the other when they shrink, so what is refused is tried again after the rest.
 */
export async function applyLimits(plan: CgroupPlan, pids: readonly number[]): Promise<void> {
  for (const directory of plan.directories) await mkdir(directory, { recursive: true });
  const steps = plan.writes.filter(({ path }) => !/\/devices\.(allow|deny)$/.test(path));
  const refused: CgroupWriteStep[] = [];
  for (const step of steps) {
    if ((await tryWrite(step)) !== undefined) refused.push(step);
  }
  for (const step of refused) {
    const error = await tryWrite(step);
    if (error !== undefined) {
      throw new EnxameError('failed-precondition', `failed to write "${step.value}" to ${step.path}`, {
        cause: error,
      });
    }
  }
  for (const { path, version } of plan.joins) {
    if (version === 1) await join1(path, pids);
  }
}

async function tryWrite({ path, value, optional }: CgroupWriteStep): Promise<unknown> {
  try {
    await writeFile(path, value);
    return undefined;
  } catch (error) {
    return optional && isMissing(error) ? undefined : error;
  }
}

async function join1(directory: string, pids: readonly number[]): Promise<void> {
  const file = join(directory, 'cgroup.procs');
  const members = new Set((await readFile(file, 'utf8')).split('\n'));
  for (const pid of pids) {
    if (members.has(String(pid))) continue;
    try {
      await writeFile(file, String(pid));
    } catch (error) {
      // It has ended meanwhile.
      if (errorCode(error) !== 'ESRCH') throw error;
    }
  }
}
