/** The name of this manager in the Raft group: made once, before anything is written to the log. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { EnxameError } from '#libs/model';
import { join } from 'node:path';
import type { Random } from './membership/index.js';

const idPattern = /^[0-9a-f]{16}$/;

export function readOrMakeRaftId(stateDir: string, random: Random): string {
  const file = join(stateDir, 'raft-id');
  if (existsSync(file)) {
    const id = readFileSync(file, 'utf8').trim();
    if (!idPattern.test(id)) throw new EnxameError('data-damaged', `${file}: expected 16 hexadecimal digits`);
    return id;
  }
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const id = Buffer.from(random.bytes(8)).toString('hex');
  const fd = openSync(`${file}.new`, 'w', 0o600);
  try {
    writeSync(fd, `${id}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${file}.new`, file);
  const folder = openSync(stateDir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
  return id;
}
