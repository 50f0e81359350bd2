/** `--chown` and `--chmod`: names are those of the image that is being made. */
import type { ImageWork } from '#libs/images';
import { EnxameError } from '#libs/model';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';

const idMax = 2 ** 32 - 2;

export async function ownerOf(
  work: ImageWork,
  layers: readonly string[],
  chown: string,
): Promise<{ uid: number; gid: number }> {
  const [user = '', group = user, ...more] = chown.split(':');
  if (user === '' || group === '' || more.length > 0) {
    throw new EnxameError('invalid-argument', `invalid chown string format: ${chown}`);
  }
  return {
    uid: await idOf(work, layers, { name: user, file: '/etc/passwd', kind: 'user', letter: 'uid' }),
    gid: await idOf(work, layers, { name: group, file: '/etc/group', kind: 'group', letter: 'gid' }),
  };
}

async function idOf(
  work: ImageWork,
  layers: readonly string[],
  { name, file, kind, letter }: { name: string; file: string; kind: string; letter: string },
): Promise<number> {
  if (/^\d+$/.test(name)) {
    const id = Number(name);
    if (id <= idMax) return id;
    throw new EnxameError('invalid-argument', `invalid ${letter} ${name}: out of range`);
  }
  const text = await fileText(work, layers, file);
  const line = text?.split('\n').find((each) => each.startsWith(`${name}:`));
  const id = line?.split(':')[2] ?? '';
  if (/^\d+$/.test(id)) return Number(id);
  throw new EnxameError(
    'invalid-argument',
    `unable to convert uid/gid chown string to host mapping: can't find ${letter} for ${kind} ${name}: no such ${kind}: ${name}`,
  );
}

async function fileText(
  work: ImageWork,
  layers: readonly string[],
  path: string,
): Promise<string | undefined> {
  const target = await work.lookUp(layers, path);
  const found = target.existing.find((each) => each.path === target.path);
  if (found?.type !== 'file') return undefined;
  const tree = await work.imageTree(layers, path);
  const [entry] = tree.children('');
  return entry && (await buffer(Readable.from(tree.content(entry)))).toString('utf8');
}

/** Octal digits, as the classic builder never had but every user expects. */
export function modeOf(chmod: string): number {
  if (!/^[0-7]{3,4}$/.test(chmod)) {
    throw new EnxameError(
      'invalid-argument',
      `invalid chmod parameter: '${chmod}'. it should be octal string and between 0 and 07777`,
    );
  }
  return Number.parseInt(chmod, 8);
}
