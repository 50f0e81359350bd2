/** A backup on disk: whole, or refused. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { backupFormat, type BackupHead } from '#libs/model';
import { UserError } from '../user-error.js';

export interface BackupContent {
  head: BackupHead;
  /** The store's snapshot. */
  state: Buffer;
}

export function readBackup(file: string): BackupContent {
  const bytes = readFileSync(file);
  const refuse = (reason: string): UserError => new UserError(`${file}: ${reason}`);
  const headEnd = bytes.indexOf(10) + 1;
  const head = parsed(bytes.subarray(0, headEnd).toString('utf8')) as Partial<BackupHead> | undefined;
  if (head?.enxameBackup === undefined) throw refuse('this is not a backup of a cluster');
  if (head.enxameBackup !== backupFormat)
    throw refuse(`a backup of format ${head.enxameBackup} cannot be read`);
  const lastLine = bytes.lastIndexOf(10, bytes.length - 2) + 1;
  const sum = endOf(bytes.subarray(lastLine).toString('utf8'));
  if (sum === undefined) throw refuse('the backup broke off: its end is missing');
  if (createHash('sha256').update(bytes.subarray(0, lastLine)).digest('hex') !== sum) {
    throw refuse('the backup is damaged: it does not match its checksum');
  }
  return { head: head as BackupHead, state: bytes.subarray(headEnd, lastLine) };
}

/** The checksum in a backup's last line; undefined when that is no end. */
export function endOf(line: string): string | undefined {
  const end = parsed(line);
  return typeof end === 'object' && end !== null && 'sha256' in end ? String(end.sha256) : undefined;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
