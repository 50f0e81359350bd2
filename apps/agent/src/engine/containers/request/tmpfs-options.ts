/** `--tmpfs /run:size=64k,mode=755,ro`. */
import { EnxameError } from '#libs/model';
import type { ContainerMount } from '#libs/runtime';
import { sizeOf } from './size.js';

const flags = new Set([
  'rw',
  'exec',
  'noexec',
  'suid',
  'nosuid',
  'dev',
  'nodev',
  'sync',
  'async',
  'dirsync',
  'atime',
  'noatime',
  'diratime',
  'nodiratime',
  'relatime',
  'norelatime',
  'strictatime',
  'nostrictatime',
  'defaults',
  'private',
  'rprivate',
]);

export function tmpfsOf(target: string, text: string): ContainerMount {
  const mount: Extract<ContainerMount, { type: 'tmpfs' }> = { type: 'tmpfs', target, readOnly: false };
  const options: string[] = [];
  for (const option of text.split(',').filter((part) => part !== '')) {
    const [name = '', value = ''] = option.split('=');
    if (name === 'ro') mount.readOnly = true;
    else if (name === 'size') mount.bytesMax = sizeOf(value.replace(/%$/, ''), option);
    else if (name === 'mode' && /^[0-7]{1,4}$/.test(value)) mount.mode = parseInt(value, 8);
    else if (['uid', 'gid', 'nr_inodes', 'nr_blocks', 'mpol'].includes(name)) options.push(option);
    else if (flags.has(name)) options.push(name);
    else throw new EnxameError('invalid-argument', `invalid tmpfs option ["${option}"]`);
  }
  if (options.length > 0) mount.options = options;
  return mount;
}
