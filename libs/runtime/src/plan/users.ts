/** Who a container runs as: Docker's reading of `user[:group]` against the container's own passwd and group files. */
import { EnxameError } from '#libs/model';

export interface ResolvedUser {
  uid: number;
  gid: number;
  /** Supplementary groups. */
  groups: number[];
  home: string;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

const idMax = 2 ** 31 - 1;

/** Throws `invalid-argument` in Docker's words when a name is not in the files. */
export function resolveUser(options: {
  user: string;
  /** More groups, by name or number. */
  groups: readonly string[];
  passwd: string;
  group: string;
}): ResolvedUser {
  const users = parsePasswd(options.passwd);
  const groups = parseGroup(options.group);
  const at = options.user.indexOf(':');
  const userPart = at < 0 ? options.user : options.user.slice(0, at);
  const groupPart = at < 0 ? '' : options.user.slice(at + 1);
  const entry = users.find(({ name, uid }) =>
    userPart === '' ? uid === 0 : name === userPart || String(uid) === userPart,
  );
  const uid = entry?.uid ?? (userPart === '' ? 0 : numericId(userPart));
  if (uid === undefined) {
    throw new EnxameError(
      'invalid-argument',
      `unable to find user ${userPart}: no matching entries in passwd file`,
    );
  }
  const gid = groupPart === '' ? (entry?.gid ?? 0) : groupId(groups, groupPart);
  const own =
    groupPart === '' && entry !== undefined
      ? groups.filter(({ members }) => members.includes(entry.name)).map((group) => group.gid)
      : [];
  const more = options.groups.map((name) => groupId(groups, name));
  // The group of the process is among its supplementary ones, so that it cannot be shed to pass a check for "no such
  // group" in a file's mode.
  return { uid, gid, groups: [...new Set([gid, ...own, ...more])], home: entry?.home || '/' };
}

function groupId(groups: readonly GroupEntry[], wanted: string): number {
  const id =
    groups.find(({ name, gid }) => name === wanted || String(gid) === wanted)?.gid ?? numericId(wanted);
  if (id === undefined) {
    throw new EnxameError(
      'invalid-argument',
      `unable to find group ${wanted}: no matching entries in group file`,
    );
  }
  return id;
}

function numericId(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  if (id > idMax) {
    throw new EnxameError('invalid-argument', `user and group ids must be in range 0-${idMax}: ${text}`);
  }
  return id;
}

function parsePasswd(text: string): PasswdEntry[] {
  return fieldsOf(text).flatMap(([name = '', , uid = '', gid = '', , home = '']) =>
    isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid), home }] : [],
  );
}

function parseGroup(text: string): GroupEntry[] {
  return fieldsOf(text).flatMap(([name = '', , gid = '', members = '']) =>
    isId(gid)
      ? [{ name, gid: Number(gid), members: members.split(',').filter((member) => member !== '') }]
      : [],
  );
}

function isId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= idMax;
}

function fieldsOf(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}
